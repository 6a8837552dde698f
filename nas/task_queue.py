"""Tasks that are planned beforehand: each is done once, again where it died, and given up after too many deaths."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

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
