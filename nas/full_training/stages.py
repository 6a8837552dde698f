"""The stages of a full training: which sizes, how strong a regularisation, how large the batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from proxies.complexity import count_params
from proxies.data.passes import num_steps
from proxies.micro_batches import fit_micro_batches, largest_part
from proxies.seeds import derived_seed
from proxies.training.config import OptimizerName
from proxies.training.progressive import ProgressiveStage
from search_spaces import catalog
from search_spaces.network_settings import same_network

from ..regularization import CODE, PAPER, Regularization, growth_on, regularization_for
from .config import ProgressiveConfig, TrainingConfig

MIN_STEPS = 100
"""Of an epoch, where `batch: auto` doubles batches: fewer teach too little, however fast they are."""
_ADAPTIVE: tuple[OptimizerName, ...] = ("adamw", "nadamw", "lamb", "lion")


def stages_of(
    config: TrainingConfig,
    *,
    num_images: int,
    peak_memory: Callable[[ProgressiveStage], int],
    memory_bytes: float,
    world_size: int = 1,
) -> tuple[ProgressiveStage, ...]:
    """The schedule of a training.

    Args:
        config: What is asked for.
        num_images: Of the training set.
        peak_memory: Bytes that a step of a stage holds at its peak, in each process.
        memory_bytes: What there is for it.
        world_size: Processes that share each batch.

    Raises:
        ValueError: If a preset has no numbers for the network, a range is no range, or the batch cannot be shared.
    """
    batch_size = min(config.train.batch_size, num_images)
    if batch_size % world_size or batch_size < 2 * world_size:
        raise ValueError(
            f"train.batch_size must be a multiple of the {world_size} processes, 2 images for each, got {batch_size}"
        )
    epochs = num_epochs(config, num_images)
    ranges = _asked_ranges(config, num_images)
    stages = progressive_stages(ranges, config.progressive, epochs=epochs, batch_size=batch_size, seed=config.seed)
    sized = _Batches(config, num_images, peak_memory, memory_bytes, world_size)
    return tuple(sized.fitted(stage) for stage in stages)


def in_fitting_parts(
    stages: tuple[ProgressiveStage, ...],
    config: TrainingConfig,
    *,
    peak_memory: Callable[[ProgressiveStage], int],
    memory_bytes: float,
    world_size: int,
) -> tuple[ProgressiveStage, ...]:
    """The same stages for other processes or another device: their batches in parts that fit there.

    Raises:
        ValueError: If the processes cannot share the batches, or parts are too small.
    """
    for stage in stages:
        if stage.batch_size % world_size:
            raise ValueError(f"batches of {stage.batch_size} images cannot be shared by {world_size} processes")
    sized = _Batches(config, 0, peak_memory, memory_bytes, world_size)
    return tuple(replace(stage, micro_batches=sized.parts(stage)) for stage in stages)


def first_and_last_size(config: TrainingConfig, num_images: int) -> tuple[int, int]:
    """Pixels per side of the first and the last stage; where sizes are drawn, of those that may be drawn.

    Raises:
        ValueError: If the preset is published for other networks only.
    """
    return _asked_ranges(config, num_images).image_size


def ranges_of(config: TrainingConfig, num_images: int, epochs: int) -> Regularization:
    """First and last sizes and strengths that the preset has for the network.

    Raises:
        ValueError: If the preset is published for other networks only.
    """
    architecture, preset = config.parsed(), config.progressive.preset
    if preset == "auto":
        ranges = regularization_for(
            growth_on(count_params(architecture, num_classes=0), num_images, epochs),
            train_size=architecture.resolution,
            smallest_train_size=architecture.resolution,
            total_stride=architecture.total_stride,
        )
        # Images that may not even be shifted may not be turned or inverted either.
        return ranges if config.train.augment else replace(ranges, randaugment=(0.0, 0.0))
    published = {"paper": PAPER, "code": CODE}[preset]
    for name, ranges in published.items():
        if same_network(architecture, catalog.get(name).architecture):
            return ranges
    raise ValueError(f"progressive.preset {preset} is for {', '.join(published)}; for another network take auto")


def progressive_stages(
    ranges: Regularization, config: ProgressiveConfig, *, epochs: int, batch_size: int, seed: int
) -> tuple[ProgressiveStage, ...]:
    """Stages of equal length, every value linear over them (arXiv:2104.00298, Algorithm 1).

    The released code (preset ``code``) takes its first size one step above the first of the range, all else likewise.

    Raises:
        ValueError: If a value is out of its range.
    """
    num_stages = min(config.num_stages, epochs)
    ratios = [place / (num_stages - 1) if num_stages > 1 else 1.0 for place in range(num_stages)]
    size_ratios = [(place + 1) / num_stages for place in range(num_stages)] if config.preset == "code" else ratios
    strengths = ratios if config.adaptive else [1.0] * num_stages
    borders = [place * epochs // num_stages for place in range(num_stages + 1)]
    stages = tuple(
        ProgressiveStage(
            epochs=end - start,
            resolution=_size(ranges.image_size, size_ratio, truncate=config.preset == "code"),
            batch_size=batch_size,
            drop_rate=_between(ranges.dropout, strength),
            randaugment=_between(ranges.randaugment, strength),
            mixup=_between(ranges.mixup, strength),
            cutmix=_between(ranges.cutmix, strength),
            cutout=config.cutout,
        )
        for start, end, size_ratio, strength in zip(borders, borders[1:], size_ratios, strengths, strict=False)
    )
    if config.resize == "fixed":
        return tuple(_merged([replace(stage, resolution=stages[-1].resolution) for stage in stages]))
    return stages if config.resize == "progressive" else _shuffled(stages, epochs, seed)


def _shuffled(stages: tuple[ProgressiveStage, ...], epochs: int, seed: int) -> tuple[ProgressiveStage, ...]:
    """Each epoch draws a stage's size, with the regularisation of that stage."""
    rng = np.random.default_rng(derived_seed(seed, "sizes"))
    return tuple(_merged([replace(stages[place], epochs=1) for place in rng.integers(len(stages), size=epochs)]))


