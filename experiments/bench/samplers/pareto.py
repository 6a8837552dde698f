"""Searches with several objectives: the volume that a front dominates, relative to that of a long run."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.accel_nasbench.bed import Bed
from experiments.accel_nasbench.cache import kept
from experiments.accel_nasbench.local_search import find_optimum, one_exchanges, two_exchanges
from proxies.costs import CostArrays, Encoded

WORST_ACCURACY = 0.55
WORST_STEP_TIME = 3.0
"""Times the backbone's."""
WORST_PARAMS = 2.0
"""Times the backbone's."""
_STEPS = {2: 100, 3: 12}
"""Of each weight in the long run, by the number of objectives."""

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
    path = folder / f"volume-{bed.name}-{'-'.join(objectives)}-{_STEPS[len(objectives)]}-{key}.npz"
    return float(kept(path, lambda: {"volume": np.array(hypervolume(long_run_front(bed, objectives)))})["volume"])


def long_run_front(bed: Bed, objectives: tuple[str, ...]) -> Gains:
    """The best among the ends of many climbs of weighted sums of the objectives, and among the members around them."""
    num_values = [len(values) for values in bed.space.choices.values()]

    def gains_of(members: Encoded) -> Gains:
        return gains(bed, bed.accuracy(members), bed.costs(members), objectives)

    # Costs span many times what accuracy spans.
    steps = np.geomspace(0.003, 1.0, _STEPS[len(objectives)])
    grids = np.meshgrid(*([steps] * (len(objectives) - 1)))
    front = np.empty((0, len(objectives)))
    for seed, of_costs in enumerate(np.stack([grid.ravel() for grid in grids], axis=1)):
        end = _climb(gains_of, np.array([1.0, *of_costs]), num_values, seed)
        around = np.vstack([end, one_exchanges(end, num_values), two_exchanges(end, num_values)])
        front = merged(front, gains_of(around))
    return front


def _climb(
    gains_of: Callable[[Encoded], Gains], weights: NDArray[np.float64], num_values: Sequence[int], seed: int
) -> NDArray[np.int64]:
    found = find_optimum(lambda members: gains_of(members) @ weights, num_values, restarts=1, seed=seed)
    return np.array(found.places)


def merged(front: Gains, found: Gains) -> Gains:
    """What no other point of a front and of what was found is better than.

    Args:
        front: No point of it is better than another.
        found: Any points.
    """
    found = np.unique(found, axis=0)
    found = found[~_is_beaten(found, front)]
    found = found[_counts_at_least(found, found) == 1]  # itself alone
    return np.vstack([front[~_is_beaten(front, found)], found])


def _is_beaten(points: Gains, by: Gains) -> NDArray[np.bool_]:
    return _counts_at_least(points, by) > 0


def _counts_at_least(points: Gains, others: Gains) -> NDArray[np.int64]:
    """How many others are at least as good in everything."""
    return np.asarray((others[None] >= points[:, None]).all(axis=2).sum(axis=1))
