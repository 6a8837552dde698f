"""How well one cheaper training stands in for the target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proxies.ranking import Ranking

from .config import ProxyTraining
from .exponents import Slope, foretold, slope_of
from .scores import Floats, Scores, Selection, mean_of, select
from .yardstick import FEWEST, Yardstick, rank_common, rank_pairs

SETTLED = 0.8
"""Share of the target's architectures from which a proxy can be on the front, and be recommended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How well a cheaper training, with a schedule of its own, stands in for the target."""

    training: ProxyTraining
    num_architectures: int
    """That both have."""
    accuracy: Ranking
    """Of its accuracies against the target's, both means over their trainings."""
    reward: Ranking
    """Of the rewards that follow from them with the search's exponents."""
    slope: Slope | None
    """Of the logarithm of the target's accuracy over that of its own; None where that cannot be said."""
    suited_reward: Ranking
    """As `reward`, with the exponents divided by the slope, which no architecture had a say in for itself; where the
    slope is not sure, with the exponents as they are."""
    beside_ceiling: float | None
    """τ of its accuracies as the ceiling is taken: against all trainings of the target but one, averaged."""
    cost: float
    """Its seconds of training ÷ the target's, over the same architectures."""
    images: float
    """Images it is trained on ÷ the target's: a count, without the noise of seconds."""
    by_accuracy: Selection | None
    by_reward: Selection | None
    """What a search by it, with the exponents that suit it, would have found; None where the sample is no larger."""
    is_settled: bool
    """Whether it has nearly all of the architectures that the target has."""
    on_front: bool = False
    """Whether no cheaper one ranks as well."""


def standing_of(training: ProxyTraining, scores: Scores, target: Yardstick) -> Standing | str:
    """How well a proxy ranks, or in words why that cannot be said."""
    accuracy = mean_of(scores.accuracy)
    both = np.isfinite(accuracy) & np.isfinite(target.accuracy)
    ranking = rank_common(accuracy, target.accuracy)
    by_reward = rank_common(accuracy * target.factors, target.rewards)
    if ranking is None or by_reward is None:
        return _why_not(accuracy[both], both)
    full, true, factors = target.training, target.accuracy[both], target.factors[both]
    slope = slope_of(accuracy[both], true)
    is_sure = slope is not None and slope.is_sure
    rewards = factors * (foretold(accuracy[both], true) if is_sure else accuracy[both])
    suited = rank_pairs(rewards[None], target.rewards[None, both])
    return Standing(
        training=training,
        num_architectures=int(both.sum()),
        accuracy=ranking,
        reward=by_reward,
        slope=slope,
        suited_reward=suited or by_reward,
        beside_ceiling=_beside_ceiling(accuracy, target),
        cost=float(mean_of(scores.seconds)[both].sum() / target.seconds[both].sum()),
        images=training.epochs * training.data_share / (full.epochs * full.data_share),
        by_accuracy=select(accuracy[both], true, target.num_best),
        by_reward=select(rewards, target.rewards[both], target.num_best),
        is_settled=bool(both.sum() >= SETTLED * np.isfinite(target.accuracy).sum()),
    )


def with_front(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """The cheapest first, those that no cheaper one equals marked."""
    marked, best = [], -np.inf
    for each in sorted(standings, key=lambda each: (each.cost, -each.accuracy.tau)):
        on_front = each.is_settled and each.accuracy.tau > best
        best = each.accuracy.tau if on_front else best
        marked.append(replace(each, on_front=on_front))
    return tuple(marked)


def _why_not(accuracy: Floats, both: NDArray[np.bool_]) -> str:
    if both.sum() < FEWEST:
        return f"{both.sum()} architectures are trained both so and at the target; a ranking takes {FEWEST}"
    whose = "its" if np.ptp(accuracy) == 0 else "the target's"
    return f"all {whose} accuracies are equal"


def _beside_ceiling(accuracy: Floats, target: Yardstick) -> float | None:
    if target.repeated is None:
        return None
    mine, others = accuracy[target.repeated.numbers], target.repeated.others(target.scores.accuracy)
    there = np.isfinite(mine)
    ranking = rank_pairs(np.tile(mine[there], (len(others), 1)), others[:, there])
    return None if ranking is None else ranking.tau
