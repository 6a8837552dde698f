"""A full training of seconds, which may be killed at a counted moment, in a process of its own."""

import base64
import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nas.full_training import keeping, run, session
from nas.full_training.config import TrainingConfig, make_training_config
from nas.full_training.directory import TrainingDirectory
from nas.full_training.observer import TrainingObserver
from nas.full_training.record import TrainingRecord, read_record
from proxies.training import checkpoint
from proxies.training.progressive import PlannedEpoch
from search_spaces.tensor_files import read_tensors

ARCHITECTURE = "stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r2_k3_s2_e4_c24_se0.25-head32@24"
NUM_IMAGES = 180
"""Of the training set: a tenth of the digits."""
STEPS_PER_EPOCH = 5
PROGRESSIVE: dict[str, object] = {"image_size": [16, 24], "num_stages": 3}
DATA: dict[str, object] = {"source": "digits", "test_share": 0.8}
TRAIN: dict[str, object] = {"batch_size": 36, "lr": 0.01, "ema_decay": 0.99}
EVERYTHING_ON: dict[str, object] = {
    "progressive.randaugment": [5.0, 15.0],
    "progressive.mixup": [0.2, 0.4],
    "progressive.cutmix": [0.0, 0.5],
    "progressive.dropout": [0.1, 0.3],
    "progressive.cutout": 0.3,
    "train.drop_path_rate": 0.2,
    "train.clip_grad_norm": 5.0,
}
"""All that draws random numbers."""


def tiny_config(out: Path, overrides: dict[str, object] | None = None) -> TrainingConfig:
    """Six epochs of five steps in three stages; reproducible on one thread."""
    values: dict[str, object] = {
        "architecture": ARCHITECTURE, "data": dict(DATA), "train": dict(TRAIN), "progressive": dict(PROGRESSIVE),
        "epochs": 6, "mode": "float32-contiguous", "deterministic": True, "device": "cpu", "memory_gib": 1.0,
        "out": out,
    }  # fmt: skip
    return make_training_config(values, overrides or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """When a process kills itself, with a signal that cannot be handled."""

    step: int | None = None
    """After this step of the training, before anything is written about it."""
    file: str | None = None
    """When this checkpoint is written…"""
    count: int = 1
    """…for the so-manieth time…"""
    moment: Literal["before", "during", "after"] = "before"
    number: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"step {self.step}" if self.file is None else f"{self.moment} {self.file} {self.count}"


class _Watch(TrainingObserver):
    def __init__(self, death: Death) -> None:
        self._death = death

    def stepped(self, planned: PlannedEpoch, *, steps_done: int) -> None:
        if steps_done == self._death.step:
            os.kill(os.getpid(), self._death.number)


class Nursery:
    """A process that has imported everything and trained nothing: its children start at once, and stand alone."""

    def __init__(self) -> None:
        # The test's own process must not fork: threads of other tests may run in it.
        root = str(Path(__file__).parents[2])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", "")))},
        )

    def run(self, config: TrainingConfig, death: Death | None = None) -> int:
        """Train in a process of its own.

        Returns:
            Its exit code, 0 where it came to its end; or minus the signal that killed it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(base64.b64encode(pickle.dumps((config, death))) + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    importlib.import_module("sklearn.datasets")
    importlib.import_module("torch.utils.tensorboard")
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os.close(sys.stdin.fileno())
            _train(*pickle.loads(base64.b64decode(line)))
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _train(config: TrainingConfig, death: Death | None) -> None:
    if death is not None and death.file is not None:
        _die_writing(death)
    try:
        run.train(config, None if death is None else _Watch(death))
    except session.StoppedTrainingError:
        raise SystemExit(130) from None


def _die_writing(death: Death) -> None:
    write, count = keeping.write_checkpoint, 0

    def deadly(state: Any, path: Path) -> None:
        nonlocal count
        count += path.name == death.file
        is_now = path.name == death.file and count == death.count
        if is_now and death.moment == "before":
            os.kill(os.getpid(), death.number)
        if is_now and death.moment == "during":
            checkpoint._save = _half(checkpoint._save, death)
        write(state, path)
        if is_now:
            os.kill(os.getpid(), death.number)

    keeping.write_checkpoint = deadly


def _half(save: Callable[..., None], death: Death) -> Callable[..., None]:
    def half(state: Any, file: Any) -> None:
        save(state, file)
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), death.number)

    return half


def state_of(out: Path) -> dict[str, Any]:
    """All that a finished training leaves and that time is not in."""
    directory = TrainingDirectory(out)
    record = read_record(directory.record_file)
    last = checkpoint.read_checkpoint(directory.last_checkpoint)
    training = {name: value for name, value in last["training"].items() if name != "epoch_seconds"}
    best = checkpoint.read_checkpoint(directory.best_checkpoint)
    weights = read_tensors(directory.weights_file)
    return {"training": training, "best": best, "weights": weights, "curves": curves_of(record), "state": record.state}


def curves_of(record: TrainingRecord) -> list[tuple[object, ...]]:
    return [
        (entry.epoch, entry.train_loss, entry.learning_rate, entry.num_correct, entry.ema_num_correct)
        for entry in record.epochs
    ]


if __name__ == "__main__":
    _serve()
