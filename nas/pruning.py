"""A search's pruner at work: it hears of every epoch, what it decides is kept, and what the study knows told again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from search_spaces.architecture import parse

from .appraisal import Appraisal
from .config import SearchConfig
from .evaluation_tasks import AccuracyRecord, EpochReport
from .pruners.choice import promotes
from .pruners.interface import Pruner, Subject, Trained
from .pruners.learning_curve import LearningCurves
from .trials import Candidate, Partial, State, TrialRecord


@dataclass(slots=True)
class _Training:
    """A candidate at work."""

    subject: Subject
    is_judged: bool
    """Whether the pruner is asked about it."""
    known_epochs: int
    """What a promoted candidate had come to when it was pruned: it is not stopped there again."""
    reports: list[EpochReport] = field(default_factory=list)
    reason: str | None = None
    """Why it is stopped."""


class Pruning:
    """Stands between the loop and its pruner."""

    def __init__(self, pruner: Pruner, appraisal: Appraisal, *, backbone: str, records: Sequence[TrialRecord]) -> None:
        """
        Args:
            pruner: Fresh: it is told all that is known.
            appraisal: Of the run; nothing is pruned before candidates have their price.
            backbone: Is never pruned, since all others are compared with it.
            records: The study's trials.
        """
        self._pruner, self._appraisal, self._backbone = pruner, appraisal, backbone
        self._curves = LearningCurves()
        self._running: dict[int, _Training] = {}
        self._unwanted: list[int] = []
        self._pruned: dict[int, TrialRecord] = {}
        continued = (record.candidate.continues for record in records if record.candidate is not None)
        self._continued = {number for number in continued if number is not None}
        """Pruned trials that others went on from, or are about to."""
        for record in sorted(filter(_is_verdict, records), key=_finished):
            self.told(record)

    def begin(self, number: int, candidate: Candidate) -> str | None:
        """Take note of an attempt.

        Returns:
            Why it need not be trained at all; None: it is.
        """
        pruned = None if candidate.continues is None else self._pruned.get(candidate.continues)
        training = self._running[number] = _Training(
            self._subject(number, candidate.architecture),
            is_judged=candidate.architecture != self._backbone,
            known_epochs=pruned.partial.epochs if pruned and pruned.partial else 0,
        )
        if candidate.continues is None and self._may_judge(training):
            training.reason = self._pruner.before(training.subject)
        return training.reason

    def hear(self, number: int, report: EpochReport) -> None:
        """Take an epoch of an attempt, and decide whether it goes on."""
        training = self._running[number]
        if training.reason is not None:
            return  # it is about to end: what it does meanwhile must not depend on how long that takes
        # One that is tried again in smaller parts begins anew.
        training.reports[report.epoch - 1 :] = [report]
        if training.known_epochs < report.epoch < report.num_epochs and self._may_judge(training):
            training.subject = self._subject(number, training.subject.architecture)
            training.reason = self._pruner.after_epoch(training.subject, _curve(training.reports))
            if training.reason is not None:
                self._unwanted.append(number)

    def unwanted(self) -> list[int]:
        """Attempts that shall be halted, each once."""
        found, self._unwanted = self._unwanted, []
        return found

    def reason(self, number: int) -> str | None:
        """Why a running attempt is to be stopped; None: it is not."""
        return self._running[number].reason

    def stopped(self, number: int, *, seed: int, where: str | None) -> Partial:
        """What an attempt that is to be stopped had come to when that was decided.

        Args:
            number: Of its trial.
            seed: Of its training.
            where: Its machine.
        """
        training = self._running[number]
        if training.reason is None:
            raise ValueError(f"only what is to be stopped is pruned, got trial {number}")
        accuracy = _accuracy(training.reports, seed) if training.reports else None
        return self._appraisal.stopped(parse(training.subject.architecture), training.reason, accuracy, where)

    def drop(self, number: int) -> None:
        """Forget an attempt that came to no verdict."""
        self._running.pop(number, None)

    def told(self, record: TrialRecord) -> None:
        """Take a verdict of a candidate's own."""
        self.drop(record.number)
        if record.candidate is None or record.state is State.INFEASIBLE:
            return
        subject = self._subject(record.number, record.candidate.architecture)
        if record.partial is not None:
            self._pruned[record.number] = record
            reached = record.partial.accuracy
            curve = reached.curve if reached else ()
            self._pruner.told(Trained(subject=subject, curve=curve, is_complete=False), record.reason)
        elif record.outcome is not None:
            reached = record.outcome.accuracy
            curve = reached.curve or (reached.accuracy,)
            self._curves.add(curve, subject.reward_factor)
            self._pruner.told(Trained(subject=subject, curve=curve, is_complete=True), None)

    def promotions(self) -> Iterator[TrialRecord]:
        """Pruned trials that deserve to go on by now, each once."""
        asked: set[int] = set()
        while (number := self._pruner.promoted()) is not None and number not in asked:
            asked.add(number)
            if number in self._pruned and number not in self._continued:
                self._continued.add(number)
                yield self._pruned[number]

    def expected_reward(self, partial: Partial) -> float | None:
        """What a pruned candidate would probably have come to; None where that cannot be said."""
        if partial.accuracy is not None:
            forecast = self._curves.forecast(partial.accuracy.curve)
        else:
            factor = self._appraisal.value_of(partial, accuracy=1.0)
            forecast = None if factor is None else self._curves.forecast_untrained(factor)
        return None if forecast is None else self._appraisal.value_of(partial, forecast.accuracy)

    def _may_judge(self, training: _Training) -> bool:
        return training.is_judged and self._appraisal.costs is not None

    def _subject(self, number: int, architecture: str) -> Subject:
        factor = self._appraisal.reward_factor(parse(architecture))
        return Subject(number=number, architecture=architecture, reward_factor=factor)


def may_go_on(record: TrialRecord, config: SearchConfig) -> bool:
    """Whether a verdict may not be the last on its candidate, so that its checkpoint is worth keeping."""
    return record.state is State.PRUNED and promotes(config)


def _is_verdict(record: TrialRecord) -> bool:
    """Whether an attempt ended with a verdict; also one that another trial went on from."""
    return record.state.is_verdict and record.candidate is not None and record.candidate.duplicate_of is None


def _finished(record: TrialRecord) -> tuple[object, int]:
    """By number where two verdicts fell into the same tick of the clock."""
    return record.finished, record.number


def _curve(reports: Sequence[EpochReport]) -> tuple[float, ...]:
    return tuple(report.num_correct / report.num_images for report in reports)


def _accuracy(reports: Sequence[EpochReport], seed: int) -> AccuracyRecord:
    last = reports[-1]
    return AccuracyRecord(
        num_correct=last.num_correct,
        num_images=last.num_images,
        seed=seed,
        train_seconds=last.train_seconds,
        curve=_curve(reports),
        losses=tuple(report.train_loss for report in reports),
    )
