"""Measure what a training step takes of a device's memory, to see what :mod:`proxies.memory` predicts."""

import torch

from search_spaces.architecture import Architecture
from search_spaces.network import build

from .device import Device, find_device
from .execution import PLAIN, ExecutionMode
from .peak_memory import Work
from .training.config import TrainConfig
from .training_step import make_training_step

# The first step creates the optimizer's state, after its way back; more steps hold no more.
_NUM_WARMUP = 2


def measure_peak_memory(
    architecture: Architecture,
    *,
    batch_size: int,
    resolution: int | None = None,
    mode: ExecutionMode = PLAIN,
    num_classes: int = 1000,
    in_channels: int = 3,
    train: TrainConfig | None = None,
    micro_batches: int = 1,
    device: Device | None = None,
) -> int:
    """Bytes a settled training step holds at its peak, its network, optimizer and batch included.

    Three whole steps are run, on noise. What counts as held is up to the device, see :mod:`proxies.peak_memory`.

    Args:
        architecture: What is trained.
        batch_size: Images in a step.
        resolution: Pixels per side; the architecture's own by default.
        mode: How the step is executed.
        num_classes: Of the classifier.
        in_channels: Of the images.
        train: Optimizer and loss; its batch size is not used.
        micro_batches: Parts the batch is trained on in.
        device: Where; by default the best one here.

    Raises:
        InfeasibleError: If there is not enough memory.
        ValueError: If parts would be too small.
    """
    device = device or find_device()
    size = resolution or architecture.resolution

    def prepare() -> Work:
        network = build(architecture, num_classes=num_classes, in_channels=in_channels)
        step = make_training_step(
            network, config=train or TrainConfig(), mode=mode, device=device, micro_batches=micro_batches
        )
        images = torch.randn(batch_size, in_channels, size, size, device=device.torch_device)
        labels = torch.zeros(batch_size, dtype=torch.int64, device=device.torch_device)
        for _ in range(_NUM_WARMUP):
            step(images, labels)
        return lambda: step(images, labels)

    with device.out_of_memory_is_infeasible():
        peak = device.measure_peak(prepare)
    device.release_memory()
    return peak
