"""Regularized evolution, where the oldest dies, not the worst (arXiv:1802.01548, Algorithm 1)."""

from collections.abc import Iterator

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace

from .history import Expectation, Places, nothing_expected, read_verdicts
from .member_sampler import MemberSampler


class EvolutionSampler(MemberSampler):
    """Changes one choice of the best of a few from the population, which is what was judged last.

    A lucky verdict helps a member for as long as it lives, no longer. One that is infeasible loses to every other, and
    dies as they do.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        expected: Expectation = nothing_expected,
        population: int = 50,
        tournament: int = 10,
    ) -> None:
        """
        Args:
            space: What the study searches.
            seed: Of the proposal.
            expected: Of pruned members.
            population: Members that live at a time; so many are drawn at random first.
            tournament: Members of the population that are drawn, with replacement, to find a parent.

        Raises:
            ValueError: If one of the two is not positive.
        """
        super().__init__(space, seed=seed)
        if population < 1 or tournament < 1:
            raise ValueError(f"population and tournament must be at least 1, got {population} and {tournament}")
        self._expected, self._population, self._tournament = expected, population, tournament

    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterator[Places]:
        """Children, once there is a population."""
        verdicts = read_verdicts(study, self._members, self._expected)
        members, scores = verdicts.members[-self._population :], verdicts.scores[-self._population :]
        while len(members) == self._population:
            drawn = rng.integers(self._population, size=self._tournament)
            parent = members[drawn[np.argmax(scores[drawn])]]
            yield self._members.neighbour(tuple(parent.tolist()), rng)
