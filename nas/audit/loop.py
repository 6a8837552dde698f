"""The trainings of an audit, as tasks of the loop that searches have, too."""

from collections.abc import Callable, Sequence

import optuna

from proxies.seeds import derived_seed

from ..config import SearchConfig
from ..evaluation_tasks import AccuracyRecord, Preparation, Retrain
from ..executors.interface import Died
from ..task_queue import PlannedTasks
from ..trial_checkpoints import KeptTraining, forget_trainings
from .config import AuditConfig, ProxyTraining
from .keeping import read_trainings, write_failed_training, write_training
from .results import Cell, rough_cost


class AuditLoop(PlannedTasks[Cell]):
    """Does the trainings that are planned and not there yet; what was done is in the study."""

    def __init__(
        self,
        study: optuna.Study,
        planned: Sequence[Cell],
        architectures: Sequence[str],
        *,
        config: AuditConfig,
        search: SearchConfig,
        preparation: Preparation,
        on_progress: Callable[["AuditLoop", Cell, str], None],
        log_death: Callable[[Cell, Died], None],
    ) -> None:
        """
        Args:
            study: Where results are written.
            planned: All trainings of the audit.
            architectures: The sample, text forms.
            config: Of the audit.
            search: Its search, as workers have it.
            preparation: Of the run.
            on_progress: Is told what happens to which training.
            log_death: Called with a training and its death.
        """
        known = read_trainings(study)
        missing = [cell for cell in planned if cell not in known]
        super().__init__(missing, max_retries=search.max_retries, log_death=log_death)
        self._study, self._architectures = study, architectures
        self._config, self._search, self._preparation = config, search, preparation
        self._on_progress = on_progress
        self._trainings = {training.key: training for training in (config.target, *config.audited)}
        for cell in planned:
            if cell in known:
                self.forget(cell)  # unless the driver died before it could

    def work(self, plan: Cell) -> tuple[Retrain, float | None]:
        training = self._trainings[plan.training]
        work = Retrain(
            architecture=self._architectures[plan.number],
            seed=self._seed(plan),
            preparation=self._preparation,
            fidelity=training.fidelity,
            train=training.train_config(self._search.train),
        )
        return work, self._timeout_s(training)

    def _timeout_s(self, training: ProxyTraining) -> float | None:
        """A search's limit is meant for its own short training; what is longer has longer."""
        limit, own = self._search.trial_timeout_s, self._config.search
        if limit is None:
            return None
        size = own.search_space().resolution
        return limit * max(1.0, rough_cost(training, size) / rough_cost(own.fidelity, size))

    def keep(self, plan: Cell, result: object) -> None:
        if not isinstance(result, AccuracyRecord):
            raise TypeError(f"an accuracy was expected, got {type(result).__name__}")
        write_training(self._study, plan, result)

    def give_up(self, plan: Cell, reason: str) -> None:
        write_failed_training(self._study, plan, reason)

    def progressed(self, plan: Cell, doing: str) -> None:
        self._on_progress(self, plan, doing)

    def forget(self, plan: Cell) -> None:
        architecture, fidelity = self._architectures[plan.number], self._trainings[plan.training].fidelity
        forget_trainings(self._search, KeptTraining(architecture, self._seed(plan), fidelity=fidelity))

    def _seed(self, cell: Cell) -> int:
        """No two trainings share one: equal initial weights would let a proxy look better than it is in a search."""
        return derived_seed(self._config.seed, self._architectures[cell.number], cell.training, cell.replicate)
