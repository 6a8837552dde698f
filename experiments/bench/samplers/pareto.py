"""Searches with several objectives: the volume that a front dominates, relative to that of a long run."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.accel_nasbench.bed import Bed
from experiments.accel_nasbench.cache import kept
from experiments.accel_nasbench.local_search import find_optimum
from proxies.costs import CostArrays, Encoded

WORST_ACCURACY = 0.55
WORST_STEP_TIME = 3.0
"""Times the backbone's."""
WORST_PARAMS = 2.0
"""Times the backbone's."""
_STEPS = 12
"""Of each weight in the long run."""
_RESTARTS = 3

Gains = NDArray[np.float64]
"""How far members are better than the reference point, as logarithms, (N, number of objectives)."""


def gains(bed: Bed, accuracy: NDArray[np.float64], costs: CostArrays, objectives: tuple[str, ...]) -> Gains:
    """How much better than the reference point members are in each objective; negative where they are worse.

    Args:
        bed: With the backbone's costs.
        accuracy: Of the members, fractions, (N,).
        costs: Of the members.
        objectives: Some of "accuracy", "step_time", "params".
    """
    columns = {
        "accuracy": np.log(accuracy / WORST_ACCURACY),
        "step_time": np.log(WORST_STEP_TIME * bed.reward.step_time_ref_s / np.asarray(costs.step_time_s)),
        "params": np.log(WORST_PARAMS * bed.reward.params_ref / costs.params),
    }
    return np.stack([columns[name] for name in objectives], axis=1)


def hypervolume(points: Gains) -> float:
    """The volume between the origin and the points, of two or three dimensions.

    >>> float(hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]])))
    3.0
    """
    inside = points[(points > 0).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if points.shape[1] == 2:
        return _area(inside)
    # Slices along the last axis: each has the area of all points that reach so far.
    inside = inside[np.argsort(-inside[:, -1])]
    heights = inside[:, -1] - np.append(inside[1:, -1], 0.0)
    return float(sum(height * _area(inside[: n + 1, :-1]) for n, height in enumerate(heights) if height > 0))


def _area(points: Gains) -> float:
    ordered = points[np.argsort(-points[:, 0])]
    reached = np.maximum.accumulate(ordered[:, 1])
    rises = np.diff(reached, prepend=0.0)
    return float(rises @ ordered[:, 0])


def hypervolumes(points: Gains) -> NDArray[np.float64]:
    """The volume after the first, the first two … points, (N,)."""
    front, volume, series = np.empty((0, points.shape[1])), 0.0, []
    for point in points:
        if not (front >= point).all(axis=1).any():
            front = np.vstack([front[~(front <= point).all(axis=1)], point])
            volume = hypervolume(front)
        series.append(volume)
    return np.array(series)


def long_run_volume(bed: Bed, objectives: tuple[str, ...], folder: Path, key: str) -> float:
    """The volume of a front found with the accuracy known: what games are measured against; kept in a folder.

    Args:
        bed: Whose front.
        objectives: Of the search.
        folder: Where it is kept.
        key: Of what the bed was made from.
    """
    path = folder / f"volume-{bed.name}-{'-'.join(objectives)}-{_STEPS}x{_RESTARTS}-{key}.npz"
    return float(kept(path, lambda: {"volume": np.array(hypervolume(long_run_front(bed, objectives)))})["volume"])


def long_run_front(bed: Bed, objectives: tuple[str, ...]) -> Gains:
    """The best of every member met while many weighted sums of the objectives are climbed."""
    num_values = [len(values) for values in bed.space.choices.values()]
    front = np.empty((0, len(objectives)))

    def climb(weights: NDArray[np.float64], seed: int) -> None:
        nonlocal front

        def weighted(members: Encoded) -> NDArray[np.float64]:
            nonlocal front
            found = gains(bed, bed.accuracy(members), bed.costs(members), objectives)
            front = non_dominated(np.vstack([front, found]))
            return found @ weights

        find_optimum(weighted, num_values, restarts=_RESTARTS, seed=seed)

    # Accuracy spans a tenth of what the costs span.
    steps = np.geomspace(0.003, 1.0, _STEPS)
    grids = np.meshgrid(*([steps] * (len(objectives) - 1)))
    for seed, row in enumerate(np.stack([grid.ravel() for grid in grids], axis=1)):
        climb(np.array([1.0, *row]), seed)
    return front


def non_dominated(points: Gains) -> Gains:
    """The points that no other is at least as good as in everything, sorted by the first objective."""
    ordered = points[np.lexsort(-points.T[::-1])]
    kept_points: list[NDArray[np.float64]] = []
    front = np.empty((0, points.shape[1]))
    for point in ordered:
        if not (front >= point).all(axis=1).any():
            kept_points.append(point)
            front = np.array(kept_points)
    return front
