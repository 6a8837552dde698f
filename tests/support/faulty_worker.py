"""Workers that fail in one way or another at one candidate, and write down what they were asked.

They import little, so that a test that has many of them killed waits for imports seldom.
"""

import os
import signal
import time
from collections import Counter
from pathlib import Path

from workloads import Simply

from nas.evaluation_tasks import AccuracyRecord, Calibrate, Evaluation, Inspect, Inspection, Judge, Preparation, Prepare
from nas.executors.interface import Evaluate, Report
from proxies.step_time_table import StepTimeTable

Answers = tuple[Inspection, Preparation, StepTimeTable]
"""What the machine is said to be."""


def make_faulty_worker(answers: Answers, log: Path, fault: str, victim: str, worker: int) -> Evaluate:
    """A worker that answers at once, but for its victim's architecture.

    Args:
        answers: To all but candidates.
        log: A line for each evaluation that is begun.
        fault: "kill", "exit", "wait", "hang", "stuck"; "" for none.
        victim: An architecture; "" for any.
        worker: Index.
    """
    inspection, preparation, table = answers

    def evaluate(work: object, report: Report) -> object:
        match work:
            case Inspect():
                return inspection
            case Prepare():
                return preparation
            case Calibrate():
                return table
            case Judge(architecture=architecture, seed=seed):
                _write(log, architecture)
                if victim in ("", architecture):
                    _fail(fault, log)
                accuracy = AccuracyRecord(
                    num_correct=500 + len(architecture), num_images=1000, seed=seed, train_seconds=0.1
                )
                return Evaluation(accuracy=accuracy, seconds=0.1)
        raise TypeError(work)

    return Simply(evaluate)


def evaluations(log: Path) -> Counter[str]:
    """How often each architecture was evaluated."""
    return Counter(line for line in log.read_text().splitlines() if " " not in line)


def readers(log: Path) -> list[int]:
    """Processes that workers have started to read images."""
    return [int(line.split()[1]) for line in log.read_text().splitlines() if line.startswith("reader ")]


def _write(log: Path, line: str) -> None:
    with log.open("a") as file:
        file.write(f"{line}\n")


def _fail(fault: str, log: Path) -> None:
    match fault:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(1)
        case "wait":
            time.sleep(5.0)
        case "hang" | "stuck":
            _read_images(log, is_stuck=fault == "stuck")


def _read_images(log: Path, *, is_stuck: bool) -> None:
    """Hang, with a reader that has nothing to do, or with one whose disk does not answer."""
    from torch.utils.data import DataLoader

    for _ in DataLoader(_Images(log, stuck_at=1 if is_stuck else -1), num_workers=1):  # type: ignore[arg-type]
        time.sleep(600)


class _Images:
    def __init__(self, log: Path, stuck_at: int) -> None:
        self._log, self._stuck_at = log, stuck_at

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        if index == 0:
            _write(self._log, f"reader {os.getpid()}")
        if index == self._stuck_at:
            time.sleep(600)
        return index
