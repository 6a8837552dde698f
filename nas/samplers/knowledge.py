"""What all proposals of one search share: what follows from its problem alone, and fits worth keeping."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded
from proxies.seeds import derived_seed

from .accuracy_model import AccuracyModel, Trained, fit_covariance
from .descriptors import Descriptor
from .design import Design
from .gaussian_process import Hyperparameters
from .history import Members, Verdicts
from .limited_members import LimitedMembers
from .neighbourhood import Neighbourhood, keys
from .problem import Problem

Array = NDArray[np.float64]

DESIGN_SIZE = 3
"""Results, the backbone's among them, before a model is believed; the design goes on until they are there."""
_FITTED_EACH_TIME = 40
"""Results up to which the covariance is fitted at each proposal."""
_GROWTH = 20
"""Beyond, it is fitted when results have grown by a twentieth, and by four at least."""
_GROWTH_LEAST = 4
RANDOM_STARTS = 500
_MOST_EARLIER = 300
"""Results of an earlier run that are used."""
_LEAST = 1e-6
"""Stands for an accuracy of 0, which has no logarithm."""


class Knowledge:
    """What all proposals of one search share: what follows from the problem alone, and fits worth keeping."""

    def __init__(self, problem: Problem, describe: Descriptor | None = None) -> None:
        """
        Args:
            problem: What is searched.
            describe: What the model sees of members; choices and cheap features by default.
        """
        self.problem = problem
        self.members = Members(problem.space)
        self.neighbourhood = Neighbourhood(self.members)
        self.inside = LimitedMembers(problem.space, self.neighbourhood, problem.limits, problem.seed)
        self.describe = describe or Descriptor(problem.space, problem.costs)
        self.backbone = np.array([problem.space.encode(problem.space.backbone)])
        self._fitted: dict[int, tuple[tuple[bytes, ...], Hyperparameters]] = {}

    @cached_property
    def design(self) -> Design:
        problem = self.problem
        return Design(self.members, self.inside, problem.reward, problem.costs, problem.seed)

    @cached_property
    def earlier(self) -> list[Trained]:
        """Of each earlier run the best results and some of the others."""
        return [_most_telling(run.members, np.log(np.maximum(run.accuracies, _LEAST))) for run in self.problem.earlier]

    def log_factor(self, encoded: Encoded) -> Array:
        """Logarithm of what accuracy is multiplied by, as far as it is known, (N,)."""
        reward, costs = self.problem.reward, self.problem.costs(encoded)
        factor = reward.v * np.log(costs.params / reward.params_ref)
        if costs.step_time_s is None:
            return np.asarray(factor)
        return np.asarray(factor + reward.w * np.log(costs.step_time_s / reward.step_time_ref_s))

    def log_accuracies(self, members: Encoded, values: Array) -> Array:
        """What the model is to explain, of members with their values as the study has them, (N,).

        The logarithm of accuracy; times the unknown factor of the reward where step times are measured.
        """
        objectives = self.problem.objectives
        if objectives:
            return np.log(np.maximum(values[:, list(objectives).index("accuracy")], _LEAST))
        return np.log(np.maximum(values[:, 0], _LEAST)) - self.log_factor(members)

    def log_costs(self, encoded: Encoded) -> Array:
        """Logarithms of the costs among the objectives, (N, 1 or 2); multiply-adds stand in for unknown step times."""
        costs = self.problem.costs(encoded)
        step_time = costs.macs if costs.step_time_s is None else costs.step_time_s
        found = {"step_time": step_time, "params": costs.params}
        return np.log(np.stack([found[name] for name in self.problem.objectives if name != "accuracy"], axis=1))

    @cached_property
    def most_costs(self) -> Array:
        """The highest of each of these costs that is found in the space, within the limits, (1 or 2,).

        What is trained first is cheap: its costs must not bound where a front is looked for.
        """
        rng = np.random.default_rng(derived_seed(self.problem.seed, "most costs"))
        start = np.concatenate([self.backbone, self.inside.random(RANDOM_STARTS, rng)])

        def dearest(cost: int) -> Encoded:
            def score(encoded: Encoded) -> Array:
                return np.where(self.problem.limits.allowed(encoded), self.log_costs(encoded)[:, cost], -np.inf)

            return self.neighbourhood.climb(start, score, rng)[:1]

        found = [dearest(cost) for cost in range(len(self.problem.objectives) - 1)]
        return np.asarray(self.log_costs(np.concatenate(found)).max(axis=0))

    def is_enough(self, verdicts: Verdicts) -> bool:
        """Whether so much is known that a model tells more than a design."""
        known = int((verdicts.is_feasible & verdicts.is_told).sum()) + sum(len(run.logs) for run in self.earlier)
        return self.problem.is_priced and known >= DESIGN_SIZE

    def model_after(
        self, members: Encoded, logs: Array, is_told: NDArray[np.bool_] | slice = slice(None)
    ) -> AccuracyModel:
        """What is believed of accuracies; earlier runs count as long as the present one is explained better with them.

        Args:
            members: That were trained, (N, number of choices).
            logs: See `log_accuracies`.
            is_told: Those that were trained to the end, by default all; others teach nothing of noise and similarity.
        """
        trained, told = Trained.of(members, logs), (members[is_told], logs[is_told])
        models = [
            AccuracyModel(self.describe, trained, earlier, self._covariance_after(*told, earlier))
            for earlier in ((self.earlier, []) if self.earlier and len(logs) >= DESIGN_SIZE else (self.earlier,))
        ]
        return models[0] if len(models) == 1 else max(models, key=lambda model: model.credibility)

    def _covariance_after(self, members: Encoded, logs: Array, earlier: Sequence[Trained]) -> Hyperparameters:
        """The covariance fitted to the results up to the last milestone.

        It depends on these alone, so that a search that was killed goes on as if nothing had happened.
        """
        count = _milestone(len(logs))
        used = Trained.of(members[:count], logs[:count])
        key = tuple(keys(used.members))
        if len(earlier) not in self._fitted or self._fitted[len(earlier)][0] != key:
            self._fitted[len(earlier)] = key, fit_covariance(self.describe, used, earlier)
        return self._fitted[len(earlier)][1]


def _milestone(count: int) -> int:
    """The last number of results, up to this one, at which the covariance is fitted."""
    reached = min(count, _FITTED_EACH_TIME)
    while (following := reached + max(_GROWTH_LEAST, reached // _GROWTH)) <= count:
        reached = following
    return reached


def _most_telling(members: Encoded, logs: Array) -> Trained:
    """At most so many results of an earlier run: the better half of those the best, the others spread over the rest."""
    order = np.argsort(-logs, kind="stable")
    half = _MOST_EARLIER // 2
    if len(order) > _MOST_EARLIER:
        rest = np.linspace(half, len(order) - 1, _MOST_EARLIER - half).round().astype(np.int64)
        order = np.concatenate([order[:half], order[rest]])
    return Trained.of(members[order], logs[order])
