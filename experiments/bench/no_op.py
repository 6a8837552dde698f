"""Candidates that are judged at once, in a worker process all the same: what is left of a search is its engine.

Workers import this module, so it imports little.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nas.evaluation_tasks import AccuracyRecord, DataFacts, Evaluation, Inspect, Inspection, Preparation, Prepare
from nas.executors.interface import Evaluate, Report
from proxies.device_identity import DeviceIdentity

_PATIENCE_S = 900.0
_POLL_S = 0.2

PREPARATION = Preparation(
    data=DataFacts(source="digits", num_classes=10, in_channels=1, num_train=1_000, num_minival=500, digest=""),
    mode="float32-channels_last",
    step_mode="float32-channels_last",
    mode_seconds={},
    hardware="none",
    device="none",
    step_threads=1,
    canary_s=0.1,
    target_kind="cpu",
    is_target_here=True,
    step_time_ref_s=0.1,
    params_ref=1_000_000,
    training_seconds=0.0,
)
_INSPECTION = Inspection(
    data=PREPARATION.data,
    hardware="none",
    device="none",
    target=DeviceIdentity(kind="cpu", name="none", torch="none", cuda=None, threads=1),
)


class NoOp(Evaluate):
    """Answers at once, in a process of its own, as a real evaluation would."""

    def __init__(self, worker: int, wait: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            worker: Its index.
            wait: Called before each candidate.
        """
        self._wait, self._calls = wait, 0

    def __call__(self, work: object, report: Report) -> object:
        match work:
            case Inspect():
                return _INSPECTION
            case Prepare():
                return PREPARATION
        self._wait()
        self._calls += 1
        num_correct = round(1_000 * fake_accuracy(self._calls))
        accuracy = AccuracyRecord(num_correct=num_correct, num_images=1_000, seed=0, train_seconds=0.0)
        return Evaluation(accuracy=accuracy, seconds=0.0)


def make_gathering_no_op(folder: Path, num_workers: int, worker: int) -> NoOp:
    """A no-op whose first candidates wait until so many workers are there, see `gather`."""
    return NoOp(worker, partial(gather, folder, num_workers))


def gather(folder: Path, num_workers: int) -> None:
    """Wait until so many tasks wait here at once: then every worker is up. Later tasks pass.

    Raises:
        TimeoutError: If some do not come.
    """
    everybody = folder / "everybody"
    if everybody.exists():
        return
    end = time.monotonic() + _PATIENCE_S
    (folder / f"task-{os.getpid()}-{time.monotonic_ns()}").touch()
    while not everybody.exists():
        if len(list(folder.glob("task-*"))) >= num_workers:
            everybody.touch()
        elif time.monotonic() >= end:
            raise TimeoutError(f"not all of {num_workers} workers came within {_PATIENCE_S:g} s")
        else:
            time.sleep(_POLL_S)


def fake_accuracy(number: int) -> float:
    """Spread over [0, 1) without a pattern a sampler could follow."""
    return number * 0.6180339887 % 1.0
