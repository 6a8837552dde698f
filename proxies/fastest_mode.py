"""The fastest correct way to execute a training here, found by measuring it once."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.messages import first_line
from search_spaces.network import build

from .device import Device, is_out_of_memory, time_work
from .execution import PLAIN, Dtype, ExecutionMode
from .training.config import TrainConfig
from .training_step import make_training_step

COMPILE_PAYS_AFTER_STEPS = 10_000
"""Below, the minutes of compilation are never earned back."""
TOLERANCES = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""Largest relative error of a correct gradient, see :func:`gradient_error`.

Batch normalisation over few values magnifies rounding: correct bfloat16 was seen to err by 0.08 to 0.4 on freshly
initialised networks at 32 pixels, float32 by 1e-5 to 5e-5; an unrelated gradient errs by more than 1.
"""
WORTH_ROUNDING = 1.05
"""A dtype of less precision must be faster than float32 by this factor to be chosen."""
MAX_OVERFLOWS = 16
"""Halvings of float16's loss scale that are waited for: from 65536, where it begins, down to 1."""
MAX_ROUNDS = 8
SHARE_OF_TRAINING = 0.02
"""Part of the planned training that may be spent on measuring, where that is more than the budget."""
LONGEST_S = 120.0
"""But no longer: large networks that train for weeks need no hours of it."""
HOPELESS = 1.5
"""A mode this many times slower than the best one is not measured further."""


