"""The loop of a training: epochs of steps, a look at the judging images after each."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ..data.batches import Batches, num_steps
from ..evaluation import Score, evaluate
from ..infeasible import InfeasibleError
from ..training_step import TrainingStep


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


def run_epochs(
    step: TrainingStep,
    *,
    train: Batches,
    minival: Batches,
    num_epochs: int,
    batch_size: int,
    resolution: int,
    generator: torch.Generator,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[EpochProgress]:
    """Train, and yield after every epoch.

    Args:
        step: The network in training.
        train: What it learns from.
        minival: What it is judged by.
        num_epochs: Passes over ``train``.
        batch_size: Images per step.
        resolution: Pixels per side.
        generator: Order of the images and their augmentation; on the CPU.
        clock: Seconds.

    Raises:
        InfeasibleError: If the loss of an epoch is not finite.
    """
    train_seconds = 0.0
    for epoch in range(1, num_epochs + 1):
        start = clock()
        loss = _train_one_epoch(step, train, batch_size=batch_size, resolution=resolution, generator=generator)
        train_seconds += clock() - start
        if not math.isfinite(loss):
            raise InfeasibleError(f"loss is not finite in epoch {epoch}")
        score = evaluate(
            step.network, minival, batch_size=batch_size, resolution=resolution, mode=step.mode, device=step.device
        )
        yield EpochProgress(
            epoch=epoch, num_epochs=num_epochs, train_loss=loss, score=score, train_seconds=train_seconds
        )


def _train_one_epoch(
    step: TrainingStep, train: Batches, *, batch_size: int, resolution: int, generator: torch.Generator
) -> float:
    """Mean loss of an epoch, read from the device at its end: that waits for it.

    In float16, loss scaling waits at every step too, unless the optimizer is a fused one.
    """
    total = torch.zeros((), device=step.device.torch_device)
    for images, labels in train.shuffled(batch_size=batch_size, resolution=resolution, generator=generator):
        total += step(images, labels)
    return total.item() / num_steps(len(train), batch_size)
