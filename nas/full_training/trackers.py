"""Where curves go while a training runs: TensorBoard always, Weights & Biases and MLflow where they are asked for."""

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxies.training.progressive import ProgressiveStage
from search_spaces.messages import first_line

from .directory import TrainingDirectory
from .record import EpochRecord, Event, State, TrainingRecord

STEP_INTERVAL_S = 5.0
"""Between points within an epoch: a point costs some milliseconds, and reading the loss waits for the device."""

_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""What is imported for each tracker, by the tracker's name."""


class Tracker(Protocol):
    """One place that curves go to; what it raises ends it, not the training.

    Everything stands at a global step: the number of the training's optimizer steps so far, over all its stages.
    """

    name: str

    def start(self, config: Mapping[str, object], *, step: int) -> None:
        """A training begins after this step, 0 for a new one; what was told of later steps is void."""
        ...

    def step(self, values: Mapping[str, float], *, step: int) -> None:
        """Values within an epoch."""
        ...

    def epoch(self, number: int, values: Mapping[str, float], *, step: int) -> None:
        """Values of an epoch, 1…, that ended with this step."""
        ...

    def event(self, text: str, *, step: int) -> None: ...

    def rewind(self, *, step: int) -> None:
        """The training goes on after this step once more; what was told of later ones is void."""
        ...

    def close(self, state: State) -> None: ...


class Trackers:
    """All trackers of a training as one; a tracker that fails says so once and is told nothing more."""

    def __init__(
        self,
        trackers: Sequence[Tracker] = (),
        *,
        complain: Callable[[str], None] = print,
        interval_s: float = STEP_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the trackers; nothing is written before `start`.

        Args:
            trackers: None of them where another process tracks.
            complain: Is given one line for a tracker that fails.
            interval_s: Seconds between points within an epoch.
            clock: Seconds.
        """
        self._trackers = list(trackers)
        self._complain = complain
        self._interval_s = interval_s
        self._clock = clock
        self._next_point_s = clock() + interval_s

    def start(self, config: Mapping[str, object], record: TrainingRecord, *, step: int = 0) -> None:
        """A training begins, or goes on after this global step."""
        circumstances = {
            "architecture": record.architecture,
            "images": record.source,
            "num_train": record.num_train,
            "judged_by": f"{record.num_judged} {record.judged_by} images",
            "mode": record.mode,
            "device": record.device,
            "world_size": record.world_size,
        }
        whole = {**config, "training": circumstances}
        self._tell(lambda tracker: tracker.start(whole, step=step))

    def is_due(self) -> bool:
        """Whether it is time for a point within the epoch; always no where nobody tracks."""
        return bool(self._trackers) and self._clock() >= self._next_point_s

    def step(self, step: int, *, loss: float, learning_rate: float, images_per_s: float) -> None:
        """Values since the point before; see `is_due`."""
        values = {"step/loss": loss, "step/learning_rate": learning_rate, "step/images_per_s": images_per_s}
        self._tell(lambda tracker: tracker.step(values, step=step))
        self._next_point_s = self._clock() + self._interval_s

    def epoch(self, record: EpochRecord, stage: ProgressiveStage, *, step: int) -> None:
        """An epoch ended with this step. Tell it before its checkpoint is kept: then a kill cannot lose it."""
        values = epoch_values(record) | stage_values(record.stage, stage)
        self._tell(lambda tracker: tracker.epoch(record.epoch, values, step=step))

    def event(self, event: Event, *, step: int) -> None:
        text = f"epoch {event.epoch}: {event.kind}: {event.text}"
        self._tell(lambda tracker: tracker.event(text, step=step))

    def rewind(self, *, step: int) -> None:
        """The training was rolled back and goes on after this step."""
        self._tell(lambda tracker: tracker.rewind(step=step))

    def close(self, state: State) -> None:
        """The training ends, for now or for good."""
        self._tell(lambda tracker: tracker.close(state))
        self._trackers.clear()

    def _tell(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                tell(tracker)
            except Exception as error:
                # A full disk, a network that is gone, a server that refuses: their packages raise whatever they like,
                # and none of it is worth a training.
                self._trackers.remove(tracker)
                self._complain(f"{tracker.name} tracks no more: {type(error).__name__}: {first_line(error)}")


def epoch_values(record: EpochRecord) -> dict[str, float]:
    """What is plotted of an epoch."""
    values = {
        "epoch/number": float(record.epoch),
        "epoch/train_loss": record.train_loss,
        "epoch/learning_rate": record.learning_rate,
        "epoch/accuracy": record.accuracy,
        "epoch/images_per_s": record.images_per_s,
    }
    averaged = {} if record.ema_accuracy is None else {"epoch/ema_accuracy": record.ema_accuracy}
    return values | averaged


def stage_values(number: int, stage: ProgressiveStage) -> dict[str, float]:
    """What is plotted of a stage of progressive learning."""
    names = ("resolution", "batch_size", "randaugment", "mixup", "cutmix", "cutout", "drop_rate")
    return {"schedule/stage": float(number)} | {f"schedule/{name}": float(getattr(stage, name)) for name in names}


def make_trackers(
    names: Sequence[str],
    directory: TrainingDirectory,
    *,
    run_name: str | None = None,
    rank: int = 0,
    complain: Callable[[str], None] = print,
) -> Trackers:
    """TensorBoard and what is named beside it; nothing in any process but the first.

    Args:
        names: Of "wandb", "mlflow"; "tensorboard" may be named, too.
        directory: Of the training; event files and what a resumed training needs to know lie there.
        run_name: For people; by default the directory's name.
        rank: Of this process.
        complain: Is given one line for a tracker that fails.

    Raises:
        ValueError: If a name is unknown, or its package is missing.
    """
    wanted = tuple(dict.fromkeys(("tensorboard", *names)))
    require_trackers(wanted)
    title = run_name or directory.path.absolute().name
    return Trackers([_make(name, directory, title) for name in wanted] if rank == 0 else [], complain=complain)


def require_trackers(names: Sequence[str]) -> None:
    """Make sure that these trackers can be had.

    Raises:
        ValueError: If a name is unknown, or its package is missing.
    """
    for name in names:
        if name not in _PACKAGES:
            raise ValueError(f"a tracker must be one of {', '.join(_PACKAGES)}, got {name!r}")
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            what = "tensorboard" if name == "tensorboard" else '"training-aware-nas[tracking]"'
            raise ValueError(f"the tracker {name} needs a package that is missing: pip install {what}")


def _make(name: str, directory: TrainingDirectory, title: str) -> Tracker:
    # Each of these packages takes a second or more to import, so only what is asked for is.
    from .remote_run import RemoteRun

    if name == "tensorboard":
        from .tensorboard_curves import TensorBoardCurves

        return TensorBoardCurves(directory.tensorboard_folder)
    if name == "wandb":
        from .wandb_service import WandbService

        return RemoteRun(WandbService(directory.path, title), directory.tracked_file("wandb"))
    from .mlflow_service import MlflowService

    return RemoteRun(MlflowService(directory.path, title), directory.tracked_file("mlflow"))
