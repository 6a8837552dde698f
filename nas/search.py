"""A whole search: open or resume a run directory, judge candidates, retrain the leaders, write what people read."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import optuna
from optuna.exceptions import StorageInternalError

from proxies.costs import CostModel
from proxies.step_time_table import StepTimeTable
from search_spaces.messages import first_line

from .config import SearchConfig
from .dispatch import Source, Task, dispatch
from .environment import describe_environment
from .evaluation_tasks import Inspect, Inspection, Preparation, Work
from .executors.choice import make_executor
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
from .finalists import FinalistLoop, by_belief, planned_replicates, planned_timings
from .interruption import stop_on_signals
from .leaderboard import leaderboard
from .observer import Observer
from .pricing import make_cost_model, preparation_work, read_tables, require_tables, with_reference_of
from .recovery import recover
from .run import Run, read_run
from .run_directory import RunDirectory, RunDirectoryError, write_whole
from .search_problem import require_reachable_sizes
from .storage import open_study
from .study import CALIBRATION, Ending, StudyLoop
from .survey import Survey, SurveyedSource
from .target_calibration import TargetCalibration
from .trial_checkpoints import KeptTraining, forget_trainings, kept_training
from .trials import (
    read_earlier,
    read_machines,
    read_preparation,
    read_tables_of,
    write_machines,
    write_preparation,
    write_tables,
)
from .views import trials_frame, write_views
from .warm_start import earlier_runs, keep_earlier_results, read_earlier_results

if TYPE_CHECKING:
    import pandas

MakeExecutor = Callable[[SearchConfig], Executor]
Result = TypeVar("Result")

_REFRESH_S = 60.0


class InterruptedSearchError(Exception):
    """A stop was requested before the search was prepared; nothing is lost."""


def search(config: SearchConfig, *, observer: Observer | None = None) -> "pandas.DataFrame":
    """Run a search, or resume it where its run directory has one; returns its trials, one row each.

    Workers are fresh interpreters, so a script that calls this needs ``if __name__ == "__main__":`` around it.

    Args:
        config: What to search, and where the run directory is.
        observer: Is told what happens; by default nobody.

    Raises:
        ValueError: In one line, if the run directory or the images cannot be used as configured.
    """
    run, _ = run_search(config, observer=observer or Observer())
    return trials_frame(run.records, run.reward(), run.measurements)


def run_search(
    config: SearchConfig,
    *,
    observer: Observer,
    make_executor: MakeExecutor = make_executor,
) -> tuple[Run, Ending]:
    """As `search`, with the executor injected; returns the run read back, and why it ended.

    Args:
        config: What to search, and where the run directory is.
        observer: Is told what happens.
        make_executor: Makes what evaluates the candidates.

    Raises:
        ValueError: In one line, if the run directory or the images cannot be used as configured.
        InterruptedSearchError: If a stop was requested before the first candidate.
    """
    directory = RunDirectory(config.out)
    if not directory.is_started:
        # A mistake in a file's name must leave no run directory behind.
        require_tables(config)
        read_earlier_results(config)
    directory.create()
    with directory.locked() as lock, stop_on_signals() as signalled:
        directory.require_free()
        study = open_study(directory, config, lock)
        keep_earlier_results(study, config)
        write_whole(directory.config_file, config.to_yaml())
        executor = make_executor(config)
        try:
            # Whoever has lost the directory to another host stops, and is told why by the first write.
            session = _Session(config, directory, study, executor, observer, lambda: signalled() or lock.is_lost())
            ending = session.run()
            lock.require_held()
        except StorageInternalError as error:
            # The error below it knows what the disk said; every verdict told before is kept.
            raise OSError(f"cannot write {directory.study_file}: {first_line(error.__cause__ or error)}") from error
        finally:
            executor.close()
        run = read_run(directory.path)
        # Whoever interrupts a search wants it to end, and the report of a running one is a command away.
        write_views(run, report=ending is not Ending.INTERRUPTED)
        observer.ended(run.leaderboard(), ending)
    return run, ending


@dataclass(frozen=True, slots=True)
class _Session:
    """One start of a search, from preparation to the last retraining."""

    config: SearchConfig
    directory: RunDirectory
    study: optuna.Study
    executor: Executor
    observer: Observer
    stop_requested: Callable[[], bool]

    def run(self) -> Ending:
        space = self.config.search_space()
        records = recover(self.study, space)
        judged = (record.candidate for record in records if record.is_judged)
        self._forget(*(kept_training(self.config, each.architecture) for each in judged if each is not None))
        inspection, survey = self._look_around()
        preparation = self._prepare(inspection)
        loop = StudyLoop(
            self.study,
            config=self.config,
            space=space,
            preparation=preparation,
            costs=make_cost_model(self.config, preparation, read_tables_of(self.study)),
            records=records,
            earlier=earlier_runs(read_earlier(self.study)),
            observer=self.observer,
            on_table=partial(self._keep_table, preparation),
            on_told=_Throttle(partial(refresh_views, self.directory), _REFRESH_S),
            log_death=self._log_death,
            forget=self._forget,
            stop_requested=self.stop_requested,
        )
        self.observer.starting_from(read_earlier(self.study))
        self.observer.prepared(
            preparation, judged=loop.judged, trials=self.config.trials, workers=self.executor.capacity
        )
        is_done = self._dispatch(SurveyedSource(loop, survey) if survey else loop)
        ending = loop.ending if is_done else Ending.INTERRUPTED
        if ending is not Ending.INTERRUPTED and not self._judge_finalists(preparation):
            return Ending.INTERRUPTED
        return ending

    def _look_around(self) -> tuple[Inspection, Survey | None]:
        """Look at the images, and on a cluster at every machine."""
        self.observer.preparing("reading the images")
        is_cluster = self.config.executor == "ray"
        inspection, place = self._one(Inspect(with_canary=is_cluster), Inspection)
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
            log_death=self._log_death,
        )
        self._all_of(survey)
        self.observer.surveyed(survey.machines)
        return inspection, survey

    def _prepare(self, inspection: Inspection) -> Preparation:
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
        preparation, _ = self._one(preparation_work(inspection, tables), Preparation)
        if tables:
            preparation = with_reference_of(self.config, preparation, tables)
            write_tables(self.study, tables)
        write_preparation(self.study, preparation)
        return preparation

    def _calibrate_targets(self) -> list[StepTimeTable]:
        calibration = TargetCalibration(
            self.config,
            on_progress=lambda target, doing: self.observer.preparing(f"{target}: {doing}"),
            log_death=self._log_death,
        )
        self._all_of(calibration)
        return calibration.tables

    def _keep_table(self, preparation: Preparation, table: StepTimeTable) -> CostModel:
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

    def _forget(self, *trainings: KeptTraining) -> None:
        """Remove what is kept of trainings that have their verdict."""
        forget_trainings(self.config, *trainings)

    def _log_death(self, task: int | str, death: Died) -> None:
        """Note the death of a trial's worker, or of another task's that has a name."""
        name = "calibration" if task == CALIBRATION else f"trial {task}" if isinstance(task, int) else task
        self.directory.log_error(name, death.reason, death.traceback)

    def _judge_finalists(self, preparation: Preparation) -> bool:
        run = read_run(self.directory.path)
        # From first trainings alone, so that a newcomer to an extended search has its chance too.
        entries = by_belief(leaderboard(run.records, run.reward(), {}), run)
        loop = FinalistLoop(
            self.study,
            [*planned_timings(entries, self.config, preparation), *planned_replicates(entries, self.config)],
            config=self.config,
            preparation=preparation,
            observer=self.observer,
            log_death=self._log_death,
            forget=self._forget,
        )
        return self._dispatch(loop)

    def _one(self, work: Work, kind: type[Result]) -> tuple[Result, str]:
        """Run a single task; its result, and the machine."""
        task = _OneTask(work, self.observer, self._log_death, self.config.max_retries)
        self._all_of(task)
        if not isinstance(task.result, kind):
            raise TypeError(f"{kind.__name__} was expected, got {type(task.result).__name__}")
        return task.result, task.where

    def _all_of(self, source: Source) -> None:
        """Come to the end of what prepares the search."""
        if not self._dispatch(source):
            raise InterruptedSearchError

    def _dispatch(self, source: Source) -> bool:
        return dispatch(source, self.executor, stop_requested=self.stop_requested, on_drain=self.observer.draining)


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


@dataclass(slots=True)
class _Throttle:
    """Calls at most once in so many seconds."""

    action: Callable[[], None]
    interval_s: float
    _last: float = field(default_factory=time.monotonic)

    def __call__(self) -> None:
        if time.monotonic() - self._last >= self.interval_s:
            self.action()
            self._last = time.monotonic()


def refresh_views(directory: RunDirectory) -> None:
    """Bring what people look at during a run up to date."""
    write_views(read_run(directory.path), report=False)
