"""The survivors of a fit are trained and timed as candidates of a search are: a source of tasks for its loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna

from proxies.seeds import derived_seed

from ..config import SearchConfig
from ..evaluation_tasks import Evaluation, Judge, Preparation
from ..executors.interface import Died
from ..pricing import require_usable
from ..task_queue import PlannedTasks
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


class FitLoop(PlannedTasks[FitTraining]):
    """Does what is planned and not there yet; what was done is in the study, so that a fit goes on where it stopped."""

    def __init__(
        self,
        study: optuna.Study,
        planned: Sequence[FitTraining],
        *,
        config: SearchConfig,
        preparation: Preparation,
        on_progress: OnProgress,
        log_death: Callable[[FitTraining, Died], None] = lambda plan, death: None,
    ) -> None:
        """
        Args:
            study: Where results are written.
            planned: Trainings of the survivors.
            config: Of the run.
            preparation: Of the run.
            on_progress: Is told how far it is.
            log_death: Called with a training and its death.
        """
        known = read_fit_evaluations(study)
        missing = [plan for plan in planned if (plan.architecture, plan.replicate) not in known]
        super().__init__(missing, max_retries=config.max_retries, log_death=log_death)
        self._study, self._config, self._preparation = study, config, preparation
        self._on_progress = on_progress
        for plan in planned:
            if plan not in missing:
                self.forget(plan)  # unless the driver died before it could

    def work(self, plan: FitTraining) -> tuple[Judge, float | None]:
        work = Judge(
            architecture=plan.architecture,
            seed=derived_seed(self._config.seed, plan.architecture, plan.replicate),
            preparation=self._preparation,
            measure=plan.replicate == 0 and self._preparation.is_target_here,
            train_size=plan.train_size,
        )
        return work, self._config.trial_timeout_s

    def keep(self, plan: FitTraining, result: object) -> None:
        if not isinstance(result, Evaluation):
            raise TypeError(f"an evaluation was expected, got {type(result).__name__}")
        require_usable(result.step_time)
        write_fit_evaluation(self._study, plan.architecture, plan.replicate, result)

    def give_up(self, plan: FitTraining, reason: str) -> None:
        write_failed_fit(self._study, plan.architecture, plan.replicate, reason)

    def progressed(self, plan: FitTraining, doing: str) -> None:
        self._on_progress(self.done, len(self), doing)

    def forget(self, plan: FitTraining) -> None:
        kept = kept_training(self._config, plan.architecture, plan.replicate, plan.train_size)
        forget_trainings(self._config, kept)