class Step(Protocol):
    """What is timed and checked; :class:`~proxies.training_step.TrainingStep` in earnest."""

    network: nn.Module

    @property
    def loss_scale(self) -> float: ...
    def backward(self, images: Tensor, labels: Tensor) -> Tensor: ...
    def update(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredMode:
    """One way to execute the step, as it did here."""

    mode: ExecutionMode
    seconds_per_step: float | None
    """Median; None where the mode was not timed."""
    speedup: float | None
    """Median over rounds of plain seconds ÷ these seconds, each beside the other."""
    gradient_error: float | None
    """Relative to plain float32; None where the mode did not run."""
    problem: str | None = None
    """Why the mode is not correct here; None where it is."""

    @property
    def is_correct(self) -> bool:
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeChoice:
    """The mode to train with, and the measurements behind it, plain float32 first."""

    mode: ExecutionMode
    measured: tuple[MeasuredMode, ...]


def find_fastest_mode(
    architecture: Architecture,
    *,
    device: Device,
    batch_size: int,
    resolution: int,
    num_classes: int,
    in_channels: int,
    planned_steps: int,
    config: TrainConfig | None = None,
    dtypes: Sequence[Dtype] | None = None,
    budget_s: float = 2.0,
    build_step: Callable[[ExecutionMode], Step] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> ModeChoice:
    """Measure each mode in strict alternation with plain float32, so that the machine's drift cancels.

    A mode is correct if its gradients of one step agree with those of plain float32, all of them finite. The first
    steps of float16 may overflow, which is normal until its loss scale has settled: they are not judged.

    Args:
        architecture: A typical candidate.
        device: Where the step runs.
        batch_size: Images per step.
        resolution: Pixels per side.
        num_classes: Of the classifier.
        in_channels: Of the images.
        planned_steps: Steps of the training that the mode is for; compilation is tried for long ones only.
        config: Optimizer and loss; the defaults otherwise.
        dtypes: Number formats to try; by default all that the device may have use of.
        budget_s: Seconds after which no further mode and no further round begins, or 2 % of the planned training where
            that is more, up to two minutes; the most promising mode is measured in any case.
        build_step: Builds the step of a mode, from the same weights every time.
        clock: Seconds.

    Raises:
        InfeasibleError: If even plain float32 runs out of memory.
    """

    def build_real_step(mode: ExecutionMode) -> Step:
        # Dropout would give each mode gradients of its own.
        with device.seeded(0):
            network = build(architecture, num_classes=num_classes, in_channels=in_channels)
        return make_training_step(network, config=config or TrainConfig(), mode=mode, device=device)

    def choose() -> ModeChoice:
        """This frame alone holds the batch, so that it goes when memory does not suffice."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, in_channels, resolution, resolution, generator=generator)
        labels = torch.randint(num_classes, (batch_size,), generator=generator)
        end = clock() + budget_s
        bench = _Bench(
            images=images.to(device.torch_device),
            labels=labels.to(device.torch_device),
            device=device,
            build_step=build_step or build_real_step,
            clock=clock,
        )
        modes = [mode for mode in candidate_modes(device, planned_steps) if dtypes is None or mode.dtype in dtypes]
        return bench.choose(modes, end, planned_steps)

    with device.out_of_memory_is_infeasible():
        choice = choose()
    device.release_memory()
    return choice


def candidate_modes(device: Device, planned_steps: int) -> list[ExecutionMode]:
    """Every mode worth trying besides plain float32, the most promising first."""
    compiles = (False, True) if planned_steps >= COMPILE_PAYS_AFTER_STEPS else (False,)
    # The short way over small maps needs channels side by side.
    layouts = [*([(True, True)] if device.slow_on_small_maps else []), (True, False), (False, False)]
    dtypes: tuple[Dtype, ...] = ("float32", *device.mixed_dtypes)
    modes = [
        ExecutionMode(dtype=dtype, channels_last=channels_last, small_maps=small_maps, compile=compiled)
        for (channels_last, small_maps), dtype, compiled in itertools.product(layouts, dtypes, compiles)
    ]
    return [mode for mode in modes if mode != PLAIN]


def gradients(step: Step, images: Tensor, labels: Tensor) -> Tensor:
    """Gradients of one step, unscaled, as one vector of float32 on the CPU; the step is then completed."""
    step.backward(images, labels)
    grads = [weight.grad for weight in step.network.parameters() if weight.grad is not None]
    flat = torch.cat([grad.float().contiguous().flatten() for grad in grads]).cpu() / step.loss_scale
    step.update()
    return flat


def settled_gradients(step: Step, images: Tensor, labels: Tensor) -> Tensor:
    """Gradients of the first step that does not overflow, or of the last one tried.

    A step that overflows is skipped: it lowers the loss scale and leaves the weights as they are, so that the next one
    still has the gradients of the first. Where the scale stays, another try would change nothing.
    """
    for _ in range(MAX_OVERFLOWS):
        scale = step.loss_scale
        gradient = gradients(step, images, labels)
        if torch.isfinite(gradient).all() or step.loss_scale >= scale:
            return gradient
    return gradients(step, images, labels)


def gradient_error(gradient: Tensor, reference: Tensor) -> float:
    """‖g − g₀‖ ÷ ‖g₀‖; infinite where a gradient is not finite or missing."""
    if gradient.shape != reference.shape or not torch.isfinite(gradient).all():
        return math.inf
    return ((gradient - reference).norm() / reference.norm()).item()


@dataclass(slots=True, kw_only=True)
class _Contender:
    """A correct mode, being timed."""

    mode: ExecutionMode
    step: Step
    gradient_error: float
    seconds: list[float] = field(default_factory=list)
    speedups: list[float] = field(default_factory=list)

    def result(self) -> MeasuredMode:
        return MeasuredMode(
            mode=self.mode,
            seconds_per_step=statistics.median(self.seconds),
            speedup=statistics.median(self.speedups),
            gradient_error=self.gradient_error,
        )


@dataclass(slots=True, kw_only=True)
class _Bench:
    """One batch, one clock, and the contenders on them."""

    images: Tensor
    labels: Tensor
    device: Device
    build_step: Callable[[ExecutionMode], Step]
    clock: Callable[[], float]

    def choose(self, modes: list[ExecutionMode], end: float, planned_steps: int) -> ModeChoice:
        plain = self.build_step(PLAIN)
        reference = gradients(plain, self.images, self.labels)
        now = self.clock()
        end = max(end, now + min(LONGEST_S, SHARE_OF_TRAINING * planned_steps * self.time(plain)))
        admitted: list[_Contender | MeasuredMode] = []
        for mode in modes:
            in_time = not admitted or self.clock() < end
            admitted.append(self.admit(mode, reference) if in_time else _rejected(mode, None, "no time to measure it"))
        contenders = [each for each in admitted if isinstance(each, _Contender)]
        seconds = self.run_rounds(plain, contenders, end)
        first = MeasuredMode(mode=PLAIN, seconds_per_step=statistics.median(seconds), speedup=1.0, gradient_error=0.0)
        measured = (first, *(each.result() if isinstance(each, _Contender) else each for each in admitted))
        return ModeChoice(mode=max(measured, key=_merit).mode, measured=measured)

    def admit(self, mode: ExecutionMode, reference: Tensor) -> _Contender | MeasuredMode:
        """Build the step of a mode, check its gradients and warm it up; the verdict where it is not correct."""
        try:
            step = self.build_step(mode)
            error = gradient_error(settled_gradients(step, self.images, self.labels), reference)
            self.time(step)
        except RuntimeError as refusal:  # no kernel for the dtype, no compiler, no memory: this mode is not for here
            return _rejected(mode, None, "out of memory" if is_out_of_memory(refusal) else first_line(refusal))
        if not error <= TOLERANCES[mode.dtype]:  # so that NaN is refused too
            return _rejected(mode, error, f"gradients are off by {error:.2g}, allowed {TOLERANCES[mode.dtype]:g}")
        return _Contender(mode=mode, step=step, gradient_error=error)

    def run_rounds(self, plain: Step, contenders: list[_Contender], end: float) -> list[float]:
        """Time plain, contender, plain, contender, …; returns the seconds of plain."""
        seconds = [self.time(plain)]
        for _ in range(MAX_ROUNDS):
            for contender in contenders:
                contender.seconds.append(self.time(contender.step))
                seconds.append(self.time(plain))
                beside = (seconds[-2] + seconds[-1]) / 2
                contender.speedups.append(beside / contender.seconds[-1])
            contenders = _hopeful(contenders)
            if not contenders or self.clock() >= end:
                break
        return seconds

    def time(self, step: Step) -> float:
        """Seconds of one whole step, the device drained before and after."""

        def whole_step() -> None:
            step.backward(self.images, self.labels)
            step.update()

        return time_work(whole_step, synchronize=self.device.synchronize, clock=self.clock)


def _hopeful(contenders: list[_Contender]) -> list[_Contender]:
    speedups = [statistics.median(contender.speedups) for contender in contenders]
    best = max([1.0, *speedups])
    return [contender for contender, speedup in zip(contenders, speedups, strict=True) if speedup * HOPELESS > best]


def _merit(measured: MeasuredMode) -> float:
    speedup = measured.speedup or 0.0
    return speedup if measured.mode.dtype == "float32" else speedup / WORTH_ROUNDING


def _rejected(mode: ExecutionMode, error: float | None, problem: str) -> MeasuredMode:
    return MeasuredMode(mode=mode, seconds_per_step=None, speedup=None, gradient_error=error, problem=problem)
