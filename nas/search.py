"""A whole search: open or resume a run directory, judge candidates, retrain the leaders, write what people read."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import optuna

from .config import SearchConfig
from .evaluation_tasks import Preparation
from .executors.choice import make_executor
from .executors.interface import Executor
from .finalists import FinalistLoop, by_belief, planned_replicates, planned_timings
from .interruption import stop_on_signals
from .leaderboard import leaderboard
from .observer import Observer
from .opening import Opening, opened
from .pricing import make_cost_model, require_tables
from .pruners.choice import make_pruner
from .pruning import may_go_on
from .recovery import recover
from .run import Run, read_run
from .run_directory import RunDirectory, write_whole
from .storage import open_study
from .study import Ending, StudyLoop
from .survey import SurveyedSource
from .trial_checkpoints import KeptTraining, forget_trainings, kept_training
from .trials import TrialRecord, read_earlier, read_records, read_tables_of
from .views import trials_frame, write_views
from .warm_start import earlier_runs, keep_earlier_results, read_earlier_results

if TYPE_CHECKING:
    import pandas

MakeExecutor = Callable[[SearchConfig], Executor]
Result = TypeVar("Result")

_REFRESH_S = 60.0


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
        start = opened(config, directory, study, lock, observer, make_executor=make_executor, stop_requested=signalled)
        with start as opening:
            ending = _Session(opening).run()
        run = read_run(directory.path)
        # Whoever interrupts a search wants it to end, and the report of a running one is a command away.
        write_views(run, report=ending is not Ending.INTERRUPTED)
        observer.ended(run.leaderboard(), ending)
    return run, ending


@dataclass(frozen=True, slots=True)
class _Session:
    """One start of a search, from preparation to the last retraining."""

    opening: Opening

    @property
    def config(self) -> SearchConfig:
        return self.opening.config

    @property
    def study(self) -> optuna.Study:
        return self.opening.study

    def run(self) -> Ending:
        opening, observer, space = self.opening, self.opening.observer, self.config.search_space()
        records = recover(self.study, space)
        self._forget_judged(record for record in records if not may_go_on(record, self.config))
        inspection, survey = opening.look_around()
        preparation = opening.prepare(inspection)
        loop = StudyLoop(
            self.study,
            config=self.config,
            space=space,
            preparation=preparation,
            costs=make_cost_model(self.config, preparation, read_tables_of(self.study)),
            records=records,
            earlier=earlier_runs(read_earlier(self.study)),
            observer=observer,
            pruner=make_pruner(self.config),
            on_table=partial(opening.keep_table, preparation),
            on_told=_Throttle(partial(refresh_views, opening.directory), _REFRESH_S),
            log_death=opening.log_death,
            forget=self._forget,
            stop_requested=opening.stop_requested,
        )
        observer.starting_from(read_earlier(self.study))
        observer.prepared(preparation, judged=loop.judged, trials=self.config.trials, workers=opening.executor.capacity)
        is_done = opening.dispatch(SurveyedSource(loop, survey) if survey else loop, unwanted=loop.unwanted)
        ending = loop.ending if is_done else Ending.INTERRUPTED
        if ending in (Ending.COMPLETE, Ending.EXHAUSTED):
            self._forget_judged(read_records(self.study))
        if ending is not Ending.INTERRUPTED and not self._judge_finalists(preparation):
            return Ending.INTERRUPTED
        return ending

    def _forget(self, *trainings: KeptTraining) -> None:
        """Remove what is kept of trainings that have their verdict."""
        forget_trainings(self.config, *trainings)

    def _forget_judged(self, records: Iterable[TrialRecord]) -> None:
        judged = (record.candidate for record in records if record.is_judged)
        self._forget(*(kept_training(self.config, each.architecture) for each in judged if each is not None))

    def _judge_finalists(self, preparation: Preparation) -> bool:
        run = read_run(self.opening.directory.path)
        # From first trainings alone, so that a newcomer to an extended search has its chance too.
        entries = by_belief(leaderboard(run.records, run.reward(), {}), run)
        loop = FinalistLoop(
            self.study,
            [*planned_timings(entries, self.config, preparation), *planned_replicates(entries, self.config)],
            config=self.config,
            preparation=preparation,
            observer=self.opening.observer,
            log_death=self.opening.log_death,
            forget=self._forget,
        )
        return self.opening.dispatch(loop)


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
