"""Several kinds of machine whose step time counts: each is calibrated on one of its own, all at the same time."""

from collections.abc import Callable

from proxies.step_time_table import StepTimeTable

from .config import SearchConfig
from .dispatch import Task
from .evaluation_tasks import Calibrate, Inspect, Inspection, Preparation, Prepare
from .executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError
from .task_queue import TaskQueue


class TargetCalibration:
    """Looks at a machine of each kind, measures its reference and calibrates it: a source of tasks for `dispatch`."""

    def __init__(
        self,
        config: SearchConfig,
        *,
        on_progress: Callable[[str, str], None],
        log_death: Callable[[str, Died], None],
    ) -> None:
        """
        Args:
            config: With several `step_time.targets`.
            on_progress: Called with a target and what is being done there.
            log_death: Called with a target and the death of its worker.
        """
        self._tasks = TaskQueue(
            [target.resource for target in config.step_time.targets], max_retries=config.max_retries
        )
        self._on_progress, self._log_death = on_progress, log_death
        self._known: dict[str, Inspection | Preparation | StepTimeTable] = {}

    @property
    def tables(self) -> list[StepTimeTable]:
        """One for each target, in their order."""
        return [known for target in self._tasks if isinstance(known := self._known.get(target), StepTimeTable)]

    def next_task(self) -> Task | None:
        task = self._tasks.next_task()
        return None if task is None else Task(task, self._work(self._tasks[task]))

    def handle(self, event: Event) -> None:
        """Take what a target's machine shows.

        Raises:
            RefusedError: If one cannot be calibrated, with its name.
        """
        target = self._tasks[event.task]
        match event:
            case Progress(doing=doing):
                self._on_progress(target, doing)
            case Done(result=Inspection() | Preparation() as found):
                self._known[target] = found
                self._tasks.again(event.task)
            case Done(result=StepTimeTable() as table):
                self._known[target] = table
            case Done(result=result):
                raise TypeError(f"{type(result).__name__} is no answer to {self._work(target)}")
            case Refused(reason=reason) | Infeasible(reason=reason):
                raise RefusedError(f"{target} cannot be calibrated: {reason}")
            case Died(reason=reason):
                self._log_death(target, event)
                if self._tasks.died(event.task):
                    raise RefusedError(f"{target} cannot be calibrated: {reason}")
            case Interrupted():
                self._tasks.again(event.task)

    def abandon(self, task: int) -> None:
        """Nothing was promised."""

    def _work(self, target: str) -> Inspect | Prepare | Calibrate:
        """The next thing to be found out of a target."""
        match self._known.get(target):
            case Inspection() as inspection:
                return Prepare(inspection=inspection, target=target)
            case Preparation() as preparation:
                return Calibrate(preparation=preparation, target=target)
        return Inspect(target=target)
