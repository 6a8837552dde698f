"""The leaders are trained again before one is named best: the best of many single trainings is partly the luckiest."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from .config import SearchConfig
from .evaluation_tasks import AccuracyRecord, Preparation, Retrain
from .executors.interface import Died, Done, Event, Infeasible, Progress, Refused, RefusedError
from .leaderboard import Entry
from .observer import Observer
from .seeds import derived_seed
from .trials import known_replicates, write_failed_replicate, write_replicate


@dataclass(frozen=True, slots=True)
class Replicate:
    """One further training of a judged architecture."""

    number: int
    """Of its trial."""
    architecture: str
    replicate: int
    """1, 2 …; the trial's own training is 0."""


def planned_replicates(entries: Sequence[Entry], config: SearchConfig) -> list[Replicate]:
    """Further trainings of the leaders and of the backbone, whose own luck matters as much.

    Args:
        entries: Judged architectures, best first.
        config: How many leaders, and how many trainings each.
    """
    leaders = list(entries[: config.finalists])
    backbone = [entry for entry in entries[config.finalists :] if entry.is_backbone]
    return [
        Replicate(entry.number, entry.architecture, replicate)
        for entry in ([*leaders, *backbone] if leaders else [])
        for replicate in range(1, config.finalist_seeds + 1)
    ]


class FinalistLoop:
    """Trains what is planned and not there yet: a source of tasks for `dispatch`.

    A training that turns out infeasible, or dies too often, is recorded as such and left out of the mean; the leader
    then stands on fewer trainings, as its entry says.
    """

    def __init__(
        self,
        study: optuna.Study,
        planned: Sequence[Replicate],
        *,
        config: SearchConfig,
        preparation: Preparation,
        observer: Observer,
    ) -> None:
        known = known_replicates(study)
        self._study, self._config, self._preparation, self._observer = study, config, preparation, observer
        self._missing = [plan for plan in planned if (plan.number, plan.replicate) not in known]
        self._queue = list(range(len(self._missing)))
        self._deaths = [0] * len(self._missing)
        self._fractions = [0.0] * len(self._missing)

    def next_task(self) -> tuple[int, object] | None:
        if not self._queue:
            return None
        task = self._queue.pop(0)
        plan = self._missing[task]
        seed = derived_seed(self._config.seed, plan.architecture, plan.replicate)
        return task, Retrain(architecture=plan.architecture, seed=seed, mode=self._preparation.mode)

    def handle(self, event: Event) -> None:
        """Take what became of a training.

        Raises:
            RefusedError: If a worker finds that the user has to act.
        """
        match event:
            case Progress(task=task, fraction=fraction):
                self._fractions[task] = fraction
            case Refused(reason=reason):
                raise RefusedError(reason)
            case Died(task=task) if self._deaths[task] < self._config.max_retries:
                self._deaths[task] += 1
                self._queue.append(task)
                self._fractions[task] = 0.0
            case Died(task=task, reason=reason) | Infeasible(task=task, reason=reason):
                plan = self._missing[task]
                write_failed_replicate(self._study, plan.number, plan.replicate, reason)
                self._fractions[task] = 1.0
            case Done(task=task, result=AccuracyRecord() as accuracy):
                plan = self._missing[task]
                write_replicate(self._study, plan.number, plan.replicate, accuracy)
                self._fractions[task] = 1.0
            case Done(result=result):
                raise TypeError(f"an accuracy was expected, got {type(result).__name__}")
        self._observer.retraining(sum(self._fractions), len(self._missing))

    def abandon(self, task: int) -> None:
        """Nothing is owed in the study: what is missing is planned again when the search goes on."""
