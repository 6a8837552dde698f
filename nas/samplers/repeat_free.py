"""Another package's sampler, kept from proposing what the study knows."""

from collections.abc import Iterator

import numpy as np
from optuna import Study
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace

from .history import Places
from .member_sampler import MemberSampler


class RepeatFreeSampler(MemberSampler):
    """Proposes as another sampler does, or a member near by where its proposal is known.

    A Gaussian process that expects noise goes back to its best member for ever, and one that does not see what is
    infeasible to that. Here the verdict is known: the search would end as exhausted.
    """

    def __init__(self, sampler: BaseSampler, space: SearchSpace, *, seed: int) -> None:
        """
        Args:
            sampler: Proposes all parameters at once, or none while it has seen too little.
            space: What the study searches.
            seed: Of the proposal.
        """
        super().__init__(space, seed=seed)
        self._sampler = sampler

    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterator[Places]:
        """Its own, then a random walk away from it."""
        places = self._members.encode(self._sampler.sample_relative(study, trial, self._distributions))
        while places is not None:
            yield places
            places = self._members.neighbour(places, rng)

    def reseed_rng(self) -> None:
        super().reseed_rng()
        self._sampler.reseed_rng()
