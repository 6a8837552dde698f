"""The accuracy proxy: a candidate's accuracy after a short training on the user's images."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from search_spaces.architecture import Architecture
from search_spaces.network import build

from .data.batches import Batches, Normalisation, make_batches, normalisation_of
from .data.images import LabelledImages
from .data.passes import num_steps
from .data.sources import load_images
from .data.split import Splits, split_images, stratified_share
from .device import Device
from .evaluation import Score, evaluate
from .execution import PLAIN, ExecutionMode
from .fastest_mode import ModeChoice, find_fastest_mode
from .training.config import DataConfig, Fidelity, TrainConfig
from .training.loop import Training
from .training.progressive import ProgressiveStage, TrainingPlan
from .training.schedule import learning_rate_of
from .training_step import make_training_step

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochProgress:
    """What is known after an epoch."""

    epoch: int
    """1…num_epochs."""
    num_epochs: int
    train_loss: float
    """Mean over the epoch's steps."""
    score: Score
    """On the judging images."""
    train_seconds: float
    """Spent in training steps since the start, evaluation left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyResult:
    """What a short training of one candidate showed."""

    score: Score
    """On the judging images, after the last epoch."""
    curve: tuple[EpochProgress, ...]
    """One entry per epoch."""
    num_trained: int
    """Images the network was trained on, repeats counted."""

    @property
    def num_correct(self) -> int:
        return self.score.num_correct

    @property
    def num_images(self) -> int:
        return self.score.num_images

    @property
    def accuracy(self) -> float:
        """A, a fraction in [0, 1]."""
        return self.score.accuracy

    @property
    def standard_error(self) -> float:
        """Of the accuracy, from the number of judging images; other seeds and other images vary it more."""
        return self.score.standard_error

    @property
    def train_seconds(self) -> float:
        """Spent in training steps; building and evaluation are left out."""
        return self.curve[-1].train_seconds

    @property
    def images_per_s(self) -> float:
        """Training throughput."""
        return self.num_trained / self.train_seconds

    @property
    def final_train_loss(self) -> float:
        return self.curve[-1].train_loss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyData:
    """The images of a search, ready to be fed to any candidate."""

    num_classes: int
    in_channels: int
    normalisation: Normalisation
    train: Batches
    minival: Batches


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
        on_epoch: Called after every epoch; what it raises ends the training.
        clock: Seconds.

    Raises:
        InfeasibleError: If the loss is not finite or memory does not suffice.
    """
    curve: list[EpochProgress] = []
    stage = ProgressiveStage(
        epochs=fidelity.epochs,
        resolution=fidelity.resolution or architecture.resolution,
        batch_size=config.batch_size,
        micro_batches=micro_batches,
        drop_rate=config.drop_rate,
    )
    plan = TrainingPlan(stages=(stage,), num_images=len(data.train))
    with device.out_of_memory_is_infeasible(), device.seeded(seed):
        epochs = _train(architecture, plan, data=data, config=config, seed=seed, mode=mode, device=device, clock=clock)
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
        self.data = make_proxy_data(
            self.splits,
            config=train,
            fidelity=fidelity,
            device=device,
            data_seed=data.split_seed,
            memory_limit_bytes=data.memory_limit_gib * GIB,
            num_workers=data.num_workers,
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

    def find_mode(self, architecture: Architecture, *, budget_s: float = 2.0) -> ModeChoice:
        """Measure once which execution mode trains this architecture fastest; :attr:`mode` is left as it is."""
        return find_fastest_mode(
            architecture,
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
        on_epoch: Callable[[EpochProgress], None] | None = None,
    ) -> AccuracyResult:
        """Train a candidate from scratch and judge it, see :func:`train_and_score`.

        Args:
            architecture: The candidate.
            seed: By default the proxy's.
            micro_batches: Parts each batch is computed in.
            resolution: Pixels per side, in place of the fidelity's.
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
            on_epoch=on_epoch,
        )


def load_splits(data: DataConfig) -> Splits:
    """Load a data set and split it as configured.

    Raises:
        ValueError: In one line, if the images cannot be had or split.
    """
    images = load_images(data.source, root=data.root, skip_corrupt=data.corrupt_images == "skip")
    return split_images(images, minival_share=data.minival_share, test_share=data.test_share, seed=data.split_seed)


def make_proxy_data(
    splits: Splits,
    *,
    config: TrainConfig,
    fidelity: Fidelity,
    device: Device,
    data_seed: int,
    memory_limit_bytes: float,
    num_workers: int,
) -> ProxyData:
    """Batches of train, reduced to the fidelity's share and augmented, and of minival, as it is."""
    train = stratified_share(splits.train, fidelity.data_share, num_classes=splits.num_classes, seed=data_seed)
    normalisation = normalisation_of(splits.train)

    def batches(images: LabelledImages, augment: bool) -> Batches:
        return make_batches(
            images,
            normalisation=normalisation,
            augment=augment,
            mirror=splits.mirror_keeps_label,
            device=device,
            memory_limit_bytes=memory_limit_bytes,
            num_workers=num_workers,
            smallest_crop=config.crop_area,
        )

    return ProxyData(
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
        normalisation=normalisation,
        train=batches(train, config.augment),
        minival=batches(splits.minival, False),
    )


def _train(
    architecture: Architecture,
    plan: TrainingPlan,
    *,
    data: ProxyData,
    config: TrainConfig,
    seed: int,
    mode: ExecutionMode,
    device: Device,
    clock: Callable[[], float],
) -> Iterator[EpochProgress]:
    """Build the candidate and train it; this frame alone holds it."""
    network = build(
        architecture,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )
    training = Training(
        step=make_training_step(network, config=config, mode=mode, device=device),
        plan=plan,
        learning_rate=learning_rate_of(config, plan.num_epochs),
        seed=seed,
        num_classes=data.num_classes,
        clock=clock,
    )
    train_seconds = 0.0
    for done in training.epochs(data.train):
        train_seconds += done.train_seconds
        yield EpochProgress(
            epoch=done.planned.number + 1,
            num_epochs=plan.num_epochs,
            train_loss=done.train_loss,
            score=evaluate(
                training.step.judged_network,
                data.minival,
                batch_size=config.batch_size,
                resolution=done.planned.stage.resolution,
                mode=mode,
                device=device,
            ),
            train_seconds=train_seconds,
        )
