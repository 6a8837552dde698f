"""What the loop asks of an executor, and what an executor tells it."""

from dataclasses import dataclass
from typing import Protocol


class Report(Protocol):
    """Called by an evaluation with its progress."""

    def __call__(self, fraction: float, doing: str, found: object = None) -> None:
        """
        Args:
            fraction: Of the task, done.
            doing: In a few words, for people.
            found: What is known already, for who might end the task early.
        """


class RefusedError(ValueError):
    """A task asks for what cannot be had, such as a folder that is not there: the user has to act, not the search."""


class InterruptedTaskError(Exception):
    """A task was asked to end early, and has kept what it had done."""


class Evaluate(Protocol):
    """Runs in a worker, one task at a time; made once in each worker by the factory the executor was given."""

    @property
    def is_spent(self) -> bool:
        """Whether the worker's process should end after this task, because nobody knows what the task left in it."""
        return False

    def __call__(self, work: object, report: Report) -> object:
        """Do the work.

        Raises:
            InfeasibleError: If the candidate cannot be judged here.
            RefusedError: If what the user configured cannot be had.
            InterruptedTaskError: After an interruption. Any other error is a bug.
        """
        ...

    def interrupt(self) -> None:
        """Ask the task that runs to keep what it can and end soon.

        A signal handler or another thread calls it, so it only takes note.
        """
        return

    def expect(self) -> None:
        """A task is about to come: what was asked of the one before is over."""
        return


@dataclass(frozen=True, slots=True)
class Started:
    """A task has its worker; its first event."""

    task: int
    where: str
    """The machine."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A task goes on."""

    task: int
    fraction: float
    doing: str
    found: object = None
    """What is known already, such as an `EpochReport`."""


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


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A task ended early through no fault of its own; a further attempt goes on where it can."""

    task: int
    lost_node: bool = False
    """Whether its machine was lost; else somebody asked it to end."""


Event = Started | Progress | Done | Infeasible | Refused | Died | Interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a task asks of the machine it runs on; one machine alone meets every demand."""

    place: str | None = None
    """One of `Executor.places`; None: any."""
    resource: str | None = None
    """What marks the machines that will do; None: all."""
    alone: bool = False
    """Whether nothing else may run on the device meanwhile."""


class Executor(Protocol):
    """Evaluates tasks; proposes and decides nothing.

    A trace: ``submit(7, work)``, ``events(1)`` → ``[Started(7, "node3"), Progress(7, 0.5, "epoch 4/8")]``,
    ``events(1)`` → ``[Done(7, …)]``. Each submitted task ends in exactly one of Done, Infeasible, Refused, Died and
    Interrupted, or, when stopped, in none. What a task reports before it has started says what it waits for.
    """

    @property
    def capacity(self) -> int:
        """Tasks that run at once; a cluster may grow and shrink."""
        ...

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the machines where tasks run now."""
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

    def interrupt(self, task: int) -> None:
        """Ask a task to keep what it can and end, which takes it a moment; unknown ones are ignored."""
        ...

    def halt(self, task: int) -> None:
        """As `interrupt`, of a task that nobody needs any more: its worker is soon free for the next one.

        It ends as Interrupted, unless it came to another end before it took note.
        """
        ...

    def stop(self, task: int) -> None:
        """Abandon a task at once; unknown ones are ignored."""
        ...

    def close(self) -> None:
        """Abandon every task and leave no process behind."""
        ...