def _merged(stages: list[ProgressiveStage]) -> list[ProgressiveStage]:
    """Neighbours that differ in nothing but their epochs are one."""
    merged: list[ProgressiveStage] = []
    for stage in stages:
        if merged and replace(merged[-1], epochs=stage.epochs) == stage:
            merged[-1] = replace(stage, epochs=merged[-1].epochs + stage.epochs)
        else:
            merged.append(stage)
    return merged


@dataclass(frozen=True, slots=True)
class _Batches:
    """How many images a stage takes at once, and in how many parts."""

    config: TrainingConfig
    num_images: int
    peak_memory: Callable[[ProgressiveStage], int]
    memory_bytes: float
    world_size: int

    def fitted(self, stage: ProgressiveStage) -> ProgressiveStage:
        if self.config.batch == "auto":
            stage = self._largest(stage)
        return replace(stage, micro_batches=self.parts(stage), lr_scale=self._lr_scale(stage.batch_size))

    def _largest(self, stage: ProgressiveStage) -> ProgressiveStage:
        """Doubled as long as memory, the limit and the number of steps allow."""
        larger = replace(stage, batch_size=2 * stage.batch_size)
        most = min(self.config.max_batch_size, self.num_images // MIN_STEPS)
        if larger.batch_size > most or self.peak_memory(larger) > self.memory_bytes:
            return stage
        return self._largest(larger)

    def parts(self, stage: ProgressiveStage) -> int:
        """As asked for, or as few as memory allows, by prediction.

        Where even the most do not fit, the device has the last word.

        Raises:
            ValueError: If the parts asked for are too small.
        """
        own = stage.batch_size // self.world_size
        if self.config.micro_batches is not None:
            largest_part(own, self.config.micro_batches)
            return self.config.micro_batches
        parts = fit_micro_batches(
            lambda parts: self.peak_memory(replace(stage, micro_batches=parts)), self.memory_bytes, own
        )
        return parts or max(1, own // 2)

    def _lr_scale(self, batch_size: int) -> float:
        growth = batch_size / (self.config.lr_batch_size or self.config.train.batch_size)
        scaling = self.config.lr_scaling
        if scaling == "auto":
            scaling = "sqrt" if self.config.train.optimizer in _ADAPTIVE else "linear"
        return {"linear": growth, "sqrt": math.sqrt(growth), "none": 1.0}[scaling]


def num_epochs(config: TrainingConfig, num_images: int) -> int:
    if config.steps is None:
        return config.epochs
    return math.ceil(config.steps / num_steps(num_images, config.train.batch_size))


def _asked_ranges(config: TrainingConfig, num_images: int) -> Regularization:
    """The preset's, where nothing else is asked for."""
    asked = {
        name: getattr(config.progressive, name) for name in ("image_size", "randaugment", "mixup", "cutmix", "dropout")
        if getattr(config.progressive, name) is not None
    }  # fmt: skip
    return replace(ranges_of(config, num_images, num_epochs(config, num_images)), **asked)


def _between(ends: tuple[float, float], ratio: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * ratio


def _size(ends: tuple[int, int], ratio: float, *, truncate: bool) -> int:
    size = _between(ends, ratio)
    return int(size) if truncate else round(size)
