"""How much a candidate promises to widen a Pareto front when its costs are known and its accuracy is not."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .acquisition import log_expected_improvement

Array = NDArray[np.float64]


class Front:
    """What is dominated already: all that is neither better nor cheaper than some member.

    With known costs the widening grows piecewise linearly with the candidate's accuracy, so that its expectation is a
    sum of expected improvements: between two levels of the front, each unit of accuracy adds the area of costs that
    members above do not dominate. Exact for one or two costs.
    """

    def __init__(self, levels: Array, costs: Array, most: Array) -> None:
        """
        Args:
            levels: Accuracies of members, or their logarithms; higher is better, (N,).
            costs: Theirs, lower is better, (N, 1) or (N, 2).
            most: Costs beyond which nothing counts, (1,) or (2,); neither does what is below the worst level.
        """
        self._lowest, self._reference = levels.min(), most
        places = [place for place in range(len(levels)) if not _is_dominated(place, levels, costs)]
        order = np.array(sorted(places, key=lambda place: levels[place]), dtype=np.int64)
        self._levels, self._costs = levels[order], costs[order]

    def log_expected_gain(self, mean: Array, deviation: Array, costs: Array) -> Array:
        """Logarithm of the expected growth of the dominated volume, (M,).

        Args:
            mean: Of the candidates' levels, (M,).
            deviation: Theirs, (M,).
            costs: Theirs, (M, 1) or (M, 2).
        """
        gain = np.zeros(len(mean))
        for low, high, above in self._steps():
            promise = np.exp(log_expected_improvement(mean, deviation, low))
            if np.isfinite(high):
                promise -= np.exp(log_expected_improvement(mean, deviation, high))
            gain += promise * _free_area(costs, above, self._reference)
        return np.log(np.maximum(gain, 1e-300))

    def _steps(self) -> Iterator[tuple[float, float, Array]]:
        """Each range of levels, with the costs of the members above it."""
        bounds = [self._lowest, *self._levels, np.inf]
        for count, (low, high) in enumerate(pairwise(bounds)):
            if high > low:
                yield float(low), float(high), self._costs[count:]


def _is_dominated(place: int, levels: Array, costs: Array) -> bool:
    no_worse = (levels >= levels[place]) & (costs <= costs[place]).all(axis=1)
    better = (levels > levels[place]) | (costs < costs[place]).any(axis=1)
    return bool((no_worse & better).any())


def _free_area(costs: Array, above: Array, reference: Array) -> Array:
    """The area between each candidate's costs and the reference that no member above dominates, (M,)."""
    first = np.minimum(costs[:, 0], reference[0])
    if costs.shape[1] == 1:
        return np.asarray(np.maximum(np.append(above[:, 0], reference[0]).min() - first, 0.0))
    order = np.argsort(above[:, 0], kind="stable")
    edges = np.concatenate([[-np.inf], above[order, 0], [reference[0]]])
    ceilings = np.minimum.accumulate(np.append(reference[1], above[order, 1]))
    area = np.zeros(len(costs))
    for (left, right), ceiling in zip(pairwise(edges), ceilings, strict=True):
        width = np.maximum(min(right, reference[0]) - np.maximum(left, first), 0.0)
        area += width * np.maximum(ceiling - costs[:, 1], 0.0)
    return area
