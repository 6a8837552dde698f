"""How well trainings rank when they are looked at before their end, as rungs do."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from proxies.ranking import Ranking

from .config import ProxyTraining
from .scores import Floats, Scores, mean_of
from .yardstick import Yardstick, rank_pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """How well a training ranks after an epoch of a schedule that is meant for more."""

    training: ProxyTraining
    epoch: int
    num_architectures: int
    accuracy: Ranking
    reward: Ranking
    cost: float
    """Seconds up to there ÷ those of a whole training of the target."""


def early_stops(training: ProxyTraining, scores: Scores, cost: float, target: Yardstick) -> Iterator[EarlyStop]:
    """A training after each epoch but its last, as far as there is a ranking.

    Args:
        training: Of the audit, the target among them.
        scores: Its trainings.
        cost: Its seconds ÷ the target's.
        target: What it is judged by.
    """
    for epoch in range(1, training.epochs):
        seen, true, factors = _pairs(scores.curves[epoch - 1], target, is_target=training == target.training)
        ranking, by_reward = rank_pairs(seen, true), rank_pairs(seen * factors, true * factors)
        if ranking is not None and by_reward is not None:
            yield EarlyStop(
                training=training,
                epoch=epoch,
                num_architectures=seen.shape[1],
                accuracy=ranking,
                reward=by_reward,
                cost=cost * epoch / training.epochs,
            )


def _pairs(seen: Floats, target: Yardstick, *, is_target: bool) -> tuple[Floats, Floats, Floats]:
    """Accuracies at a stop, (pairs, M), the target's, (pairs, M), and reward factors, (M,).

    What a training of the target shows on its way is held against the target's other trainings: against its own end
    it would look better than any other proxy can, because the two share the luck of their seed.
    """
    if not is_target:
        mean = mean_of(seen)
        both = np.isfinite(mean) & np.isfinite(target.accuracy)
        return mean[None, both], target.accuracy[None, both], target.factors[both]
    if target.repeated is None:
        return np.empty((0, 0)), np.empty((0, 0)), np.empty(0)
    mine, others = target.repeated.of(seen), target.repeated.others(target.scores.accuracy)
    there = np.isfinite(mine).all(axis=0)
    return mine[:, there], others[:, there], target.factors[target.repeated.numbers][there]
