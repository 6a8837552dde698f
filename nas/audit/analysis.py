"""How well each cheaper training ranks, what limits that, and which one a search should judge by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from proxies.ranking import Ranking

from .early_stops import EarlyStop, early_stops
from .results import AuditResults
from .scores import scores_of
from .standing import Standing, standing_of, with_front
from .yardstick import Ceiling, Yardstick, ceiling_of, rank_common, yardstick_of

Reach = Literal["aim", "ceiling", "neither"]

_ALIKE = 1.1
"""Times the cost of the cheapest at which a proxy counts as just as cheap: seconds are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The training that a search should judge by."""

    standing: Standing
    reaches: Reach
    """The τ that was asked for; or what noise leaves of it; or not even that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What an audit shows so far."""

    results: AuditResults
    target: Yardstick
    standings: tuple[Standing, ...]
    """The cheapest first."""
    stops: tuple[EarlyStop, ...]
    """Of the target, then of each proxy, from the cheapest on."""
    pending: Mapping[str, str]
    """Trainings by their keys that cannot be ranked yet, with the reason."""
    ceiling: Ceiling | None
    by_macs: Ranking | None
    """Of multiply-adds against the target's accuracies: what a ranking costs that costs nothing."""
    by_costs: Ranking | None
    """Of S and P alone against the target's rewards, as if all accuracies were equal."""
    recommendation: Recommendation | None

    @property
    def half_width(self) -> float | None:
        """Half of the usual 90 % interval of τ: what so few architectures leave open."""
        widths = [(each.accuracy.high - each.accuracy.low) / 2 for each in self.standings if each.is_settled]
        return float(np.median(widths)) if widths else None


def analyse(results: AuditResults) -> Analysis:
    """Compare every training of an audit with its target, finished or not."""
    target = yardstick_of(results)
    scores = {training: scores_of(results, training) for training in results.config.audited}
    judged = {training: standing_of(training, each, target) for training, each in scores.items()}
    standings = with_front([each for each in judged.values() if isinstance(each, Standing)])
    ceiling = ceiling_of(target)
    stops = list(early_stops(target.training, target.scores, 1.0, target))
    for each in standings:
        stops += early_stops(each.training, scores[each.training], each.cost, target)
    macs = np.array([each.costs.macs for each in results.architectures], dtype=float)
    return Analysis(
        results=results,
        target=target,
        standings=standings,
        stops=tuple(stops),
        pending={training.key: each for training, each in judged.items() if isinstance(each, str)},
        ceiling=ceiling,
        by_macs=rank_common(macs, target.accuracy),
        by_costs=rank_common(target.factors, target.rewards),
        recommendation=recommend(standings, ceiling, results.config.min_tau),
    )


def recommend(standings: Sequence[Standing], ceiling: Ceiling | None, min_tau: float) -> Recommendation | None:
    """The cheapest proxy that reaches what is asked for or what noise allows, else the one that ranks best.

    Of those that are about as cheap as the cheapest it is the one that ranks best.

    Args:
        standings: With their front.
        ceiling: What noise allows, where it is known.
        min_tau: What is asked for.

    Returns:
        None while no proxy can be judged.
    """
    front = sorted((each for each in standings if each.on_front), key=lambda each: each.cost)
    if not front:
        return None
    good = [each for each in front if reach(each, ceiling, min_tau) != "neither"]
    if good:
        # On the front, the dearest of those that are as cheap ranks best.
        best = [each for each in good if each.cost <= _ALIKE * good[0].cost][-1]
        return Recommendation(standing=best, reaches=reach(best, ceiling, min_tau))
    return Recommendation(standing=front[-1], reaches="neither")


def reach(standing: Standing, ceiling: Ceiling | None, min_tau: float) -> Reach:
    """Whether a proxy ranks as well as is asked for, or as noise allows."""
    if standing.accuracy.tau >= min_tau:
        return "aim"
    if ceiling is None or standing.beside_ceiling is None or standing.beside_ceiling < ceiling.accuracy.tau:
        return "neither"
    return "ceiling"
