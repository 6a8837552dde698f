"""The one loop of a search: whatever is to be evaluated, candidates or further trainings, passes through here."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from .executors.interface import Died, Event, Executor, Progress, Started

DRAIN_S = 8.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """Something to evaluate."""

    number: int
    work: object
    timeout_s: float | None = None
    """Seconds from its start after which it is given up as hanging; None: never."""


class Source(Protocol):
    """Has tasks, and takes what becomes of them."""

    def next_task(self) -> Task | None:
        """The next task; None where there is nothing to do now (an event may change that)."""
        ...

    def handle(self, event: Event) -> None:
        """Take what happened to a task."""
        ...

    def abandon(self, task: int) -> None:
        """Take that a task was stopped without a verdict."""
        ...


def dispatch(
    source: Source,
    executor: Executor,
    *,
    stop_requested: Callable[[], bool],
    on_drain: Callable[[int], None],
    unwanted: Callable[[], Iterable[int]] = lambda: (),
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Keep the executor busy until the source has nothing more to do.

    Asked to stop, it interrupts what is running, gives it `DRAIN_S` seconds to keep what it has, and abandons the rest.

    Args:
        source: Of tasks.
        executor: Runs them.
        stop_requested: Whether somebody asked to stop.
        on_drain: Called with the number of running tasks when that happens.
        unwanted: Numbers of running tasks that nobody needs any more, each once; they are halted.
        clock: Monotonic seconds.

    Returns:
        Whether the source came to its end; False if a stop was requested.
    """
    flow = _Flow(source, executor, clock)
    try:
        while not stop_requested():
            flow.fill()
            if not flow.running:
                return True
            flow.pass_events()
            flow.halt(unwanted())
        on_drain(len(flow.running))
        flow.drain(clock() + DRAIN_S)
        return False
    finally:
        for number in flow.running:
            executor.stop(number)
            source.abandon(number)


class _Flow:
    """Tasks on their way from the source through the executor and back."""

    def __init__(self, source: Source, executor: Executor, clock: Callable[[], float]) -> None:
        self._source, self._executor, self._clock = source, executor, clock
        self.running: dict[int, Task] = {}
        self._deadlines: dict[int, float] = {}

    def fill(self) -> None:
        """Submit as much as the executor takes."""
        while len(self.running) < self._executor.capacity and (task := self._source.next_task()) is not None:
            self._executor.submit(task.number, task.work)
            self.running[task.number] = task

    def halt(self, numbers: Iterable[int]) -> None:
        """Let these end, unless they have."""
        for number in numbers:
            if number in self.running:
                self._executor.halt(number)

    def drain(self, end: float) -> None:
        """Let everything that runs end early."""
        for number in self.running:
            self._executor.interrupt(number)
        while self.running and self._clock() < end:
            self.pass_events()

    def pass_events(self) -> None:
        """Wait a moment for events, and hand them on."""
        for event in self._executor.events(_POLL_S):
            if event.task in self.running:
                self._take(event)
        for number in [number for number, end in self._deadlines.items() if self._clock() >= end]:
            self._executor.stop(number)
            self._take(Died(number, f"no verdict within {self.running[number].timeout_s:g} s (trial_timeout_s)"))

    def _take(self, event: Event) -> None:
        number = event.task
        if isinstance(event, Started) and (timeout_s := self.running[number].timeout_s) is not None:
            self._deadlines[number] = self._clock() + timeout_s
        self._source.handle(event)
        if not isinstance(event, Started | Progress):
            del self.running[number]
            self._deadlines.pop(number, None)
