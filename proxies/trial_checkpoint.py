"""A short training that is interrupted is kept on disk, and goes on in another process to the same result."""

import math
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from os import getpid
from pathlib import Path
from typing import Any

import psutil

from .accuracy_result import EpochProgress
from .device import is_out_of_memory
from .evaluation import Score
from .training.checkpoint import read_checkpoint, write_checkpoint
from .training.loop import Training

_ABANDONED_S = 3600.0
"""What another machine began to write so long ago it does not write any more; clocks of two machines differ."""
_PAUSES = 20
"""Seconds of training for a second of writing, at least, however slow the disk is."""


class InterruptedTrainingError(Exception):
    """A short training was asked to end early; what it had is kept, where there is a place for it."""


def _never() -> bool:
    return False


def _to_nobody(note: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCheckpoint:
    """Where a short training is kept, how often, and who may end it; by default nowhere, never and nobody."""

    path: Path | None = None
    """A file; the folder above its own must be there. None: nothing is kept."""
    every_s: float = math.inf
    """Seconds between two states that are kept, at least; a shorter training leaves no file unless it is ended."""
    images: str = ""
    """What names the images, such as their digest: a state that has learnt from others is left aside."""
    stop_requested: Callable[[], bool] = _never
    """Whether the training shall end; asked after every step, and every batch that is judged."""
    tell: Callable[[str], None] = _to_nobody
    """Is told in a line what was taken up, what was left aside and why, and that nothing can be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedEpoch:
    """An epoch whose steps are done."""

    train_loss: float
    train_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTrial:
    """What an earlier attempt has left; by default nothing."""

    curve: tuple[EpochProgress, ...] = ()
    unjudged: TrainedEpoch | None = None
    """The epoch after those of the curve, where it was left while it was judged."""
    training: dict[str, Any] | None = None
    """As :meth:`Training.state` gives it; None after the last epoch, too, since the curve is all that counts then."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to be trained or judged."""
        return bool(self.curve) and self.curve[-1].epoch == self.curve[-1].num_epochs


class TrialKeeper:
    """Keeps one short training; holds nothing of it but its curve."""

    def __init__(
        self,
        checkpoint: TrialCheckpoint,
        circumstances: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        Args:
            checkpoint: Where and how often.
            circumstances: Whatever must be equal for a training to go on as if nothing had happened.
            clock: Seconds.
        """
        self._checkpoint, self._clock = checkpoint, clock
        self._circumstances = {**circumstances, "images": checkpoint.images}
        self._writer = f"{socket.gethostname()}.{getpid()}.{secrets.token_hex(4)}"
        self._curve: tuple[EpochProgress, ...] = ()
        self._kept_s, self._pause_s = clock(), checkpoint.every_s
        self._is_kept = self._has_failed = False

    @property
    def train_seconds(self) -> float:
        """Of the epochs that are judged, in all attempts."""
        return self._curve[-1].train_seconds if self._curve else 0.0

    def newest(self) -> KeptTrial:
        """What an earlier attempt has left; nothing where that is damaged or of another training."""
        path = self._checkpoint.path
        if path is None:
            return KeptTrial()
        _remove_leftovers(path)
        try:
            if not path.exists():
                return KeptTrial()
            state = read_checkpoint(path)
            circumstances, kept = state["circumstances"], _parse(state)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return self._leave_aside("it is damaged")
        different = [name for name, value in self._circumstances.items() if circumstances.get(name) != value]
        return self._leave_aside(f"it is of other {', '.join(different)}") if different else kept

    def load(self, training: Training, kept: KeptTrial) -> bool:
        """Let a training that has just begun stand where it was kept, if it was.

        Returns:
            Whether it stands there; if not, it may do so with one part only, and is of no use.
        """
        if kept.training is None:
            return True
        try:
            training.load_state(kept.training)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            self._leave_aside("it does not fit the network")
            return False
        self._curve, self._is_kept = kept.curve, True
        self._checkpoint.tell(f"goes on after step {training.steps_done} of {training.plan.num_steps}")
        return True

    def after_step(self, training: Training) -> None:
        """Keep a training if it is time to.

        Raises:
            InterruptedTrainingError: If it shall end; it is kept.
        """
        stops = self._checkpoint.stop_requested()
        if stops or self._is_due():
            self._keep(training)
        if stops:
            raise InterruptedTrainingError(f"ended after step {training.steps_done} of {training.plan.num_steps}")

    def after_judged_batch(self) -> None:
        """Judging may take long, too.

        Raises:
            InterruptedTrainingError: If the training shall end; `keep_unjudged` is to follow.
        """
        if self._checkpoint.stop_requested():
            raise InterruptedTrainingError("ended while it was judged")

    def keep_unjudged(self, training: Training, epoch: TrainedEpoch) -> None:
        """Keep a training whose newest epoch is not judged yet."""
        self._keep(training, epoch)

    def after_epoch(self, training: Training, progress: EpochProgress) -> None:
        """As `after_step`, when an epoch has been judged.

        Of a finished training the curve is kept, a few kilobytes, for the case that its result is lost on its way; one
        so short that nothing was kept of it leaves nothing now.
        """
        self._curve = (*self._curve, progress)
        if progress.epoch < progress.num_epochs:
            self.after_step(training)
        elif self._is_kept or self._is_due():
            self._write(None, None)

    def _is_due(self) -> bool:
        return self._clock() - self._kept_s >= self._pause_s

    def _keep(self, training: Training, unjudged: TrainedEpoch | None = None) -> None:
        if self._checkpoint.path is None:
            return
        training.own_loss()  # waits for the device, which counts as training time
        start = self._clock()
        self._write(training.state(), unjudged)
        self._kept_s = self._clock()
        self._pause_s = max(self._checkpoint.every_s, _PAUSES * (self._kept_s - start))

    def _write(self, training: dict[str, Any] | None, unjudged: TrainedEpoch | None) -> None:
        """A training that cannot be kept goes on all the same."""
        if self._checkpoint.path is None:
            return
        state = {
            "circumstances": self._circumstances,
            "curve": [asdict(progress) for progress in self._curve],
            "unjudged": None if unjudged is None else asdict(unjudged),
            "training": training,
        }
        try:
            write_checkpoint(state, self._checkpoint.path, writer=self._writer)
            self._is_kept = True
        except OSError as error:
            if not self._has_failed:
                self._checkpoint.tell(f"goes on without a checkpoint: {error.strerror or error}")
            self._has_failed = True

    def _leave_aside(self, why: str) -> KeptTrial:
        self._checkpoint.tell(f"begins anew; a checkpoint is left aside: {why}")
        return KeptTrial()


def _parse(state: dict[str, Any]) -> KeptTrial:
    kept = KeptTrial(
        curve=tuple(EpochProgress(**{**epoch, "score": Score(**epoch["score"])}) for epoch in state["curve"]),
        unjudged=None if state["unjudged"] is None else TrainedEpoch(**state["unjudged"]),
        training=state["training"],
    )
    if kept.is_finished is not (kept.training is None):
        raise ValueError("a training is kept until it is finished")
    return kept


def _parts(path: Path) -> list[Path]:
    """What was begun and did not get its name yet."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))


def _remove_leftovers(path: Path) -> None:
    """Of writers that are dead; who cannot remove them may still read."""
    with suppress(OSError, ValueError):
        for part in _parts(path):
            if _is_abandoned(part):
                part.unlink(missing_ok=True)


def _is_abandoned(part: Path) -> bool:
    host, pid = part.name.removesuffix(".tmp").rsplit(".", 2)[0:2]
    if host.endswith(f".{socket.gethostname()}"):
        return not psutil.pid_exists(int(pid))
    return time.time() - part.stat().st_mtime > _ABANDONED_S
