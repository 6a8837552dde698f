"""The leaders are trained again before one is named best: the best of many single trainings is partly the luckiest."""

from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from .config import SearchConfig
from .evaluation_tasks import AccuracyRecord, Preparation, Retrain
from .executors.interface import Died, Done, Event, Progress, Refused, RefusedError
from .leaderboard import Entry
from .observer import Observer
from .seeds import derived_seed
from .trials import read_replicates, write_replicate


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

    A training that turns out infeasible, or dies too often, is left out; the leader then stands on fewer trainings.
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
        known = read_replicates(study)
        self._study, self._config, self._preparation, self._observer = study, config, preparation, observer
        self._missing = [plan for plan in planned if plan.replicate not in known.get(plan.number, {})]
        self._queue = list(range(len(self._missing)))
        self._deaths = [0] * len(self._missing)
        self._ended = 0

    def next_task(self) -> tuple[int, object] | None:
        if not self._queue:
            return None
        task = self._queue.pop(0)
        self._observer.retraining(self._ended, len(self._missing))
        plan = self._missing[task]
        seed = derived_seed(self._config.seed, plan.architecture, plan.replicate)
        return task, Retrain(architecture=plan.architecture, seed=seed, mode=self._preparation.mode)

    def handle(self, event: Event) -> None:
        """Take what became of a training.

        Raises:
            RefusedError: If a worker finds that the user has to act.
        """
        match event:
            case Progress():
                return
            case Refused(reason=reason):
                raise RefusedError(reason)
            case Died(task=task) if self._deaths[task] < self._config.max_retries:
                self._deaths[task] += 1
                self._queue.append(task)
                return
            case Done(task=task, result=AccuracyRecord() as accuracy):
                write_replicate(self._study, self._missing[task].number, self._missing[task].replicate, accuracy)
        self._ended += 1
        self._observer.retraining(self._ended, len(self._missing))

    def abandon(self, task: int) -> None:
        """Nothing is owed in the study: what is missing is planned again when the search goes on."""
