"""What is believed of a search's members after some verdicts, and how much each of them promises."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .acquisition import log_expected_improvement
from .feasibility import Feasibility
from .front import Front
from .history import Verdicts
from .knowledge import RANDOM_STARTS, Knowledge
from .neighbourhood import keys

Array = NDArray[np.float64]

_BEST_STARTS = 5


class Belief:
    """What is believed after some verdicts, and what each member promises."""

    def __init__(self, knowledge: Knowledge, verdicts: Verdicts, running: Encoded | None = None) -> None:
        """
        Args:
            knowledge: Of the search.
            verdicts: Of judged members.
            running: Members that are being judged; they are taken to come out as expected.
        """
        self._knowledge = knowledge
        is_feasible = verdicts.is_feasible
        self._known, self.trained = verdicts.known, verdicts.members[is_feasible]
        self.running = verdicts.members[:0] if running is None else running
        logs = knowledge.log_accuracies(self.trained, verdicts.values[is_feasible])
        self.model = knowledge.model_after(self.trained, logs, verdicts.is_told[is_feasible]).imagining(self.running)
        # What a known limit forbids says nothing about what else might fail.
        allowed = knowledge.problem.limits.allowed(verdicts.members)
        self._feasibility = Feasibility(knowledge.describe, verdicts.members[allowed], is_feasible[allowed])

    @cached_property
    def best(self) -> float:
        """Logarithm of the best reward among members that were trained, or run, as it is believed to be."""
        return float(self._log_rewards_seen.max())

    def log_rewards(self, encoded: Encoded) -> tuple[Array, Array]:
        """Mean and standard deviation of log-rewards, (N,) each."""
        mean, deviation = self.model(encoded)
        return mean + self._knowledge.log_factor(encoded), deviation

    def promise(self, encoded: Encoded) -> Array:
        """Logarithm of the expected improvement, (N,); -inf beyond a known limit."""
        scores = np.full(len(encoded), -np.inf)
        allowed = self._knowledge.problem.limits.allowed(encoded)
        if allowed.any():
            inside = encoded[allowed]
            scores[allowed] = self._log_gain(inside) + self._feasibility.log_probability(inside)
        return scores

    def most_promising(self, rng: np.random.Generator) -> Encoded:
        """Members that were neither judged nor are running, the most promising first."""
        moves = self._knowledge.neighbourhood
        order = np.argsort(-self._log_rewards_seen[: len(self.trained)], kind="stable")[:_BEST_STARTS]
        centres = np.concatenate([self.trained[order], self._knowledge.backbone])
        start = np.concatenate([self._knowledge.inside.random(RANDOM_STARTS, rng), centres, moves.exchanges(centres)])
        found = moves.climb(start, self.promise, rng, known=keys(np.concatenate([self._known, self.running])))
        return found[np.isfinite(self.promise(found))]

    @cached_property
    def _seen(self) -> Encoded:
        """What is to be improved on: the backbone, while there is nothing else."""
        seen = np.concatenate([self.trained, self.running])
        return seen if len(seen) else self._knowledge.backbone

    @cached_property
    def _log_rewards_seen(self) -> Array:
        return self.log_rewards(self._seen)[0]

    def _log_gain(self, encoded: Encoded) -> Array:
        if self._front is None:
            return log_expected_improvement(*self.log_rewards(encoded), self.best)
        return self._front.log_expected_gain(*self.model(encoded), self._knowledge.log_costs(encoded))

    @cached_property
    def _front(self) -> Front | None:
        """What is reached already, where several objectives are searched."""
        if not self._knowledge.problem.objectives:
            return None
        costs = self._knowledge.log_costs(self._seen)
        return Front(self.model(self._seen)[0], costs, np.maximum(self._knowledge.most_costs, costs.max(axis=0)))
