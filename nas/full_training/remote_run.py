"""A run at a tracking service, which takes back nothing that it was told."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from ..run_directory import write_whole
from .record import State


class Service(Protocol):
    """Keeps a training's values; those of one step may be told in parts, and steps never decrease."""

    name: str

    def open(self, run_id: str | None, config: Mapping[str, object]) -> str:
        """Begin a run, or go on with this one; returns its id."""
        ...

    def log(self, values: Mapping[str, float], *, step: int) -> None: ...

    def note(self, text: str, *, step: int) -> None: ...

    def close(self, state: State) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a service knows already."""

    run_id: str | None = None
    step: int = 0
    """The last one with values within an epoch."""
    epoch: int = 0
    epoch_step: int = 0
    """With which that epoch ended."""

    @property
    def last_step(self) -> int:
        return max(self.step, self.epoch_step)


class RemoteRun:
    """Tells a service each step and each epoch once.

    A training that is killed, or rolled back, does some steps again. What was told of them stays: services cannot
    forget, and a point that is told twice is drawn twice. So curves go on where the second time passes the first.
    """

    def __init__(self, service: Service, file: Path) -> None:
        """Take a service.

        Args:
            service: Where the curves go.
            file: Keeps the run's id and what was told, for when the training is resumed.
        """
        self.name = service.name
        self._service = service
        self._file = file
        self._told = Told()

    def start(self, config: Mapping[str, object], *, step: int) -> None:
        known = _read(self._file)
        run_id = self._service.open(known.run_id, config)
        # Another id: the service did not find the run, and the new one knows nothing.
        self._keep(known if run_id == known.run_id else Told(run_id=run_id))

    def step(self, values: Mapping[str, float], *, step: int) -> None:
        if step > self._told.last_step:
            self._service.log(values, step=step)
            self._keep(replace(self._told, step=step))

    def epoch(self, number: int, values: Mapping[str, float], *, step: int) -> None:
        if number > self._told.epoch:
            self._service.log(values, step=max(step, self._told.last_step))
            self._keep(replace(self._told, epoch=number, epoch_step=step))

    def event(self, text: str, *, step: int) -> None:
        self._service.note(text, step=max(step, self._told.last_step))

    def rewind(self, *, step: int) -> None:
        """Nothing to do: see the class."""

    def close(self, state: State) -> None:
        self._service.close(state)

    def _keep(self, told: Told) -> None:
        self._told = told
        write_whole(self._file, json.dumps(asdict(told)))


def _read(path: Path) -> Told:
    """What was kept; a file that is missing or damaged means a new run."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Told(**kept)
    except (OSError, ValueError, TypeError):
        return Told()
