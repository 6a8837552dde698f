"""Measure the training step time of an architecture on a device of this machine."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from search_spaces.architecture import Architecture

from .canary import CANARY, make_canary
from .device import Device, find_device
from .device_lease import DeviceLease
from .execution import ExecutionMode
from .fastest_mode import find_fastest_mode
from .step_time import Step, StepTime, StepTimeSetting, Visit, time_visit
from .timed_step import make_timed_step
from .training.config import TrainConfig
from .workload import Phase, Workload

PAUSE_S = 1.0
"""Between two visits, so that they do not meet the same moment, and that others may train in between."""

# Long enough for no mode to be compiled: a mode is chosen for timing here, not for a training.
_PLANNED_STEPS = 1_000


class DtypeError(ValueError):
    """No mode of the number format that a setting asks for is correct on the device."""


def measure_step_time(
    architecture: Architecture,
    *,
    reference: Architecture | None = None,
    reference_s: float | None = None,
    setting: StepTimeSetting | None = None,
    train: TrainConfig | None = None,
    mode: ExecutionMode | None = None,
    num_classes: int = 1000,
    in_channels: int = 3,
    phase: Phase = "training",
    micro_batches: int = 1,
    device: Device | None = None,
    on_visit: Callable[[StepTime], None] = lambda so_far: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> StepTime:
    """Time whole steps of a network, in alternation with the canary's, holding the device alone.

    Visits go on until the step time is known within 2 %, at least as many as the setting asks for; when its budget is
    over, the result says that it is unstable, or contaminated where something else used the device in every visit. Each
    visit builds its networks anew, and the device is free for others between two visits.

    Args:
        architecture: What to time.
        reference: A network to alternate with in place of the canary.
        reference_s: Seconds that a step of the reference stands for, where they are known from earlier; by default the
            median of this measurement's.
        setting: The target training: size, batch, number format, threads, visits.
        train: Optimizer of that training.
        mode: How the step is executed; by default the fastest correct mode, found here.
        num_classes: Of the user's data.
        in_channels: Of the user's data.
        phase: A step of training, or of inference.
        micro_batches: Parts that a batch is split into.
        device: Where; by default the setting's.
        on_visit: Called with the result so far after each visit.
        clock: Monotonic seconds of the budget.
        sleep: Waits so many seconds.

    Raises:
        InfeasibleError: If the step runs out of memory.
        DtypeError: If the setting's number format does not work on the device.
        ValueError: If the device is not here.
    """
    setting, train = setting or StepTimeSetting(), train or TrainConfig()
    device = device or find_device(setting.device or "auto")
    mode = mode or choose_mode(
        architecture, setting=setting, train=train, device=device, num_classes=num_classes, in_channels=in_channels
    )
    workload = Workload(
        resolution=setting.resolution or architecture.resolution,
        batch_size=setting.batch_size,
        mode=mode,
        num_classes=num_classes,
        in_channels=in_channels,
        optimizer=train.optimizer,
        phase=phase,
        micro_batches=micro_batches,
    )
    timing = Timing(device=device, workload=workload, setting=setting, reference=reference, reference_s=reference_s)
    end = clock() + setting.budget_s
    measured: StepTime | None = None
    while measured is None or _is_wanting(measured, setting, is_in_time=clock() < end):
        if measured is not None:
            sleep(PAUSE_S)
        with held_alone(device, setting.threads):
            measured = timing.visit(architecture, measured)
        on_visit(measured)
    return measured


def _is_wanting(measured: StepTime, setting: StepTimeSetting, *, is_in_time: bool) -> bool:
    """Whether further visits are due: the setting's in any case, more while there is time and they would help."""
    if len(measured.visits) < setting.visits:
        return True
    return is_in_time and (measured.verdict != "stable" or measured.num_clean_visits < setting.visits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How visits are made: where, of which step, beside which reference."""

    device: Device
    workload: Workload
    setting: StepTimeSetting = field(default_factory=StepTimeSetting)
    reference: Architecture | None = None
    """None: the canary."""
    reference_s: float | None = None
    """Known from earlier; None: the median of the visits."""

    def visit(self, architecture: Architecture, earlier: StepTime | None = None) -> StepTime:
        """Time the network once more, on a device that is held alone; its earlier visits count too."""
        visits = (*(earlier.visits if earlier else ()), self._time(architecture))
        return StepTime(
            visits=visits,
            reference=str(self.reference) if self.reference else CANARY,
            reference_s=median_reference_s(visits) if self.reference_s is None else self.reference_s,
            batch_size=self.workload.batch_size,
            resolution=self.workload.resolution_of(architecture),
            mode=str(self.workload.mode),
            device=str(self.device.identity()),
            micro_batches=self.workload.micro_batches,
        )

    def _time(self, architecture: Architecture) -> Visit:
        """This frame alone holds the batches and the networks, so that they go when memory does not suffice."""
        return time_visit(
            self._make_reference(),
            make_timed_step(architecture, self.workload, self.device),
            num_pairs=self.setting.num_pairs,
            stopwatch=self.device.stopwatch,
            read_meters=self.device.read_meters,
            threads=torch.get_num_threads(),
        )

    def _make_reference(self) -> Step:
        if self.reference is None:
            return make_canary(self.workload, self.device)
        return make_timed_step(self.reference, self.workload, self.device)


@contextmanager
def held_alone(device: Device, threads: int | None = None) -> Iterator[None]:
    """Nothing of ours uses the device inside the block but what the block does; its memory is free afterwards.

    Args:
        device: To be held.
        threads: CPU threads inside the block; None leaves them as they are.

    Raises:
        InfeasibleError: If memory does not suffice inside the block.
    """
    with _threads(threads), DeviceLease(device.lease_name).exclusive(), device.out_of_memory_is_infeasible():
        yield
        # While it is still ours: whoever waits may need that memory at once.
        device.release_memory()


def median_reference_s(visits: tuple[Visit, ...]) -> float:
    """Seconds of a step of the reference; of the canary, whose networks take turns, those of a step of their mean."""
    # What disturbs a visit slows its reference too.
    used = [visit for visit in visits if visit.is_clean] or visits
    flanks = ((before + after) / 2 for visit in used for before, after in itertools.pairwise(visit.reference_samples_s))
    return statistics.median(flanks)


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
    with held_alone(device, setting.threads):
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


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """Use this many CPU threads inside the block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
