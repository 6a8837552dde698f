"""Random members within the limits that are known beforehand, however few they are."""

from functools import cached_property

import numpy as np

from proxies.costs import Encoded
from proxies.seeds import derived_seed
from search_spaces.space import SearchSpace

from ..limits import Limits
from .neighbourhood import Neighbourhood, distinct

_DRAWS = 10_000
_ENOUGH = 100
"""Members among so many draws that need no other way to be found."""
_WALKERS = 500
_MIXING_STEPS = 200
_STEPS = 10


class LimitedMembers:
    """Draws members uniformly: all over the space, or by a walk within the limits where draws hardly meet them.

    Walkers begin at the member that is furthest within the limits and change one or two choices at a time; a step that
    leads beyond a limit is not made. So all that is within reach is visited equally often in the end (Metropolis et al.
    1953). Without limits, draws are all there is.
    """

    def __init__(self, space: SearchSpace, neighbourhood: Neighbourhood, limits: Limits, seed: int) -> None:
        """
        Args:
            space: Of the members.
            neighbourhood: Its moves.
            limits: Of the search.
            seed: Of the search.
        """
        self._space, self._moves, self._limits, self._seed = space, neighbourhood, limits, seed

    def random(self, count: int, rng: np.random.Generator) -> Encoded:
        """At most so many members, (N, number of choices); none if no member is found that keeps the limits."""
        if not self._limits:
            return self._moves.random(count, rng)
        drawn = self._moves.random(_DRAWS, rng)
        inside = drawn[self._limits.allowed(drawn)][:count]
        if len(inside) >= min(_ENOUGH, count) or not len(self._mixed):
            return inside
        start = self._mixed[rng.integers(len(self._mixed), size=count)]
        return distinct(self._walk(start, _STEPS, rng))

    @cached_property
    def _mixed(self) -> Encoded:
        """Walkers that have forgotten where they began, the same for all proposals of a search."""
        start = self._limits.cheapest(self._space)
        if not self._limits.allowed(start)[0]:
            return start[:0]
        rng = np.random.default_rng(derived_seed(self._seed, "limited members"))
        return self._walk(np.repeat(start, _WALKERS, axis=0), _MIXING_STEPS, rng)

    def _walk(self, walkers: Encoded, steps: int, rng: np.random.Generator) -> Encoded:
        for _ in range(steps):
            moved = self._moves.random_step(walkers, rng)
            walkers = np.where(self._limits.allowed(moved)[:, None], moved, walkers)
        return walkers
