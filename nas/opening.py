"""A run is opened: images and machines are looked at, and what holds for the whole run is found out once."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import optuna
from optuna.exceptions import StorageInternalError

from proxies.costs import CostModel
from proxies.step_time_table import StepTimeTable
from search_spaces.messages import first_line

from .config import SearchConfig
from .dispatch import Source, Task, dispatch
from .environment import describe_environment
from .evaluation_tasks import Inspect, Inspection, Preparation, Work
from .executors.interface import (
    Died,
    Done,
    Event,
    Executor,
    Infeasible,
    Interrupted,
    Progress,
    Refused,
    RefusedError,
    Started,
)
from .observer import Observer
from .pricing import make_cost_model, preparation_work, read_tables, with_reference_of
from .run_directory import RunDirectory, RunDirectoryError, write_whole
from .run_lock import RunLock
from .search_problem import require_reachable_sizes
from .study import CALIBRATION
from .survey import Survey
from .target_calibration import TargetCalibration
from .trials import read_machines, read_preparation, write_machines, write_preparation, write_tables

Result = TypeVar("Result")


class InterruptedSearchError(Exception):
    """A stop was requested before the search was prepared; nothing is lost."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One start on a run directory, up to what is trained there."""

    config: SearchConfig
    directory: RunDirectory
    study: optuna.Study
    executor: Executor
    observer: Observer
    stop_requested: Callable[[], bool]

    def look_around(self) -> tuple[Inspection, Survey | None]:
        """Look at the images, and on a cluster at every machine."""
        self.observer.preparing("reading the images")
        is_cluster = self.config.executor == "ray"
        inspection, place = self.one(Inspect(with_canary=is_cluster), Inspection)
        if not is_cluster:
            if read_machines(self.study):
                write_machines(self.study, [])  # an earlier start was on a cluster
            return inspection, None
        timing = self.config.step_time
        survey = Survey(
            (place, inspection),
            places=lambda: self.executor.places,
            may_differ=bool(timing.targets or timing.tables),
            max_retries=self.config.max_retries,
            on_found=partial(write_machines, self.study),
            on_progress=lambda place, doing: self.observer.preparing(f"{place}: {doing}"),
            log_death=self.log_death,
        )
        self._all_of(survey)
        self.observer.surveyed(survey.machines)
        return inspection, survey

    def prepare(self, inspection: Inspection) -> Preparation:
        """Find mode and reference, unless an earlier start has."""
        require_reachable_sizes(self.config, inspection.data)
        environment = describe_environment(inspection.device)
        write_whole(self.directory.environment_file, json.dumps(environment, indent=2))
        known = read_preparation(self.study)
        if known is not None:
            self._require_same_world(known, inspection)
            return known
        self.observer.preparing("measuring this machine")
        tables = read_tables(self.config, inspection)
        if len(self.config.step_time.targets) > 1:
            tables = self._calibrate_targets()
        preparation, _ = self.one(preparation_work(inspection, tables), Preparation)
        if tables:
            preparation = with_reference_of(self.config, preparation, tables)
            write_tables(self.study, tables)
        write_preparation(self.study, preparation)
        return preparation

    def _calibrate_targets(self) -> list[StepTimeTable]:
        calibration = TargetCalibration(
            self.config,
            on_progress=lambda target, doing: self.observer.preparing(f"{target}: {doing}"),
            log_death=self.log_death,
        )
        self._all_of(calibration)
        return calibration.tables

    def keep_table(self, preparation: Preparation, table: StepTimeTable) -> CostModel:
        """Keep the table that was calibrated, and make the costs of it."""
        write_tables(self.study, [table])
        costs = make_cost_model(self.config, preparation, [table])
        if costs is None:
            raise RuntimeError("a table prices candidates where step times are predicted")
        return costs

    def _require_same_world(self, known: Preparation, now: Inspection) -> None:
        if known.data != now.data:
            raise RunDirectoryError(
                f"the images of {now.data.source} have changed since {self.directory.path} was started"
            )
        if known.hardware != now.hardware:
            raise RunDirectoryError(
                f"{self.directory.path} was started on {known.hardware}, now on {now.hardware}: "
                "step times would not compare (take another --out)"
            )

    def log_death(self, task: int | str, death: Died) -> None:
        """Note the death of a trial's worker, or of another task's that has a name."""
        name = "calibration" if task == CALIBRATION else f"trial {task}" if isinstance(task, int) else task
        self.directory.log_error(name, death.reason, death.traceback)

    def one(self, work: Work, kind: type[Result]) -> tuple[Result, str]:
        """Run a single task; its result, and the machine."""
        task = _OneTask(work, self.observer, self.log_death, self.config.max_retries)
        self._all_of(task)
        if not isinstance(task.result, kind):
            raise TypeError(f"{kind.__name__} was expected, got {type(task.result).__name__}")
        return task.result, task.where

    def _all_of(self, source: Source) -> None:
        """Come to the end of what prepares the search."""
        if not self.dispatch(source):
            raise InterruptedSearchError

    def dispatch(self, source: Source, unwanted: Callable[[], Iterable[int]] = lambda: ()) -> bool:
        """As `dispatch.dispatch`, with what every source of this run shares."""
        return dispatch(
            source,
            self.executor,
            stop_requested=self.stop_requested,
            on_drain=self.observer.draining,
            unwanted=unwanted,
        )


@contextmanager
def opened(
    config: SearchConfig,
    directory: RunDirectory,
    study: optuna.Study,
    lock: RunLock,
    observer: Observer,
    *,
    make_executor: Callable[[SearchConfig], Executor],
    stop_requested: Callable[[], bool],
) -> Iterator[Opening]:
    """A start on a directory whose lock is held; its executor ends with it.

    Raises:
        OSError: If the study cannot be written.
        LostLockError: If another host took the directory over meanwhile.
    """
    executor = make_executor(config)
    try:
        # Whoever has lost the directory to another host stops, and is told why by the first write.
        yield Opening(config, directory, study, executor, observer, lambda: stop_requested() or lock.is_lost())
        lock.require_held()
    except StorageInternalError as error:
        # The error below it knows what the disk said; all that was told before is kept.
        raise OSError(f"cannot write {directory.study_file}: {first_line(error.__cause__ or error)}") from error
    finally:
        executor.close()


@dataclass(slots=True)
class _OneTask:
    """A source of one task, whose failure ends the search."""

    work: Work
    observer: Observer
    log_death: Callable[[str, Died], None]
    retries: int
    """Further attempts, should its worker die."""
    result: object = None
    where: str = ""
    """The machine."""
    is_given: bool = False

    def next_task(self) -> Task | None:
        if self.is_given:
            return None
        self.is_given = True
        return Task(0, self.work)

    def handle(self, event: Event) -> None:
        match event:
            case Started(where=where):
                self.where = where
            case Progress(doing=doing):
                self.observer.preparing(doing)
            case Done(result=result):
                self.result = result
            case Interrupted():
                self.is_given = False
            case Refused(reason=reason):
                raise RefusedError(reason)
            case Infeasible(reason=reason):
                raise RefusedError(f"the backbone cannot be trained here: {reason}")
            case Died(reason=reason, traceback=trace):
                self.log_death("preparation", event)
                if trace:  # a bug
                    raise RuntimeError(f"the search cannot be prepared: {reason}\n{trace}")
                if not self.retries:
                    raise RefusedError(f"the search cannot be prepared: {reason}")
                self.retries -= 1
                self.is_given = False

    def abandon(self, task: int) -> None:
        """Nothing was promised."""
