"""The leaders are timed in isolation and trained again before one is named best.

The best of many single trainings is partly the luckiest, and a predicted step time is a prediction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from proxies.seeds import derived_seed

from .config import SearchConfig
from .evaluation_tasks import AccuracyRecord, Measure, Measurement, Preparation, Retrain
from .executors.interface import Died
from .leaderboard import Entry
from .observer import Observer
from .opinion import MIN_TRIALS, Opinion
from .pricing import require_usable
from .run import Run
from .task_queue import PlannedTasks
from .trial_checkpoints import KeptTraining, kept_training
from .trials import (
    known_replicates,
    read_measurements,
    write_failed_measurement,
    write_failed_replicate,
    write_measurement,
    write_replicate,
)


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
    return [
        Replicate(entry.number, entry.architecture, replicate)
        for entry in _finalists(entries, config)
        for replicate in range(1, config.finalist_seeds + 1)
    ]


@dataclass(frozen=True, slots=True)
class Timing:
    """The measurement of one judged architecture."""

    number: int
    """Of its trial."""
    architecture: str
    micro_batches: int


def planned_timings(entries: Sequence[Entry], config: SearchConfig, preparation: Preparation) -> list[Timing]:
    """What is timed for real: the leaders and the backbone, if the device whose S counts is here.

    Args:
        entries: Judged architectures, best first.
        config: How many leaders.
        preparation: Of the run.
    """
    if not preparation.is_target_here:
        return []
    return [Timing(entry.number, entry.architecture, entry.micro_batches) for entry in _finalists(entries, config)]


def by_belief(entries: Sequence[Entry], run: Run) -> list[Entry]:
    """Entries by the reward that a model of all trainings believes each to have, the best first.

    A single training is off by its luck; what its like have come to tells how much of it was luck.

    Args:
        entries: Of the run, best first.
        run: With one objective; too few judged candidates are left as they are, since they tell nothing of each other.
    """
    if run.config.objectives or len(entries) < MIN_TRIALS:
        return list(entries)
    believed = Opinion(run).rewards
    return sorted(entries, key=lambda entry: -believed[entry.number])


def _finalists(entries: Sequence[Entry], config: SearchConfig) -> list[Entry]:
    """The leaders, and the backbone, whose own luck matters as much."""
    leaders = list(entries[: config.finalists])
    return [*leaders, *(entry for entry in entries[config.finalists :] if entry.is_backbone)] if leaders else []


class FinalistLoop(PlannedTasks[Replicate | Timing]):
    """Times and trains what is planned and not there yet: a source of tasks for `dispatch`.

    What turns out infeasible, or dies too often, is recorded as such and left out: the leader then stands on fewer
    trainings, or on its predicted step time, as its entry says.
    """

    def __init__(
        self,
        study: optuna.Study,
        planned: Sequence[Replicate | Timing],
        *,
        config: SearchConfig,
        preparation: Preparation,
        observer: Observer,
        log_death: Callable[[int, Died], None] = lambda number, death: None,
        forget: Callable[[KeptTraining], None] = lambda training: None,
    ) -> None:
        """
        Args:
            study: Where results are written.
            planned: Timings stand first: they need the device alone.
            config: Of the search.
            preparation: Of this run.
            observer: Is told what happens.
            log_death: Called with a trial's number and the death of a task about it.
            forget: Called with a training that is dealt with.
        """
        trained, timed = known_replicates(study), read_measurements(study)
        missing = [
            plan
            for plan in planned
            if (plan.number not in timed if isinstance(plan, Timing) else (plan.number, plan.replicate) not in trained)
        ]
        super().__init__(
            missing, max_retries=config.max_retries, log_death=lambda plan, death: log_death(plan.number, death)
        )
        self._study, self._config, self._preparation = study, config, preparation
        self._observer, self._forget = observer, forget
        for plan in planned:
            if plan not in missing:
                self.forget(plan)  # unless its driver died before it could

    def work(self, plan: Replicate | Timing) -> tuple[Measure | Retrain, float | None]:
        preparation = self._preparation
        if isinstance(plan, Timing):
            parts = plan.micro_batches
            return Measure(architecture=plan.architecture, preparation=preparation, micro_batches=parts), None
        seed = derived_seed(self._config.seed, plan.architecture, plan.replicate)
        training = Retrain(architecture=plan.architecture, seed=seed, preparation=preparation)
        return training, self._config.trial_timeout_s

    def keep(self, plan: Replicate | Timing, result: object) -> None:
        match plan, result:
            case Timing(number=number), Measurement(step_time=measured):
                require_usable(measured)
                write_measurement(self._study, number, result)
            case Replicate(number=number, replicate=replicate), AccuracyRecord():
                write_replicate(self._study, number, replicate, result)
            case _:
                raise TypeError(f"a worker answered {plan} with {type(result).__name__}")

    def give_up(self, plan: Replicate | Timing, reason: str) -> None:
        if isinstance(plan, Timing):
            write_failed_measurement(self._study, plan.number, reason)
        else:
            write_failed_replicate(self._study, plan.number, plan.replicate, reason)

    def progressed(self, plan: Replicate | Timing, doing: str) -> None:
        self._observer.finalists(self.done, len(self))

    def forget(self, plan: Replicate | Timing) -> None:
        if isinstance(plan, Replicate):
            self._forget(kept_training(self._config, plan.architecture, plan.replicate))
