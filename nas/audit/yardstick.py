"""What proxies are judged by: the target's trainings, and the ceiling that their own noise sets."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from proxies.ranking import Ranking, mean_rank

from .config import ProxyTraining
from .results import AuditResults
from .scores import Floats, Repeated, Scores, mean_of, repeated, scores_of, select

FEWEST = 3
"""Architectures that both have, from which there is a ranking at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Yardstick:
    """The target's trainings of the sample."""

    training: ProxyTraining
    scores: Scores
    accuracy: Floats
    """Mean over its trainings, (architectures,)."""
    seconds: Floats
    """Likewise."""
    factors: Floats
    """R / A of each architecture."""
    repeated: Repeated | None
    num_best: int
    """How many of its best a proxy should find."""

    @property
    def rewards(self) -> Floats:
        return self.accuracy * self.factors


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How well a further training of the target itself would rank: no proxy can be told to be better."""

    num_trainings: int
    """Of each architecture."""
    num_architectures: int
    accuracy: Ranking
    """One training against the mean of the others, averaged over the trainings."""
    reward: Ranking
    seed_to_seed: float
    """τ of one training against one other, averaged over the pairs."""
    found: float | None
    """Of the others' best by reward, how many are among its own; averaged."""
    seed_error: float
    """Standard deviation of accuracy from seed to seed."""
    spread: float
    """Standard deviation of the architectures' mean accuracies."""


def yardstick_of(results: AuditResults) -> Yardstick:
    """The target's side of an audit."""
    scores = scores_of(results, results.config.target)
    return Yardstick(
        training=results.config.target,
        scores=scores,
        accuracy=mean_of(scores.accuracy),
        seconds=mean_of(scores.seconds),
        factors=np.array([each.reward_factor for each in results.architectures], dtype=float),
        repeated=repeated(scores.accuracy),
        num_best=results.config.top,
    )


def ceiling_of(target: Yardstick) -> Ceiling | None:
    """What noise from seed to seed leaves; None until three architectures were trained twice."""
    if target.repeated is None:
        return None
    one, others = target.repeated.of(target.scores.accuracy), target.repeated.others(target.scores.accuracy)
    factors = target.factors[target.repeated.numbers]
    ranking, by_reward = rank_pairs(one, others), rank_pairs(one * factors, others * factors)
    if ranking is None or by_reward is None:
        return None
    chosen = [select(a * factors, b * factors, target.num_best) for a, b in zip(one, others, strict=True)]
    found = [each.found for each in chosen if each is not None]
    return Ceiling(
        num_trainings=len(one),
        num_architectures=one.shape[1],
        accuracy=ranking,
        reward=by_reward,
        seed_to_seed=float(np.nanmean([kendalltau(a, b).statistic for a, b in combinations(one, 2)])),
        found=float(np.mean(found)) if found else None,
        seed_error=float(np.sqrt(np.var(one, axis=0, ddof=1).mean())),
        spread=float(np.std(one.mean(axis=0), ddof=1)),
    )


def rank_common(predicted: Floats, true: Floats) -> Ranking | None:
    """τ over the architectures that have both numbers; None where that cannot be said, see `rank_pairs`."""
    both = np.isfinite(predicted) & np.isfinite(true)
    return rank_pairs(predicted[None, both], true[None, both])


def rank_pairs(predicted: Floats, true: Floats) -> Ranking | None:
    """As `mean_rank`, over those pairs in which both numbers differ from architecture to architecture.

    Returns:
        None where there are none, or fewer than three architectures.
    """
    if predicted.shape[1] < FEWEST:
        return None
    varied = (np.ptp(predicted, axis=1) > 0) & (np.ptp(true, axis=1) > 0)
    return mean_rank(predicted[varied], true[varied]) if varied.any() else None
