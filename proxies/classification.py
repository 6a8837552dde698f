"""What a network makes of every class of a set of images: who is right, who is taken for whom, and how sure that is."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .binomial import binomial_error
from .data.batches import Batches
from .device import Device
from .evaluation import Score, answer
from .execution import ExecutionMode
from .training.distributed import ALONE, Processes

TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class."""

    num_images: int
    """That belong to it."""
    num_correct: int
    """Of these, classified as it."""
    num_predicted: int
    """Of all images, classified as it."""

    @property
    def accuracy(self) -> float | None:
        """Its share of images that are found (recall); None where it has none."""
        return self.num_correct / self.num_images if self.num_images else None

    @property
    def standard_error(self) -> float | None:
        return binomial_error(self.num_correct, self.num_images) if self.num_images else None

    @property
    def precision(self) -> float | None:
        """How often its name is right where it is given; None where it never is."""
        return self.num_correct / self.num_predicted if self.num_predicted else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Every image of a set, classified at one size."""

    resolution: int
    """Pixels per side."""
    classes: tuple[ClassScore, ...]
    num_in_top: int | None
    """Images whose class is among the `TOP` most likely ones; None where there are no more classes than that."""

    @property
    def score(self) -> Score:
        """Top-1."""
        return Score(
            num_correct=sum(each.num_correct for each in self.classes),
            num_images=sum(each.num_images for each in self.classes),
        )

    @property
    def top_score(self) -> Score | None:
        """Top-5."""
        if self.num_in_top is None:
            return None
        return Score(num_correct=self.num_in_top, num_images=self.score.num_images)

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes that have images: rare ones count as much as frequent ones."""
        accuracies = [each.accuracy for each in self.classes if each.accuracy is not None]
        return sum(accuracies) / len(accuracies)


class _Counts:
    """Counts on the device, so that no batch waits for them."""

    def __init__(self, num_classes: int, torch_device: torch.device) -> None:
        self.images, self.correct, self.predicted = torch.zeros(3, num_classes, dtype=torch.int64, device=torch_device)
        self.in_top = torch.zeros((), dtype=torch.int64, device=torch_device)
        self.num_top = TOP if num_classes > TOP else None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (N, classes), labels (N,)."""
        predicted = logits.argmax(dim=1)
        self.images.index_add_(0, labels, torch.ones_like(labels))
        self.predicted.index_add_(0, predicted, torch.ones_like(predicted))
        self.correct.index_add_(0, labels, (predicted == labels).long())
        if self.num_top is not None:
            self.in_top += (logits.topk(self.num_top, dim=1).indices == labels.unsqueeze(1)).sum()


def classify(
    network: nn.Module,
    batches: Batches,
    *,
    num_classes: int,
    batch_size: int,
    resolution: int,
    mode: ExecutionMode,
    device: Device,
    processes: Processes = ALONE,
) -> Classification:
    """Classify every image once, in one of the processes, and count by class; images that are skipped do not count.

    A network in training mode is put back into it.

    Raises:
        ValueError: If no image can be read.
    """
    counts = _Counts(num_classes, device.torch_device)
    answer(
        network, batches, counts.add, batch_size=batch_size, resolution=resolution, mode=mode, device=device,
        processes=processes,
    )  # fmt: skip
    columns = torch.stack([counts.images, counts.correct, counts.predicted])
    images, correct, predicted = processes.sum(columns).tolist()
    if not any(images):
        raise ValueError("there must be an image to classify, got none")
    in_top = None if counts.num_top is None else int(processes.sum(counts.in_top).item())
    return Classification(
        resolution=resolution,
        classes=tuple(
            ClassScore(num_images=each, num_correct=right, num_predicted=called)
            for each, right, called in zip(images, correct, predicted, strict=True)
        ),
        num_in_top=in_top,
    )
