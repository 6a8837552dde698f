"""The learning rate of a training: linear warm-up, then a cosine, exponential steps, or none. Needs no torch."""

import math
from dataclasses import dataclass

from .config import LrSchedule, TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRate:
    """Learning rate as a pure function of the epochs done, so that a training can go on from any step.

    Epochs, not steps: their number changes with the batch size, and that may change from stage to stage.

    >>> rate = LearningRate(peak=1.0, num_epochs=3, warmup_epochs=1)
    >>> [round(rate.at(step / 2, (step + 1) / 2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]

    Raises:
        ValueError: If the warm-up is longer than the training.
    """

    peak: float
    num_epochs: int
    warmup_epochs: float = 0.0
    shape: LrSchedule = "cosine"
    decay: float = 0.97
    """Factor of an exponential step."""
    decay_epochs: float = 2.4
    """Epochs between exponential steps; they are counted from the start, as in the released EfficientNetV2 code, so
    that the warm-up swallows the first."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_epochs <= self.num_epochs:
            raise ValueError(f"warmup_epochs must lie in [0, {self.num_epochs}], got {self.warmup_epochs}")

    def at(self, begin: float, end: float) -> float:
        """Learning rate of a step.

        Args:
            begin: Epochs done when the step begins, a fraction in mid-epoch.
            end: Epochs done when it ends.
        """
        if begin < self.warmup_epochs:
            return self.peak * min(1.0, end / self.warmup_epochs)
        if self.shape == "exponential":
            return self.peak * self.decay ** math.floor(begin / self.decay_epochs)
        if self.shape == "constant":
            return self.peak
        left = self.num_epochs - self.warmup_epochs
        progress = min(1.0, (begin - self.warmup_epochs) / left) if left else 1.0
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def learning_rate_of(config: TrainConfig, num_epochs: int) -> LearningRate:
    """The configured learning rate of a training; a warm-up takes at most half of it."""
    return LearningRate(
        peak=config.lr,
        num_epochs=num_epochs,
        warmup_epochs=min(config.warmup_epochs, num_epochs / 2),
        shape=config.lr_schedule,
        decay=config.lr_decay,
        decay_epochs=config.lr_decay_epochs,
    )
