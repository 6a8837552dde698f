"""Searches that run a few tasks at a time, so that others have their turns between."""

from nas.dispatch import Source, Task
from nas.executors.interface import Event


class Allowance:
    """Lets a source hand out so many tasks."""

    def __init__(self, source: Source, tasks: int) -> None:
        self._source, self._left = source, tasks

    def next_task(self) -> Task | None:
        if self._left == 0:
            return None
        self._left -= 1
        return self._source.next_task()

    def handle(self, event: Event) -> None:
        self._source.handle(event)

    def abandon(self, task: int) -> None:
        self._source.abandon(task)
