"""The learning rate over the steps of a training: linear warm-up, then half a cosine down to zero."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupCosine:
    """Learning rate as a pure function of the step, so that a training can go on from any step.

    >>> schedule = WarmupCosine(peak=1.0, warmup_steps=2, total_steps=6)
    >>> [round(schedule.at(step), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]

    Raises:
        ValueError: If the warm-up is longer than the training.
    """

    peak: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps <= self.total_steps:
            raise ValueError(f"warmup_steps must lie in [0, {self.total_steps}], got {self.warmup_steps}")

    def at(self, step: int) -> float:
        """Learning rate of this step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        left = self.total_steps - self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / left) if left else 1.0
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_cosine(*, peak: float, warmup_epochs: float, epochs: int, steps_per_epoch: int) -> WarmupCosine:
    """The schedule of a training; a warm-up takes at most half of it."""
    total_steps = epochs * steps_per_epoch
    warmup_steps = min(round(warmup_epochs * steps_per_epoch), total_steps // 2)
    return WarmupCosine(peak=peak, warmup_steps=warmup_steps, total_steps=total_steps)
