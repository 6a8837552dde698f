"""The one loop of a search: whatever is to be evaluated, candidates or further trainings, passes through here."""

import time
from collections.abc import Callable
from typing import Protocol

from .executors.interface import Event, Executor, Progress

DRAIN_S = 5.0
_POLL_S = 0.5


class Source(Protocol):
    """Has tasks, and takes what becomes of them."""

    def next_task(self) -> tuple[int, object] | None:
        """A task's number and work; None where there is nothing to do now (an event may change that)."""
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
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Keep the executor busy until the source has nothing more to do.

    Asked to stop, it gives what is running `DRAIN_S` seconds to finish and abandons the rest.

    Args:
        source: Of tasks.
        executor: Runs them.
        stop_requested: Whether somebody asked to stop.
        on_drain: Called with the number of running tasks when that happens.
        clock: Monotonic seconds.

    Returns:
        Whether the source came to its end; False if a stop was requested.
    """
    running: set[int] = set()
    try:
        while not stop_requested():
            while len(running) < executor.capacity and (task := source.next_task()) is not None:
                executor.submit(*task)
                running.add(task[0])
            if not running:
                return True
            _pass_events(source, executor, running)
        on_drain(len(running))
        end = clock() + DRAIN_S
        while running and clock() < end:
            _pass_events(source, executor, running)
        return False
    finally:
        for number in running:
            executor.stop(number)
            source.abandon(number)


def _pass_events(source: Source, executor: Executor, running: set[int]) -> None:
    for event in executor.events(_POLL_S):
        if event.task in running:
            source.handle(event)
            if not isinstance(event, Progress):
                running.remove(event.task)
