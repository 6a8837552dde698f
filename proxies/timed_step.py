"""A step of a network on a batch of noise, ready to be timed: the very step that trains, or one of inference."""

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.network import build

from .activation_checkpointing import checkpoint_activations
from .device import Device
from .step_time import Step
from .training.config import TrainConfig
from .training_step import make_training_step
from .workload import Workload


def make_timed_step(
    architecture: Architecture, workload: Workload, device: Device, *, activation_checkpointing: bool = False
) -> Step:
    """Build the network and its batch on the device.

    Args:
        architecture: What to build.
        workload: Which step of it.
        device: Where.
        activation_checkpointing: Let blocks be computed again on the way back.

    Returns:
        A function without arguments that does one step; it alone holds network and batch.
    """
    with device.seeded(0):
        network = build(architecture, num_classes=workload.num_classes, in_channels=workload.in_channels)
    if activation_checkpointing:
        checkpoint_activations(network)
    return timed_step_of(network, workload, workload.resolution_of(architecture), device)


def timed_step_of(network: nn.Module, workload: Workload, resolution: int, device: Device) -> Step:
    """The same step of a network that is there already; it is moved to the device in place.

    Args:
        network: ``(N, C, H, W)`` to logits; must have the workload's channels and classes.
        workload: Which step of it.
        resolution: Pixels per side.
        device: Where.
    """
    images, labels = noise_batch(workload, resolution, device)
    if workload.phase == "inference":
        return _inference_step(network, images, workload, device)
    step = make_training_step(
        network,
        config=TrainConfig(optimizer=workload.optimizer),
        mode=workload.mode,
        device=device,
        micro_batches=workload.micro_batches,
    )
    return lambda: step(images, labels)


def noise_batch(workload: Workload, resolution: int, device: Device) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and labels (N,) on the device: a step's cost does not depend on what images show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(workload.batch_size, workload.in_channels, resolution, resolution, generator=generator)
    labels = torch.randint(workload.num_classes, (workload.batch_size,), generator=generator)
    return images.to(device.torch_device), labels.to(device.torch_device)


def _inference_step(network: nn.Module, images: Tensor, workload: Workload, device: Device) -> Step:
    mode = workload.mode
    network = mode.place(network.eval(), device.torch_device)
    images = images.contiguous(memory_format=mode.memory_format)

    def step() -> Tensor:
        with torch.inference_mode(), mode.autocast(device.torch_device):
            return network(images)

    return step
