"""Reinforcement learning without a network: REINFORCE (Williams 1992), the policy one distribution for each choice.

The search of arXiv:2104.00298 trains its candidates under random search or reinforcement learning, the latter after
arXiv:1807.11626, whose controller is a recurrent network trained by PPO on thousands of candidates. With a budget of
hundreds there is nothing to learn such a network from; independent choices are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace

from .history import Expectation, Places, Verdicts, nothing_expected, read_verdicts
from .member_sampler import MemberSampler

Array = NDArray[np.float64]

# A logit whose exponential is exactly 0, and whose product with 0 is a number.
_NEVER = -1e6


# Chosen on the two surrogate beds of Accel-NASBench (28 choices), 24 to 30 seeds of 200 trainings each, among steps of
# 0.05 to 0.8, memories of 0.5 to 0.98, entropies of 0 to 0.3, and Adam (0.02 to 0.2) instead of the plain step. The gap
# to the best reward after 20, 50, 100 and 200 trainings, from 60 other seeds with the backbone first, in percent:
#   step 0.5, memory 0.8, entropy 0.1    trees 3.0, 2.1, 1.1, 0.40    networks 2.5, 1.8, 0.9, 0.31
#   step 0.1, memory 0.95, no entropy    trees 3.1, 2.8, 2.1, 1.1     networks 2.6, 2.4, 1.7, 0.8
# The best of Adam has 1.4 and 0.6 after 100 and 200 on trees. Steps of 0.3 to 0.8 are level, under seed noise, too;
# an entropy of 0.3 doubles the gap after 200. Other spaces may want other values.
@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """How the policy learns."""

    learning_rate: float = 0.5
    """Step of the logits for a verdict one standard deviation above the baseline."""
    memory: float = 0.8
    """Share of the old in the moving averages of verdicts and of their squared deviations."""
    entropy: float = 0.1
    """Weight of the policy's entropy in what is maximised, in standard deviations of verdicts per nat."""


class ReinforceSampler(MemberSampler):
    """Draws each choice from the policy that the verdicts so far lead to, one step each, in their order."""

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int,
        expected: Expectation = nothing_expected,
        settings: PolicySettings = PolicySettings(),
    ) -> None:
        """
        Args:
            space: What the study searches.
            seed: Of the proposal.
            expected: Of pruned members.
            settings: How the policy learns.
        """
        super().__init__(space, seed=seed)
        self._expected, self._settings = expected, settings

    def proposals(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> Iterator[Places]:
        """Draws from the policy."""
        verdicts = read_verdicts(study, self._members, self._expected)
        logits = learn(verdicts, self._members.sizes, self._settings)
        cumulative = np.cumsum(np.exp(log_softmax(logits)), axis=1)
        last = np.array(self._members.sizes) - 1
        while True:
            # Rounding may leave the sum of all just below what is drawn.
            drawn = (cumulative < rng.random((len(last), 1))).sum(axis=1)
            yield self._members.canonical(np.minimum(drawn, last).tolist())


def learn(verdicts: Verdicts, sizes: Sequence[int], settings: PolicySettings) -> Array:
    """The policy after these verdicts.

    Verdicts are taken as if the policy they meet had drawn them. Of several workers it is a little older; the backbone
    comes from no policy at all.

    Returns:
        Logits, (number of choices, most values of a choice); those that no choice has stay at a probability of 0.
    """
    places = np.arange(max(sizes, default=0))
    logits = np.where(places < np.array(sizes, dtype=np.int64)[:, None], 0.0, _NEVER)
    chosen = (verdicts.members[:, :, None] == places).astype(np.float64)
    for each, advantage in zip(chosen, advantages(verdicts.scores, settings.memory), strict=True):
        logits += settings.learning_rate * gradient(logits, each, advantage, settings.entropy)
    return logits


def gradient(logits: Array, chosen: Array, advantage: float, entropy: float) -> Array:
    """Of ``advantage · log p(chosen) + entropy · H(p)`` by the logits.

    Args:
        logits: (number of choices, most values of a choice)
        chosen: 1 for the value of each choice that was drawn, else 0; like `logits`.
        advantage: Of what was drawn.
        entropy: Weight of H, the sum of the choices' entropies.
    """
    logs = log_softmax(logits)
    policy = np.exp(logs)
    by_value = policy * logs
    surprise = by_value - policy * by_value.sum(axis=1, keepdims=True)
    return advantage * (chosen - policy) - entropy * surprise


def log_softmax(logits: Array) -> Array:
    """Logarithms of the probabilities of each choice's values, like `logits`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def advantages(scores: Array, memory: float) -> list[float]:
    """How much better each verdict was than those before it, in their moving standard deviations.

    What is infeasible counts as the worst so far; before there is any other verdict it says nothing.

    Args:
        scores: In the order of the verdicts, (N,); -inf for what is infeasible.
        memory: Share of the old in the moving averages.
    """
    found, weight, baseline, variance, worst = [], 0.0, 0.0, 0.0, math.inf
    for score in scores.tolist():
        worst = min(worst, score) if score > -math.inf else worst
        if worst == math.inf:
            found.append(0.0)
            continue
        score = max(score, worst)
        deviation = score - baseline if weight else 0.0
        variance += (deviation**2 - variance) / max(weight, 1.0)
        found.append(deviation / math.sqrt(variance) if variance else 0.0)
        # The weights of all verdicts so far sum to this, so that the first ones count no more than they should.
        weight = memory * weight + 1
        baseline += (score - baseline) / weight
    return found
