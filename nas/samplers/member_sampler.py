"""What samplers of ours share: they propose members of a known space, and none twice."""

from abc import abstractmethod
from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace

from ..trials import distributions
from .history import Members, Places, read_known

# Proposals of a sampler that may be known, one after the other, before chance takes over.
_TRIES = 100


class MemberSampler(BaseSampler):
    """Proposes what the study neither has judged nor is judging, as long as the space holds such a member.

    A known member would teach nothing. It has no memory: its proposal follows from the study and the seed.
    """

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        """
        Args:
            space: What the study searches.
            seed: Of the proposal.
        """
        self._members, self._distributions = Members(space), distributions(space)
        self._rng = np.random.default_rng(seed)

    @abstractmethod
    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterable[Places]:
        """What it would propose, in order; those that are known already are passed over."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        known = read_known(study, self._members)
        proposed = islice(self.proposals(study, trial, self._rng), _TRIES)
        chosen = next((places for places in proposed if places not in known), None)
        return dict(self._members.params(chosen or self._unknown(known)))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """There is nothing beside the space.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"the space {self._members.space.name!r} has no parameter {param_name!r}")

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()

    def _unknown(self, known: frozenset[Places]) -> Places:
        """A random member that is not known; any, once all are."""
        places = self._members.random(self._rng)
        while places in known and len(known) < self._members.space.size:
            places = self._members.random(self._rng)
        return places
