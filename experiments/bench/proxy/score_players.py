"""The known-cost sampler with scores of untrained networks: as further features, and as results of an earlier run.

Nobody scores thousands of candidates for each proposal, so a score is predicted from an architecture's choices: a sum
of one number for each choice, fitted to a few hundred scored architectures before the search.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from experiments.bench.samplers.players import Player
from nas.samplers.descriptors import Descriptor
from nas.samplers.knowledge import Knowledge
from nas.samplers.known_cost import KnownCostSampler
from nas.samplers.problem import EarlierRun, Problem
from proxies.costs import Encoded, MemberCosts
from search_spaces.space import SearchSpace

from .score_ranks import BASELINES, normal_scores
from .scored import ScoreTable

Array = NDArray[np.float64]

RIDGE = 1.0
"""In squared standard deviations of the score: it matters little with ten scored architectures to a choice."""
PRIOR_SPREAD = 0.05
"""Of the logarithms that stand for an earlier run's; the model standardises them, so it is free."""
PRIOR_MEMBERS = 100
"""Scored architectures that play an earlier run: a covariance of more takes seconds for each proposal."""

PLAIN, FEATURE, PRIOR = "known-cost", "feature", "prior"


class ScoreModel:
    """Predicts a score of members: a number for each value of each choice, summed."""

    def __init__(self, space: SearchSpace, members: Encoded, scores: Array) -> None:
        """
        Args:
            space: Whose members.
            members: That were scored, (N, number of choices).
            scores: Theirs, (N,); only their order counts.
        """
        self._sizes = [len(values) for values in space.choices.values()]
        design, target = self._design(members), normal_scores(scores)
        self._mean = design.mean(axis=0)
        centred = design - self._mean
        penalty = RIDGE * np.eye(centred.shape[1])
        self._effects = np.linalg.solve(centred.T @ centred + penalty, centred.T @ target)

    def __call__(self, encoded: Encoded) -> Array:
        """In standard deviations, (N,)."""
        return np.asarray((self._design(encoded) - self._mean) @ self._effects)

    def _design(self, encoded: Encoded) -> Array:
        return np.concatenate([np.eye(size)[encoded[:, i]] for i, size in enumerate(self._sizes)], axis=1)


class WithScores(Descriptor):
    """Describes members by predicted scores, too."""

    def __init__(self, space: SearchSpace, costs: MemberCosts, models: Sequence[ScoreModel]) -> None:
        self._models = models
        super().__init__(space, costs)

    def _features(self, encoded: Encoded) -> Array:
        return np.column_stack([super()._features(encoded), *(model(encoded) for model in self._models)])


def score_players(table: ScoreTable, names: Sequence[str]) -> Mapping[str, Callable[[Problem], Player]]:
    """The sampler as it is, with each score's feature, with all of them, and with each score as an earlier run.

    Parameters and multiply-adds are features already; as an earlier run they are what a score has to beat.
    """

    members = members_of(table)

    def with_features(*scores: str) -> Callable[[Problem], Player]:
        return lambda problem: _player(
            Knowledge(
                problem,
                WithScores(
                    problem.space,
                    problem.costs,
                    [ScoreModel(problem.space, members, table.scores[name]) for name in scores],
                ),
            )
        )

    def with_prior(score: str) -> Callable[[Problem], Player]:
        return lambda problem: _player(Knowledge(replace(problem, earlier=(earlier_run(table, score),))))

    further = [name for name in names if name not in BASELINES]
    return {
        PLAIN: lambda problem: _player(Knowledge(problem)),
        **{f"{FEATURE} {name}": with_features(name) for name in further},
        **({f"{FEATURE} {'+'.join(further)}": with_features(*further)} if len(further) > 1 else {}),
        **{f"{PRIOR} {name}": with_prior(name) for name in names},
    }


def earlier_run(table: ScoreTable, score: str) -> EarlierRun:
    """The first scored architectures as if a search had trained them to accuracies in the order of their scores."""
    scores = table.scores[score][:PRIOR_MEMBERS]
    return EarlierRun(
        members=members_of(table)[:PRIOR_MEMBERS], accuracies=0.5 * np.exp(PRIOR_SPREAD * normal_scores(scores))
    )


def members_of(table: ScoreTable) -> Encoded:
    """Candidates that are known by one digit for each choice, (N, number of choices)."""
    return np.array([[int(place) for place in name] for name in table.candidates])


def _player(knowledge: Knowledge) -> Player:
    return lambda seed: KnownCostSampler(knowledge, seed=seed)
