"""What a model of accuracy sees of an architecture: its choices bit by bit, and cheap features that any space has."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded, MemberCosts
from search_spaces.space import SearchSpace, Value

from .gaussian_process import Points
from .history import Members

Array = NDArray[np.float64]

_SAMPLE = 4_000
"""Random members over which features are standardised."""


class Descriptor:
    """Describes members of one space.

    An ordered choice of m values becomes m − 1 bits, of which the first k are set for its k-th value, so that
    neighbours differ in one; a choice without an order becomes one bit for each value, or one in all if there are two.

    Features are the logarithms of multiply-adds, parameters and, where it is predicted, step time; and for each kind of
    choice its average over the stages.
    """

    def __init__(self, space: SearchSpace, costs: MemberCosts) -> None:
        self._costs = costs
        self._codes = [_codes(values) for values in space.choices.values()]
        self._shares = [_ranks(values) / max(len(values) - 1, 1) for values in space.choices.values()]
        names = list(space.choices)
        kinds = [name.partition("_")[2] for name in names]
        self._kinds = [[i for i, kind in enumerate(kinds) if kind == each] for each in dict.fromkeys(kinds)]
        members = Members(space)
        sample = np.random.default_rng(0).integers(0, members.sizes, (_SAMPLE, len(members.sizes)))
        raw = self._features(members.canonical_rows(sample))
        self._mean, self._deviation = raw.mean(axis=0), raw.std(axis=0) + 1e-12

    def __call__(self, encoded: Encoded, run: int = 0) -> Points:
        """Describe members, rows of choices (N, number of choices), as trained in one run."""
        none = np.zeros((len(encoded), 0))
        bits = np.concatenate([none, *(codes[encoded[:, i]] for i, codes in enumerate(self._codes))], axis=1)
        features = (self._features(encoded) - self._mean) / self._deviation
        return Points(bits, features, np.full(len(encoded), run))

    def _features(self, encoded: Encoded) -> Array:
        costs = self._costs(encoded)
        known = [each for each in (costs.macs, costs.params, costs.step_time_s) if each is not None]
        shares = [share[encoded[:, i]] for i, share in enumerate(self._shares)]
        averages = [np.mean([shares[column] for column in columns], axis=0) for columns in self._kinds]
        return np.stack([*map(np.log, known), *averages], axis=1)


def _ranks(values: Sequence[Value]) -> NDArray[np.int64]:
    """The place of each value among them in their order; as they come where they have none."""
    return np.argsort(np.argsort(values)) if _is_ordered(values) else np.arange(len(values))


def _codes(values: Sequence[Value]) -> Array:
    """The bits of each value, (number of values, number of bits)."""
    count = len(values)
    if _is_ordered(values) or count == 2:
        return np.tril(np.ones((count, count)), -1)[_ranks(values), : count - 1]
    return np.eye(count)


def _is_ordered(values: Sequence[Value]) -> bool:
    return all(isinstance(value, int | float) for value in values)
