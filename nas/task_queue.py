"""Tasks that are planned beforehand: each is done once, again where it died, and given up after too many deaths."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from proxies.infeasible import InfeasibleError

from .dispatch import Task
from .executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError

Plan = TypeVar("Plan")


class TaskQueue(Generic[Plan]):
    """A list of plans on their way through an executor; a task's number is its plan's place."""

    def __init__(self, plans: Sequence[Plan], *, max_retries: int) -> None:
        """
        Args:
            plans: What is to be done, first things first.
            max_retries: Further attempts of a task that died.
        """
        self._plans, self._max_retries = list(plans), max_retries
        self._waiting = list(range(len(self._plans)))
        self._deaths = [0] * len(self._plans)
        self._fractions = [0.0] * len(self._plans)

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans)

    def __getitem__(self, task: int) -> Plan:
        return self._plans[task]

    @property
    def done(self) -> float:
        """Tasks that are done, in fractions."""
        return sum(self._fractions)

    @property
    def fractions(self) -> Iterator[tuple[Plan, float]]:
        """Every plan, and how much of it is done."""
        return zip(self._plans, self._fractions, strict=True)

    def next_task(self) -> int | None:
        """The next task's number; None where all are running or dealt with."""
        return self._waiting.pop(0) if self._waiting else None

    def progressed(self, task: int, fraction: float) -> None:
        self._fractions[task] = fraction

    def finished(self, task: int) -> None:
        """It is dealt with, whatever became of it."""
        self._fractions[task] = 1.0

    def died(self, task: int) -> bool:
        """Line it up again, unless it has died too often: then it is given up, and the answer is True."""
        if self._deaths[task] >= self._max_retries:
            return True
        self._deaths[task] += 1
        self.again(task)
        return False

    def again(self, task: int) -> None:
        """Line it up again, as where it ended through no fault of its own."""
        self._fractions[task] = 0.0
        self._waiting.append(task)


class PlannedTasks(ABC, Generic[Plan]):
    """A source of tasks for `dispatch` that are planned beforehand; who derives from it says what they are.

    What turns out infeasible, or dies too often, is given up, and the rest goes on. Nothing is owed to tasks that were
    stopped: what is missing is planned again by the next start.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        max_retries: int,
        log_death: Callable[[Plan, Died], None] = lambda plan, death: None,
    ) -> None:
        """
        Args:
            plans: What is not there yet, first things first.
            max_retries: Further attempts of a task that died.
            log_death: Called with a plan and its death.
        """
        self._tasks = TaskQueue(plans, max_retries=max_retries)
        self._log_death = log_death

    @abstractmethod
    def work(self, plan: Plan) -> tuple[object, float | None]:
        """What a worker is asked, and the seconds after which it counts as hanging."""

    @abstractmethod
    def keep(self, plan: Plan, result: object) -> None:
        """Write what a worker answered.

        Raises:
            InfeasibleError: If it cannot be used.
            TypeError: If it is no answer to the plan.
        """

    @abstractmethod
    def give_up(self, plan: Plan, reason: str) -> None:
        """Write that nothing came of it, so that it is not tried at every start."""

    @abstractmethod
    def progressed(self, plan: Plan, doing: str) -> None:
        """Something happened to a task."""

    def forget(self, plan: Plan) -> None:
        """Remove what was kept in case that it would be interrupted."""

    @property
    def done(self) -> float:
        """Tasks that are done, in fractions."""
        return self._tasks.done

    @property
    def fractions(self) -> Iterator[tuple[Plan, float]]:
        """Every plan, and how much of it is done."""
        return self._tasks.fractions

    def __len__(self) -> int:
        return len(self._tasks)

    def next_task(self) -> Task | None:
        """The next plan that is to be done."""
        number = self._tasks.next_task()
        return None if number is None else Task(number, *self.work(self._tasks[number]))

    def handle(self, event: Event) -> None:
        """Take what became of a task.

        Raises:
            RefusedError: If a worker finds that the user has to act.
        """
        number, plan, doing = event.task, self._tasks[event.task], ""
        match event:
            case Progress(fraction=fraction, doing=doing):
                self._tasks.progressed(number, fraction)
            case Refused(reason=reason):
                raise RefusedError(reason)
            case Interrupted():
                self._tasks.again(number)
            case Died(reason=reason):
                self._log_death(plan, event)
                if self._tasks.died(number):
                    self._finish(number, reason)
            case Infeasible(reason=reason):
                self._finish(number, reason)
            case Done(result=result):
                self._take(number, result)
        self.progressed(plan, doing)

    def abandon(self, task: int) -> None:
        """Nothing is owed."""

    def _take(self, number: int, result: object) -> None:
        try:
            self.keep(self._tasks[number], result)
        except InfeasibleError as error:
            self._finish(number, error.reason)
        else:
            self._finish(number)

    def _finish(self, number: int, reason: str | None = None) -> None:
        plan = self._tasks[number]
        if reason is not None:
            self.give_up(plan, reason)
        self.forget(plan)
        self._tasks.finished(number)
