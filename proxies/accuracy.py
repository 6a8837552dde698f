"""The accuracy proxy: a candidate's accuracy after a short training on the user's images."""

import time
from collections.abc import Callable, Iterator
from copy import copy

import torch

from search_spaces.architecture import Architecture

from .accuracy_result import AccuracyResult, EpochProgress
from .data.passes import num_steps
from .device import Device
from .execution import PLAIN, ExecutionMode
from .fastest_mode import ModeChoice, find_fastest_mode
from .proxy_data import GIB, ProxyData, load_splits, make_proxy_data
from .short_training import begin_training, judge, plan_of
from .training.config import DataConfig, Fidelity, TrainConfig
from .training.loop import Training
from .training.progressive import PlannedEpoch, TrainingPlan
from .trial_checkpoint import InterruptedTrainingError, KeptTrial, TrainedEpoch, TrialCheckpoint, TrialKeeper

NOT_KEPT = TrialCheckpoint()


def train_and_score(
    architecture: Architecture,
    *,
    data: ProxyData,
    config: TrainConfig,
    fidelity: Fidelity,
    seed: int,
    mode: ExecutionMode,
    device: Device,
    micro_batches: int = 1,
    checkpoint: TrialCheckpoint = NOT_KEPT,
    on_epoch: Callable[[EpochProgress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> AccuracyResult:
    """Train a candidate from scratch and count what it gets right on the judging images.

    Args:
        architecture: The candidate.
        data: What it learns from and is judged by.
        config: How it is trained.
        fidelity: How long and at which size; its data share was applied when ``data`` was made.
        seed: Initial weights, order of the images, augmentation, dropout. On the CPU, with one
            thread, the same seed gives the same result; elsewhere kernels may add in another order each time.
        mode: How steps are executed.
        device: Where.
        micro_batches: Parts each batch is computed in, where a whole one does not fit into memory.
        checkpoint: Where the training is kept. What an earlier attempt has left there is taken up, to the result that
            one uninterrupted training would have had; the checkpoint stays behind.
        on_epoch: Called after every epoch, those of earlier attempts included; what it raises ends the training.
        clock: Seconds.

    Raises:
        InfeasibleError: If the loss is not finite or memory does not suffice.
        InterruptedTrainingError: If the checkpoint says that it shall end.
    """
    curve: list[EpochProgress] = []
    architecture = fidelity.stand_in(architecture)
    plan = plan_of(architecture, config, fidelity, num_images=len(data.train), micro_batches=micro_batches)
    circumstances = _circumstances(architecture, plan, data=data, config=config, seed=seed, mode=mode)
    keeper = TrialKeeper(checkpoint, circumstances, clock=clock)
    with device.out_of_memory_is_infeasible(), device.seeded(seed):
        epochs = _train(
            architecture, plan, data=data, config=config, seed=seed, mode=mode, device=device, keeper=keeper,
            clock=clock,
        )  # fmt: skip
        for progress in epochs:
            curve.append(progress)
            if on_epoch is not None:
                on_epoch(progress)
    num_trained = plan.num_steps * min(config.batch_size, len(data.train))
    return AccuracyResult(score=curve[-1].score, curve=tuple(curve), num_trained=num_trained)


class AccuracyProxy:
    """Judges any number of candidates on one device; the images are loaded and split once.

    Attributes:
        splits: The images; a search reads train and minival only.
        data: The same, as batches, reduced to the fidelity's share.
    """

    def __init__(
        self,
        *,
        data: DataConfig,
        train: TrainConfig,
        fidelity: Fidelity,
        device: Device,
        mode: ExecutionMode = PLAIN,
        seed: int = 0,
    ) -> None:
        """Load and split the images.

        Args:
            data: Which images.
            train: How candidates are trained.
            fidelity: How much training each gets.
            device: Where.
            mode: How steps are executed; :meth:`find_mode` finds the fastest.
            seed: Of every training that names no seed of its own.

        Raises:
            ValueError: In one line, if the images cannot be had or split.
        """
        self.train_config = train
        self.fidelity = fidelity
        self.device = device
        self.mode = mode
        self.seed = seed
        self.splits = load_splits(data)
        self._data_config = data
        self.data = self._make_data(train, fidelity)

    def _make_data(self, train: TrainConfig, fidelity: Fidelity) -> ProxyData:
        config = self._data_config
        return make_proxy_data(
            self.splits,
            config=train,
            fidelity=fidelity,
            device=self.device,
            data_seed=config.split_seed,
            memory_limit_bytes=config.memory_limit_gib * GIB,
            num_workers=config.num_workers,
        )

    @property
    def num_classes(self) -> int:
        return self.splits.num_classes

    @property
    def in_channels(self) -> int:
        return self.splits.in_channels

    @property
    def data_digest(self) -> str:
        """Hex digest of the images and labels that judge and train; a resumed search refuses another one."""
        return self.splits.digest()

    @property
    def planned_steps(self) -> int:
        """Training steps of one candidate."""
        return self.fidelity.epochs * num_steps(len(self.data.train), self.train_config.batch_size)

    def at(self, fidelity: Fidelity, train: TrainConfig) -> "AccuracyProxy":
        """One that judges by another training on the same images."""
        other = copy(self)
        other.train_config, other.fidelity = train, fidelity
        other.data = self._make_data(train, fidelity)
        return other

    def find_mode(self, architecture: Architecture, *, budget_s: float = 2.0) -> ModeChoice:
        """Measure once which execution mode trains this architecture fastest; :attr:`mode` is left as it is."""
        return find_fastest_mode(
            self.fidelity.stand_in(architecture),
            device=self.device,
            batch_size=min(self.train_config.batch_size, len(self.data.train)),
            resolution=self.fidelity.resolution or architecture.resolution,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            planned_steps=self.planned_steps,
            config=self.train_config,
            budget_s=budget_s,
        )

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int | None = None,
        micro_batches: int = 1,
        resolution: int | None = None,
        checkpoint: TrialCheckpoint = NOT_KEPT,
        on_epoch: Callable[[EpochProgress], None] | None = None,
    ) -> AccuracyResult:
        """Train a candidate and judge it, see :func:`train_and_score`.

        Args:
            architecture: The candidate.
            seed: By default the proxy's.
            micro_batches: Parts each batch is computed in.
            resolution: Pixels per side, in place of the fidelity's.
            checkpoint: Where the training is kept.
            on_epoch: Called after every epoch.
        """
        fidelity = self.fidelity if resolution is None else self.fidelity.model_copy(update={"resolution": resolution})
        return train_and_score(
            architecture,
            data=self.data,
            config=self.train_config,
            fidelity=fidelity,
            seed=self.seed if seed is None else seed,
            mode=self.mode,
            device=self.device,
            micro_batches=micro_batches,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )


def _circumstances(
    architecture: Architecture,
    plan: TrainingPlan,
    *,
    data: ProxyData,
    config: TrainConfig,
    seed: int,
    mode: ExecutionMode,
) -> dict[str, str]:
    """What two attempts must have in common, so that the second can go on where the first ended."""
    return {
        "architecture": str(architecture),
        "seed": str(seed),
        "plan": repr(plan),
        "train": config.model_dump_json(),
        "mode": str(mode),
        "number of images": f"{len(data.train)} and {len(data.minival)}",
        "classes and channels": f"{data.num_classes} and {data.in_channels}",
        "torch": str(torch.__version__),
    }


def _train(
    architecture: Architecture,
    plan: TrainingPlan,
    *,
    data: ProxyData,
    config: TrainConfig,
    seed: int,
    mode: ExecutionMode,
    device: Device,
    keeper: TrialKeeper,
    clock: Callable[[], float],
) -> Iterator[EpochProgress]:
    """Build the candidate and train it, from where it was kept; this frame alone holds it."""

    def begin() -> Training:
        return begin_training(
            architecture, plan, data=data, config=config, seed=seed, mode=mode, device=device, clock=clock
        )

    kept = keeper.newest()
    if kept.is_finished:
        yield from kept.curve
        return
    training = begin()
    if not keeper.load(training, kept):
        del training  # two do not fit where one does
        training, kept = begin(), KeptTrial()
    curve, unjudged = kept.curve, kept.unjudged
    del kept  # holds as much as the training
    yield from curve
    if unjudged is not None:
        yield _judge(training, list(plan.epochs())[len(curve)], unjudged, data=data, config=config, keeper=keeper)
    for done in training.epochs(data.train, after_step=lambda planned: keeper.after_step(training)):
        epoch = TrainedEpoch(train_loss=done.train_loss, train_seconds=done.train_seconds)
        yield _judge(training, done.planned, epoch, data=data, config=config, keeper=keeper)


def _judge(
    training: Training,
    planned: PlannedEpoch,
    epoch: TrainedEpoch,
    *,
    data: ProxyData,
    config: TrainConfig,
    keeper: TrialKeeper,
) -> EpochProgress:
    """What is known after an epoch; it is kept, too."""
    try:
        score = judge(training, planned, data=data, batch_size=config.batch_size, after_batch=keeper.after_judged_batch)
    except InterruptedTrainingError:
        keeper.keep_unjudged(training, epoch)
        raise
    progress = EpochProgress(
        epoch=planned.number + 1,
        num_epochs=training.plan.num_epochs,
        train_loss=epoch.train_loss,
        score=score,
        train_seconds=keeper.train_seconds + epoch.train_seconds,
    )
    keeper.after_epoch(training, progress)
    return progress
