"""A search whose trainings go on an epoch at a time in this process, with a pruner that follows a script."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import fake_search

from nas.config import SearchConfig
from nas.evaluation_tasks import AccuracyRecord, EpochReport, Evaluation, Judge
from nas.executors.interface import Done, Event, Interrupted, Progress, Started
from nas.pruners.interface import Consent, Pruner, Subject, Trained, consented
from nas.run import Run
from nas.study import Ending

NUM_EPOCHS = 4


def config(out: Path, **changes: Any) -> SearchConfig:
    """A small search of four epochs each; `changes` are keys of the configuration."""
    changes = {"finalists": 0, "fidelity": {"epochs": NUM_EPOCHS}, "pruners": ["halving"]} | changes
    return fake_search.config(out, **changes)


def num_correct(architecture: str, epoch: int) -> int:
    """Of 1,000 images; the curves of two architectures may cross."""
    final = 500 + 400 * fake_search.number_of(architecture, "accuracy")
    pace = 0.3 + 0.6 * fake_search.number_of(architecture, "pace")
    return round(final * (1 - 0.5 * pace**epoch))


def report(architecture: str, epoch: int) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        num_epochs=NUM_EPOCHS,
        num_correct=num_correct(architecture, epoch),
        num_images=1000,
        train_loss=1 / epoch,
        train_seconds=0.5 * epoch,
    )


@dataclass(slots=True)
class EpochExecutor:
    """Shows an epoch of its oldest task with each call, in turn; keeps what is halted, as a checkpoint would."""

    places = ("here",)
    capacity: int = 1
    is_deaf: bool = False
    """Whether it goes on with what is halted."""
    fate: Callable[[str, int], Event | None] = lambda architecture, task: None
    """What becomes of a task that is halted, if it is not interrupted."""
    steps_left: int | None = None
    """Epochs until the driver is killed."""
    kept: dict[str, int] = field(default_factory=dict)
    """Epochs of interrupted trainings, by architecture."""
    trained: list[tuple[str, int]] = field(default_factory=list)
    """Architecture and epoch, as they were trained."""
    _running: dict[int, tuple[object, int]] = field(default_factory=dict)
    _halted: set[int] = field(default_factory=set)

    def submit(self, task: int, work: object) -> None:
        self._running[task] = work, 0

    def events(self, timeout_s: float) -> list[Event]:
        task = next(iter(self._running))
        work, epoch = self._running.pop(task)
        if not isinstance(work, Judge):
            return [Done(task, fake_search.evaluate(work, lambda fraction, doing, found=None: None))]
        name = work.architecture
        if task in self._halted:
            self._halted.remove(task)
            self.kept[name] = epoch
            return [self.fate(name, task) or Interrupted(task)]
        if epoch == NUM_EPOCHS:
            return [Done(task, Evaluation(accuracy=_accuracy(work), seconds=1.0))]
        if epoch >= self.kept.get(name, 0):
            self.train(name, epoch + 1)
        self._running[task] = work, epoch + 1
        told = Progress(task, (epoch + 1) / NUM_EPOCHS, "an epoch", report(name, epoch + 1))
        return [told] if epoch else [Started(task, "here"), told]

    def train(self, architecture: str, epoch: int) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise KilledError
        self.trained.append((architecture, epoch))
        self.kept[architecture] = epoch

    def halt(self, task: int) -> None:
        if not self.is_deaf:
            self._halted.add(task)

    def begin_anew(self) -> None:
        """Another driver comes; what is kept stays."""
        self._running.clear()
        self._halted.clear()

    def interrupt(self, task: int) -> None:
        """What runs is abandoned."""

    def stop(self, task: int) -> None:
        self._running.pop(task, None)

    def close(self) -> None:
        """There is no process."""


class KilledError(Exception):
    """Stands for the driver's death: nothing is told any more."""


def _accuracy(work: Judge) -> AccuracyRecord:
    reports = [report(work.architecture, epoch) for epoch in range(1, NUM_EPOCHS + 1)]
    return AccuracyRecord(
        num_correct=reports[-1].num_correct,
        num_images=1000,
        seed=work.seed,
        train_seconds=2.0,
        curve=tuple(each.num_correct / 1000 for each in reports),
    )


@dataclass(slots=True)
class Script:
    """A pruner that does what it is asked to, by the places of candidates in the order in which they come."""

    needless: Sequence[int] = ()
    """Those that are not trained at all."""
    stops: dict[int, int] = field(default_factory=dict)
    """Epochs after which others stop."""
    promotes: dict[int, int] = field(default_factory=dict)
    """Those that go on once so many verdicts are told."""
    seen: list[str] = field(default_factory=list)
    """Architectures in the order in which they came; the backbone is not among them."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Architecture and epochs, as it was asked."""
    told_of: list[tuple[Trained, str | None]] = field(default_factory=list)

    def before(self, subject: Subject) -> str | None:
        return "needless" if self._place(subject.architecture) in self.needless else None

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        self.asked.append((subject.architecture, len(curve)))
        return "too slow" if self.stops.get(self._place(subject.architecture)) == len(curve) else None

    def told(self, trained: Trained, reason: str | None) -> None:
        self.told_of.append((trained, reason))

    def promoted(self, consent: Consent = consented) -> int | None:
        due = [place for place, count in self.promotes.items() if len(self.told_of) >= count]
        for place in due:
            del self.promotes[place]
            numbers = (each.subject.number for each, _ in self.told_of if each.subject.architecture == self.seen[place])
            return next(numbers)
        return None

    def _place(self, architecture: str) -> int:
        if architecture not in self.seen:
            self.seen.append(architecture)
        return self.seen.index(architecture)


def run(config: SearchConfig, executor: EpochExecutor, pruner: Pruner | None = None) -> tuple[Run, Ending]:
    """Run the search, by a pruner of one's own or the configuration's."""
    if pruner is None:
        return fake_search.run(config, executor)
    with mock.patch("nas.search.make_pruner", return_value=pruner):
        return fake_search.run(config, executor)
