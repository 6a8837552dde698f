"""Measure what a training step takes of a device's memory, to see what :mod:`proxies.memory` predicts."""

from search_spaces.architecture import Architecture

from .device import Device, find_device
from .execution import PLAIN, ExecutionMode
from .peak_memory import Work
from .timed_step import make_timed_step
from .training.config import TrainConfig
from .workload import Workload

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
    activation_checkpointing: bool = False,
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
        train: Its optimizer is what counts.
        micro_batches: Parts the batch is trained on in.
        activation_checkpointing: Whether blocks are computed again on the way back.
        device: Where; by default the best one here.

    Raises:
        InfeasibleError: If there is not enough memory.
        ValueError: If parts would be too small.
    """
    device = device or find_device()
    workload = Workload(
        resolution=resolution,
        batch_size=batch_size,
        mode=mode,
        num_classes=num_classes,
        in_channels=in_channels,
        optimizer=(train or TrainConfig()).optimizer,
        micro_batches=micro_batches,
    )

    def prepare() -> Work:
        step = make_timed_step(architecture, workload, device, activation_checkpointing=activation_checkpointing)
        for _ in range(_NUM_WARMUP):
            step()
        return step

    with device.out_of_memory_is_infeasible():
        peak = device.measure_peak(prepare)
    device.release_memory()
    return peak
