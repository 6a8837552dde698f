"""How many images a network classifies correctly, and how sure that figure is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .binomial import binomial_error
from .data.batches import Batches
from .device import Device
from .execution import ExecutionMode
from .training.distributed import ALONE, Processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Top-1 result on a set of images."""

    num_correct: int
    num_images: int

    @property
    def accuracy(self) -> float:
        """A fraction in [0, 1]."""
        return self.num_correct / self.num_images

    @property
    def standard_error(self) -> float:
        return binomial_error(self.num_correct, self.num_images)


def evaluate(
    network: nn.Module,
    batches: Batches,
    *,
    batch_size: int,
    resolution: int,
    mode: ExecutionMode,
    device: Device,
    processes: Processes = ALONE,
    after_batch: Callable[[], None] | None = None,
) -> Score:
    """Classify every image once, in one of the processes; a network in training mode is put back into it.

    Images that are skipped do not count. What `after_batch` raises ends it; the network is then left as it is.
    """
    correct = torch.zeros((), dtype=torch.int64, device=device.torch_device)
    judged = torch.zeros((), dtype=torch.int64, device=device.torch_device)

    def count(logits: Tensor, labels: Tensor) -> None:
        correct.add_((logits.argmax(dim=1) == labels).sum())
        judged.add_(len(labels))
        if after_batch is not None:
            after_batch()

    answer(
        network, batches, count, batch_size=batch_size, resolution=resolution, mode=mode, device=device,
        processes=processes,
    )  # fmt: skip
    return Score(num_correct=int(processes.sum(correct).item()), num_images=int(processes.sum(judged).item()))


def answer(
    network: nn.Module,
    batches: Batches,
    take: Callable[[Tensor, Tensor], None],
    *,
    batch_size: int,
    resolution: int,
    mode: ExecutionMode,
    device: Device,
    processes: Processes = ALONE,
) -> None:
    """Show a network this process's images once, each as it is; a network in training mode is put back into it.

    Args:
        network: On the device.
        batches: What it is shown.
        take: Is given the logits (N, classes) and labels (N,) of each batch, on the device and in inference mode.
        batch_size: Images at once.
        resolution: Pixels per side.
        mode: How it is executed.
        device: Where.
        processes: That share the images.
    """
    was_training = network.training
    network.eval()
    with torch.inference_mode(), mode.autocast(device.torch_device):
        for images, labels in batches.in_order(
            batch_size=batch_size, resolution=resolution, rank=processes.rank, world_size=processes.size
        ):
            take(network(images.contiguous(memory_format=mode.memory_format)), labels)
    network.train(was_training)
