"""What the loop asks of an executor, and what an executor tells it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Report = Callable[[float, str], None]
"""Called by an evaluation with its progress, a fraction, and what it is doing."""


class RefusedError(ValueError):
    """A task asks for what cannot be had, such as a folder that is not there: the user has to act, not the search."""


class Evaluate(Protocol):
    """Runs in a worker, one task at a time; made once in each worker by the factory the executor was given."""

    def __call__(self, work: object, report: Report) -> object:
        """Do the work.

        Raises:
            InfeasibleError: If the candidate cannot be judged here.
            RefusedError: If what the user configured cannot be had. Any other error is a bug.
        """
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """A task goes on."""

    task: int
    fraction: float
    doing: str


@dataclass(frozen=True, slots=True)
class Done:
    """A task has its result."""

    task: int
    result: object


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A task's candidate cannot be judged here."""

    task: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A task asks for what cannot be had; the user has to change the configuration."""

    task: int
    reason: str


@dataclass(frozen=True, slots=True)
class Died:
    """A task ended without a verdict: its process was killed, or raised an error that is a bug."""

    task: int
    reason: str
    traceback: str = ""


Event = Progress | Done | Infeasible | Refused | Died


class Executor(Protocol):
    """Evaluates tasks; proposes and decides nothing.

    A trace: ``submit(7, work)``, ``events(1)`` → ``[Progress(7, 0.5, "epoch 4/8")]``, ``events(1)`` → ``[Done(7, …)]``.
    Each submitted task ends in exactly one of Done, Infeasible, Refused and Died, or, when stopped, in none.
    """

    @property
    def capacity(self) -> int:
        """Tasks that run at once."""
        ...

    def submit(self, task: int, work: object) -> None:
        """Start a task.

        Raises:
            RuntimeError: If `capacity` tasks are running already.
        """
        ...

    def events(self, timeout_s: float) -> list[Event]:
        """What happened since the last call; waits up to the timeout for the first event."""
        ...

    def stop(self, task: int) -> None:
        """Abandon a task; unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Abandon every task and leave no process behind."""
        ...
