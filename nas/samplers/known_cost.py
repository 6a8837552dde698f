"""Searches a reward whose cheap factors are known: accuracy alone is modelled, step time and parameters are exact.

A reward A · c(x) is searched as c(x) times a guess: log A is a Gaussian process, log c(x) is added to its mean, and the
member whose reward is expected to improve on the best by most is proposed. Step time and parameters cost microseconds
for a member, so every candidate is judged by its own, and known limits are kept exactly.
"""

from collections.abc import Iterator

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial

from proxies.costs import Encoded

from .belief import Belief
from .history import Places, Verdicts, read_running, read_verdicts
from .knowledge import Knowledge
from .member_sampler import MemberSampler


class KnownCostSampler(MemberSampler):
    """Proposes the member that is expected to improve most on what is known, from the study and the seed alone.

    Members that are being judged count as if they had come out as expected, so that parallel proposals differ
    (Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization").
    """

    def __init__(self, knowledge: Knowledge, *, seed: int) -> None:
        """
        Args:
            knowledge: Of the search, shared by its proposals.
            seed: Of the proposal.
        """
        super().__init__(knowledge.problem.space, seed=seed)
        self._knowledge = knowledge

    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterator[Places]:
        """What is proposed, the best first."""
        verdicts = read_verdicts(study, self._members, self._knowledge.problem.expected)
        running = read_running(study, self._members)
        ranked = self._ranking(verdicts, running, rng)
        for places in ranked[self._knowledge.problem.limits.allowed(ranked)]:
            yield tuple(places.tolist())

    def _ranking(self, verdicts: Verdicts, running: Encoded, rng: np.random.Generator) -> Encoded:
        if self._knowledge.is_enough(verdicts):
            return Belief(self._knowledge, verdicts, running).most_promising(rng)
        return self._knowledge.design.ranking(np.concatenate([verdicts.known, running]))

    def _unknown(self, known: frozenset[Places]) -> Places:
        """Chance knows no limits: within them, what is known already says that nothing more is found."""
        if self._knowledge.problem.limits:
            return self._members.canonical(self._knowledge.backbone[0].tolist())
        return super()._unknown(known)
