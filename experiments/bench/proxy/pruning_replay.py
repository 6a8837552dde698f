"""Pruning by known costs played over finished trainings: what it would have saved, what it would have lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

from nas.audit.results import AuditResults
from nas.pruners.interface import Subject, Trained
from nas.pruners.known_cost import KnownCostPruner
from nas.pruners.learning_curve import LearningCurves
from nas.run import Run
from proxies.binomial import binomial_error

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
TAILS = (0.2, 0.1, 0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A finished training of a candidate."""

    number: int
    reward_factor: float
    """R / A."""
    curve: tuple[float, ...]
    """Accuracy after each epoch, fractions."""
    cost: float
    """Of the whole training, in whatever unit."""

    @property
    def reward(self) -> float:
        return self.reward_factor * self.curve[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A search played again with a pruner."""

    num_candidates: int
    num_untrained: int
    """Pruned before their training."""
    num_stopped: int
    """Pruned in it."""
    saved: float
    """Of the cost of all trainings."""
    num_wrong: int
    """Pruned candidates that would have beaten the best until then."""
    lost: float
    """By how much the best reward is lower, relative."""


def trainings_of(run: Run) -> list[Training]:
    """What a run has trained to the end, in the order of its trials."""
    reward = run.reward()
    return [
        Training(
            number=record.number,
            reward_factor=reward.cost_factor(step_time_s=outcome.step_time_s, params=outcome.params),
            curve=outcome.accuracy.curve,
            cost=outcome.step_time_s,
        )
        for record in run.records
        if record.is_judged and (outcome := record.outcome) is not None
    ]


def audited_trainings(results: AuditResults) -> list[list[Training]]:
    """What an audit has trained, one list for each of its trainings and replicates, in the order of the sample."""
    found: dict[tuple[str, int], list[Training]] = {}
    for cell, accuracy in sorted(results.trainings.items(), key=lambda item: item[0].number):
        audited = results.architectures[cell.number]
        found.setdefault((cell.training, cell.replicate), []).append(
            Training(
                number=cell.number,
                reward_factor=audited.reward_factor,
                curve=accuracy.curve,
                cost=audited.costs.step_time_s or 1.0,
            )
        )
    return list(found.values())


def replay(trainings: Sequence[Training], confidence: float) -> Replay:
    """Play trainings in their order; the first one, the backbone's, is never pruned."""
    pruner, best, saved = KnownCostPruner(confidence=confidence), 0.0, 0.0
    stopped_after: list[int] = []
    num_wrong = 0
    for training in trainings:
        subject = _subject(training)
        epochs, reason = _played(pruner, subject, training) if best else (len(training.curve), None)
        pruner.told(Trained(subject=subject, curve=training.curve[:epochs], is_complete=reason is None), reason)
        if reason is None:
            best = max(best, training.reward)
        else:
            stopped_after.append(epochs)
            saved += training.cost * (1 - epochs / len(training.curve))
            num_wrong += training.reward > best
    return Replay(
        num_candidates=len(trainings),
        num_untrained=stopped_after.count(0),
        num_stopped=len(stopped_after) - stopped_after.count(0),
        saved=saved / sum(training.cost for training in trainings),
        num_wrong=num_wrong,
        lost=1 - best / max(training.reward for training in trainings),
    )


def _played(pruner: KnownCostPruner, subject: Subject, training: Training) -> tuple[int, str | None]:
    """Epochs that are trained, and why not more."""
    epochs, reason = 0, pruner.before(subject)
    while reason is None and epochs < len(training.curve) - 1:
        epochs += 1
        reason = pruner.after_epoch(subject, training.curve[:epochs])
    return (epochs, reason) if reason else (len(training.curve), None)


def _subject(training: Training) -> Subject:
    return Subject(number=training.number, architecture=str(training.number), reward_factor=training.reward_factor)


def replay_table(searches: Sequence[Sequence[Training]], confidences: Iterable[float] = CONFIDENCES) -> Table:
    """One row per confidence, summed or averaged over searches."""
    result = Table(title="the same proposals, played with the pruner", box=None, padding=(0, 2, 0, 0))
    for name in ("confidence", "never trained", "stopped", "saved, %", "pruned wrongly", "best lost, %"):
        result.add_column(name, justify="right", no_wrap=True)
    for confidence in confidences:
        played = [replay(trainings, confidence) for trainings in searches]
        candidates = sum(each.num_candidates for each in played)
        result.add_row(
            f"{confidence:g}",
            f"{sum(each.num_untrained for each in played)} of {candidates}",
            f"{sum(each.num_stopped for each in played)}",
            f"{100 * sum(each.saved for each in played) / len(played):.0f}",
            f"{sum(each.num_wrong for each in played)}",
            f"{100 * sum(each.lost for each in played) / len(played):.3f}",
        )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often a bound was exceeded."""

    epoch: int
    """0: before training."""
    tail: float
    """How often it should be."""
    num_exceeded: int
    num_forecasts: int

    def __str__(self) -> str:
        error = binomial_error(self.num_exceeded, self.num_forecasts)
        return f"{100 * self.num_exceeded / self.num_forecasts:.0f} ± {100 * error:.0f}"


def coverage(searches: Iterable[Sequence[Training]], epoch: int, tail: float) -> Coverage:
    """Forecast each training from all others of its search, and count final accuracies above the bound."""
    exceeded = total = 0
    for trainings in searches:
        for left_out in trainings:
            curves = LearningCurves()
            for training in trainings:
                if training is not left_out:
                    curves.add(training.curve, training.reward_factor)
            forecast = (
                curves.forecast(left_out.curve[:epoch]) if epoch else curves.forecast_untrained(left_out.reward_factor)
            )
            if forecast is not None:
                total += 1
                exceeded += left_out.curve[-1] > forecast.at_most(tail)
    return Coverage(epoch=epoch, tail=tail, num_exceeded=exceeded, num_forecasts=total)


def coverage_table(searches: Sequence[Sequence[Training]]) -> Table:
    """One row per epoch."""
    result = Table(title="final accuracies above the bound, %", box=None, padding=(0, 2, 0, 0))
    result.add_column("after epoch", justify="left", no_wrap=True)
    for tail in TAILS:
        result.add_column(f"should be {100 * tail:g}", justify="right", no_wrap=True)
    for epoch in range(max(len(training.curve) for trainings in searches for training in trainings)):
        found = [coverage(searches, epoch, tail) for tail in TAILS]
        if all(each.num_forecasts for each in found):
            result.add_row(str(epoch or "none"), *map(str, found))
    return result
