"""Measure the training step time of an architecture on a device of this machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.network import build

from .device import Device, find_device
from .device_lease import DeviceLease
from .execution import ExecutionMode
from .fastest_mode import find_fastest_mode
from .step_time import Clock, Step, StepTime, StepTimeSetting, time_alternating
from .training.config import TrainConfig
from .training_step import make_training_step

# Long enough for no mode to be compiled: a mode is chosen for timing here, not for a training.
_PLANNED_STEPS = 1_000


class DtypeError(ValueError):
    """No mode of the number format that a setting asks for is correct on the device."""


def measure_step_time(
    architecture: Architecture,
    *,
    reference: Architecture | None = None,
    setting: StepTimeSetting | None = None,
    train: TrainConfig | None = None,
    mode: ExecutionMode | None = None,
    num_classes: int = 1000,
    in_channels: int = 3,
    device: Device | None = None,
    clock: Clock = time.perf_counter,
) -> StepTime:
    """Time whole training steps of a network, in alternation with a reference's, holding the device alone.

    Args:
        architecture: What to time.
        reference: The network it alternates with; by default itself, which shows how well this machine repeats.
        setting: The target training: size, batch, number format, threads, number of timed steps.
        train: Optimizer and loss of that training.
        mode: How the step is executed; by default the fastest correct mode, found here.
        num_classes: Of the user's data.
        in_channels: Of the user's data.
        device: Where; by default the setting's.
        clock: Monotonic seconds.

    Raises:
        InfeasibleError: If the step runs out of memory.
        DtypeError: If the setting's number format does not work on the device.
        ValueError: If the device is not here.
    """
    setting, train = setting or StepTimeSetting(), train or TrainConfig()
    device = device or find_device(setting.device or "auto")
    resolution = setting.resolution or architecture.resolution

    def time_steps(mode: ExecutionMode) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """This frame alone holds the batch and the networks, so that they go when memory does not suffice."""
        images, labels = _batch(setting.batch_size, in_channels, resolution, num_classes, device)

        def step_of(timed: Architecture) -> Step:
            network = build(timed, num_classes=num_classes, in_channels=in_channels)
            step = make_training_step(network, config=train, mode=mode, device=device)
            return lambda: step(images, labels)

        return time_alternating(
            step_of(reference or architecture),
            step_of(architecture),
            num_pairs=setting.num_pairs,
            synchronize=device.synchronize,
            clock=clock,
        )

    with _threads(setting.threads), DeviceLease(device.lease_name).exclusive(), device.out_of_memory_is_infeasible():
        if mode is None:
            mode = choose_mode(
                architecture,
                setting=setting,
                train=train,
                device=device,
                num_classes=num_classes,
                in_channels=in_channels,
            )
        samples, references = time_steps(mode)
        identity = device.identity()
    device.release_memory()
    return StepTime(
        samples_s=samples,
        reference_samples_s=references,
        batch_size=setting.batch_size,
        resolution=resolution,
        mode=str(mode),
        device=str(identity),
    )


def choose_mode(
    architecture: Architecture,
    *,
    setting: StepTimeSetting,
    train: TrainConfig,
    device: Device,
    num_classes: int,
    in_channels: int,
) -> ExecutionMode:
    """The fastest correct mode of the target training's step, in the number format the setting asks for.

    Raises:
        InfeasibleError: If even plain float32 runs out of memory.
        DtypeError: If no mode of that number format is correct on this device, in one line.
    """
    if setting.dtype not in ("auto", "float32", *device.mixed_dtypes):
        raise _dtype_error(setting, device, f"not tried on {device.kind}")
    choice = find_fastest_mode(
        architecture,
        device=device,
        batch_size=setting.batch_size,
        resolution=setting.resolution or architecture.resolution,
        num_classes=num_classes,
        in_channels=in_channels,
        planned_steps=_PLANNED_STEPS,
        config=train,
        dtypes=None if setting.dtype == "auto" else (setting.dtype,),
    )
    if setting.dtype in ("auto", choice.mode.dtype):
        return choice.mode
    fitting = [found for found in choice.measured if found.mode.dtype == setting.dtype and found.speedup is not None]
    if not fitting:
        problems = [found.problem for found in choice.measured if found.mode.dtype == setting.dtype and found.problem]
        raise _dtype_error(setting, device, problems[0])
    return max(fitting, key=lambda found: found.speedup or 0.0).mode


def _dtype_error(setting: StepTimeSetting, device: Device, problem: str) -> DtypeError:
    return DtypeError(f"dtype must be one that works on {device.name}, got {setting.dtype}: {problem}")


def _batch(
    batch_size: int, in_channels: int, resolution: int, num_classes: int, device: Device
) -> tuple[Tensor, Tensor]:
    """A batch of noise on the device: a step's cost does not depend on what the images show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, in_channels, resolution, resolution, generator=generator)
    labels = torch.randint(num_classes, (batch_size,), generator=generator)
    return images.to(device.torch_device), labels.to(device.torch_device)


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """Use this many CPU threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
