"""The survivors of a fit are trained and timed as candidates of a search are: a source of tasks for its loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from proxies.seeds import derived_seed

from ..config import SearchConfig
from ..dispatch import Task
from ..evaluation_tasks import Evaluation, Judge, Preparation
from ..executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError
from ..pricing import problem_of
from ..task_queue import TaskQueue
from ..trial_checkpoints import forget_trainings, kept_training
from ..trials import read_fit_evaluations, write_failed_fit, write_fit_evaluation

OnProgress = Callable[[float, int, str], None]
"""Called with tasks done, in fractions, their number, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTraining:
    """One training of one survivor."""

    architecture: str
    train_size: int
    """Pixels per side of the short training."""
    replicate: int
    """0, 1 …; the first is timed, too."""


class FitLoop:
    """Does what is planned and not there yet; what was done is in the study, so that a fit goes on where it stopped."""

    def __init__(
        self,
        study: optuna.Study,
        planned: Sequence[FitTraining],
        *,
        config: SearchConfig,
        preparation: Preparation,
        on_progress: OnProgress,
        log_death: Callable[[int, Died], None] = lambda number, death: None,
    ) -> None:
        """
        Args:
            study: Where results are written.
            planned: Trainings of the survivors.
            config: Of the run.
            preparation: Of the run.
            on_progress: Is told how far it is.
            log_death: Called with a task's number and its death.
        """
        known = read_fit_evaluations(study)
        missing = [plan for plan in planned if (plan.architecture, plan.replicate) not in known]
        self._tasks = TaskQueue(missing, max_retries=config.max_retries)
        self._study, self._config, self._preparation = study, config, preparation
        self._on_progress, self._log_death = on_progress, log_death
        self._forget(*(plan for plan in planned if plan not in missing))  # unless the driver died before it could

    def next_task(self) -> Task | None:
        task = self._tasks.next_task()
        if task is None:
            return None
        plan = self._tasks[task]
        work = Judge(
            architecture=plan.architecture,
            seed=derived_seed(self._config.seed, plan.architecture, plan.replicate),
            preparation=self._preparation,
            measure=plan.replicate == 0 and self._preparation.is_target_here,
            train_size=plan.train_size,
        )
        return Task(task, work, self._config.trial_timeout_s)

    def handle(self, event: Event) -> None:
        """Take what became of a task.

        Raises:
            RefusedError: If a worker finds that the user has to act.
        """
        doing = ""
        match event:
            case Progress(task=task, fraction=fraction, doing=doing):
                self._tasks.progressed(task, fraction)
            case Refused(reason=reason):
                raise RefusedError(reason)
            case Interrupted(task=task):
                self._tasks.again(task)
            case Died(task=task, reason=reason):
                self._log_death(task, event)
                if self._tasks.died(task):
                    self._fail(task, reason)
            case Infeasible(task=task, reason=reason):
                self._fail(task, reason)
            case Done(task=task, result=Evaluation(step_time=measured)) if measured and problem_of(measured):
                self._fail(task, problem_of(measured) or "")
            case Done(task=task, result=Evaluation() as evaluation):
                plan = self._tasks[task]
                write_fit_evaluation(self._study, plan.architecture, plan.replicate, evaluation)
                self._finish(task)
            case Done(result=result):
                raise TypeError(f"an evaluation was expected, got {type(result).__name__}")
        self._on_progress(self._tasks.done, len(self._tasks), doing)

    def abandon(self, task: int) -> None:
        """Nothing is owed in the study: what is missing is planned again when the fit goes on."""

    def _fail(self, task: int, reason: str) -> None:
        plan = self._tasks[task]
        write_failed_fit(self._study, plan.architecture, plan.replicate, reason)
        self._finish(task)

    def _finish(self, task: int) -> None:
        self._forget(self._tasks[task])
        self._tasks.finished(task)

    def _forget(self, *plans: FitTraining) -> None:
        """Remove what is kept of trainings that are dealt with."""
        config = self._config
        kept = (kept_training(config, plan.architecture, plan.replicate, plan.train_size) for plan in plans)
        forget_trainings(config, *kept)
