"""A real search that writes down when it timed and when it trained; run as a script, beside others.

What is recorded is the work itself, not the leases: every call of the stopwatch, and every training from its first
network to its last score.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any
from unittest import mock

from workloads import Simply

from nas.config import SearchConfig, read_config
from nas.evaluation_tasks import make_evaluator
from nas.executors.interface import Evaluate, Report
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.search import run_search


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that a worker did; the clock is the host's, and the same in all its processes."""

    what: str
    """ "timing" or "training"."""
    task: str
    """Name of the task it belonged to: Prepare, Calibrate, Judge, Measure, Retrain."""
    pid: int
    start_s: float
    end_s: float

    def overlaps(self, other: "Deed") -> bool:
        return self.start_s < other.end_s and other.start_s < self.end_s


def read_deeds(path: Path) -> list[Deed]:
    return [Deed(**json.loads(line)) for line in path.read_text().splitlines()]


class Recorder:
    """Collects the deeds of one worker; they are written when a task is done, so that no file disturbs a timing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._deeds: list[Deed] = []
        self._task = ""

    def of_worker(self, evaluate: Evaluate) -> Evaluate:
        def recorded(work: object, report: Report) -> object:
            self._task = type(work).__name__
            try:
                return evaluate(work, report)
            finally:
                self._write()

        return Simply(recorded)

    def of_work(self, what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(do)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            start = time.monotonic()
            try:
                return do(*args, **kwargs)
            finally:
                end = time.monotonic()
                self._deeds.append(Deed(what=what, task=self._task, pid=os.getpid(), start_s=start, end_s=end))

        return recorded

    def _write(self) -> None:
        with self._path.open("a") as file:
            file.writelines(json.dumps(asdict(deed)) + "\n" for deed in self._deeds)
        self._deeds.clear()


@contextmanager
def _no_lease(self: object) -> Iterator[None]:
    yield


def make_recorded_evaluator(config: SearchConfig, log: Path, leases: bool, worker: int) -> Evaluate:
    """Runs in the worker, a fresh interpreter, before its device is looked for."""
    from proxies import accuracy, device, fastest_mode
    from proxies.device_lease import DeviceLease

    recorder = Recorder(log)
    for module, name, what in (
        (device, "time_work", "timing"),
        (fastest_mode, "time_work", "timing"),
        (accuracy, "train_and_score", "training"),
    ):
        mock.patch.object(module, name, recorder.of_work(what, getattr(module, name))).start()
    if not leases:
        mock.patch.multiple(DeviceLease, shared=_no_lease, exclusive=_no_lease).start()
    return recorder.of_worker(make_evaluator(config, worker))


def main(recipe: str, log: str, leases: str) -> None:
    """``leases``: "leases", or "none" for a search that asks nobody before it measures or trains."""
    config = read_config(Path(recipe))
    factory = partial(make_recorded_evaluator, config, Path(log), leases == "leases")
    run_search(
        config, observer=Observer(), make_executor=lambda config: LocalExecutor(factory, workers=config.workers or 1)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
