"""Execution modes, and the choice of the fastest correct one."""

import itertools
import subprocess
import sys
import weakref
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from proxies.device import Device, find_device
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.fastest_mode import TOLERANCES, ModeChoice, candidate_modes, find_fastest_mode, gradient_error
from proxies.infeasible import InfeasibleError
from search_spaces.architecture import parse

TINY = parse("stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r2_k5_s2_e4_c24_se0.25-ir_r2_k3_s2_e4_c32_se0.25-head64@32")
CHANNELS_LAST = ExecutionMode(channels_last=True)
BFLOAT16 = ExecutionMode(dtype="bfloat16", channels_last=True)

ALL_MODES = [
    ExecutionMode(dtype=dtype, channels_last=channels_last, small_maps=small_maps, compile=compiled)
    for dtype in ("float32", "bfloat16", "float16")
    for channels_last, small_maps, compiled in itertools.product((False, True), repeat=3)
]


@pytest.mark.parametrize("mode", ALL_MODES, ids=str)
def test_text_and_mode_are_inverse(mode: ExecutionMode) -> None:
    assert parse_mode(str(mode)) == mode


@pytest.mark.parametrize(
    "text",
    ["", "float32", "float64-contiguous", "float32-nhwc", "float32-contiguous-", "float32-channels_last-contiguous",
     "float32-channels_last-compile-small_maps", "float32-channels_last-compile-compile", " float32-contiguous"],
)  # fmt: skip
def test_a_malformed_mode_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an execution mode reads like"):
        parse_mode(text)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, float16, got 'int8'"):
        ExecutionMode(dtype="int8")  # type: ignore[arg-type]


def test_settings_and_modes_are_read_without_torch() -> None:
    script = (
        "import sys, proxies.execution, proxies.infeasible, proxies.training.config\n"
        "proxies.execution.parse_mode('float32-contiguous')\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_compilation_is_tried_for_long_trainings_only() -> None:
    device = find_device("cpu")
    assert not any(mode.compile for mode in candidate_modes(device, 9_999))
    assert any(mode.compile for mode in candidate_modes(device, 10_000))


def test_float16_is_tried_on_cuda_only() -> None:
    cpu = find_device("cpu")
    cuda = replace(cpu, kind="cuda", mixed_dtypes=("bfloat16", "float16"), slow_on_small_maps=False)
    assert {mode.dtype for mode in candidate_modes(cpu, 100)} == {"float32", "bfloat16"}
    assert {mode.dtype for mode in candidate_modes(cuda, 100)} == {"float32", "bfloat16", "float16"}
    assert not any(mode.small_maps for mode in candidate_modes(cuda, 100))


@dataclass
class Clock:
    """Time that passes only in steps, faster or slower as the machine drifts."""

    now: float = 0.0
    drift: float = 1.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeStep:
    """A step with given seconds and gradients on a fake clock."""

    clock: Clock
    seconds: float
    gradient: Tensor
    network: nn.Module = field(default_factory=lambda: nn.Linear(4, 1, bias=False))
    loss_scale: float = 1.0

    def backward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.network.weight.grad = self.gradient.view(1, 4) * self.loss_scale
        return torch.zeros(())

    def update(self) -> None:
        self.clock.now += self.seconds * self.clock.drift
        self.clock.drift *= 1.05  # every step slower than the one before
        self.network.zero_grad()


GRADIENT = torch.tensor([1.0, -2.0, 0.5, 3.0])


def choose(
    seconds: dict[ExecutionMode, float],
    gradients: dict[ExecutionMode, Tensor] | None = None,
    *,
    device: Device | None = None,
    **settings: float,
) -> ModeChoice:
    """The choice among fake modes; a mode without seconds raises as an operator without a kernel does."""
    clock = Clock()

    def build(mode: ExecutionMode) -> FakeStep:
        if mode not in seconds:
            raise RuntimeError(f"no kernel for {mode}\nwith details")
        return FakeStep(clock, seconds[mode], (gradients or {}).get(mode, GRADIENT))

    return find_fastest_mode(
        TINY, device=device or find_device("cpu"), batch_size=2, resolution=8, num_classes=2, in_channels=1,
        planned_steps=100, budget_s=settings.get("budget_s", 1e9), build_step=build, clock=clock,
    )  # fmt: skip


def test_the_fastest_correct_mode_wins_although_the_machine_slows_down() -> None:
    choice = choose({PLAIN: 1.0, CHANNELS_LAST: 0.8, BFLOAT16: 0.5})
    assert choice.mode == BFLOAT16
    speedups = {each.mode: each.speedup for each in choice.measured}
    assert speedups[CHANNELS_LAST] == pytest.approx(1 / 0.8, rel=0.01)
    assert speedups[BFLOAT16] == pytest.approx(1 / 0.5, rel=0.01)


def test_plain_stays_where_nothing_is_faster() -> None:
    assert choose({PLAIN: 1.0, CHANNELS_LAST: 1.2, BFLOAT16: 1.3}).mode == PLAIN


def test_a_little_speed_does_not_pay_for_rounding() -> None:
    assert choose({PLAIN: 1.0, CHANNELS_LAST: 0.80, BFLOAT16: 0.78}).mode == CHANNELS_LAST


def test_a_mode_that_cannot_run_is_recorded_with_the_reason_in_one_line() -> None:
    choice = choose({PLAIN: 1.0, CHANNELS_LAST: 0.8})
    refused = next(each for each in choice.measured if each.mode == BFLOAT16)
    assert choice.mode == CHANNELS_LAST
    assert not refused.is_correct
    assert refused.problem == f"no kernel for {BFLOAT16}"


@pytest.mark.parametrize(
    "gradient",
    [GRADIENT * 1.01, -GRADIENT, GRADIENT * torch.tensor([1.0, 1.0, 1.0, float("nan")]), GRADIENT * float("inf")],
)
def test_a_mode_with_wrong_gradients_is_refused_however_fast(gradient: Tensor) -> None:
    choice = choose({PLAIN: 1.0, CHANNELS_LAST: 0.01}, {CHANNELS_LAST: gradient})
    assert choice.mode == PLAIN
    refused = next(each for each in choice.measured if each.mode == CHANNELS_LAST)
    assert refused.problem is not None
    assert "gradients are off by" in refused.problem


def test_the_budget_ends_the_search_after_the_most_promising_mode() -> None:
    device = find_device("cpu")
    first = candidate_modes(device, 100)[0]
    choice = choose(dict.fromkeys(ALL_MODES, 1.0) | {first: 0.5}, budget_s=0.0, device=device)
    assert choice.mode == first
    assert {each.problem for each in choice.measured[2:]} == {"no time to measure it"}


def test_without_memory_for_plain_float32_the_candidate_is_infeasible() -> None:
    def out_of_memory(mode: ExecutionMode) -> FakeStep:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with pytest.raises(InfeasibleError, match="out of memory on cpu: CUDA out of memory"):
        find_fastest_mode(
            TINY, device=find_device("cpu"), batch_size=2, resolution=8, num_classes=2, in_channels=1,
            planned_steps=100, build_step=out_of_memory,
        )  # fmt: skip


def test_the_batch_is_released_before_the_verdict() -> None:
    """The batch must not be held by the frame that turns the error into a verdict."""
    batches: list[weakref.ref[Tensor]] = []
    released: list[bool] = []

    class HungryStep(FakeStep):
        def backward(self, images: Tensor, labels: Tensor) -> Tensor:
            batches.append(weakref.ref(images))
            raise torch.OutOfMemoryError("CUDA out of memory")

    device = replace(find_device("cpu"), release_memory=lambda: released.append(batches[0]() is None))

    with pytest.raises(InfeasibleError):
        find_fastest_mode(
            TINY, device=device, batch_size=2, resolution=8, num_classes=2, in_channels=1, planned_steps=100,
            build_step=lambda mode: HungryStep(Clock(), 1.0, GRADIENT),
        )  # fmt: skip
    assert released == [True]


@dataclass
class Float16Step(FakeStep):
    """Overflows above a loss scale, as float16 does: such a step is skipped and halves the scale."""

    loss_scale: float = 65_536.0
    largest_scale: float = 65_536.0
    num_updates: int = 0

    def backward(self, images: Tensor, labels: Tensor) -> Tensor:
        if self.loss_scale > self.largest_scale:
            self.network.weight.grad = torch.full((1, 4), float("inf"))
            return torch.zeros(())
        # Once the weights have moved, the gradients are others.
        self.network.weight.grad = self.gradient.view(1, 4) * self.loss_scale * (1 + self.num_updates)
        return torch.zeros(())

    def update(self) -> None:
        overflown = not torch.isfinite(self.network.weight.grad).all()
        self.loss_scale *= 0.5 if overflown else 1.0
        self.num_updates += not overflown
        super().update()


def choose_with_float16(step: Float16Step) -> ModeChoice:
    device = replace(find_device("cpu"), mixed_dtypes=("float16",))
    return find_fastest_mode(
        TINY, device=device, batch_size=2, resolution=8, num_classes=2, in_channels=1, planned_steps=100, budget_s=1e9,
        build_step=lambda mode: step if mode == FLOAT16 else FakeStep(step.clock, 1.0, GRADIENT), clock=step.clock,
    )  # fmt: skip


FLOAT16 = ExecutionMode(dtype="float16", channels_last=True)


@pytest.mark.parametrize("largest_scale", [65_536.0, 32_768.0, 256.0, 2.0])
def test_float16_is_judged_when_its_loss_scale_has_settled(largest_scale: float) -> None:
    choice = choose_with_float16(Float16Step(Clock(), 0.5, GRADIENT, largest_scale=largest_scale))
    assert choice.mode == FLOAT16
    judged = next(each for each in choice.measured if each.mode == FLOAT16)
    assert judged.gradient_error == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "step",
    [
        Float16Step(Clock(), 0.5, GRADIENT, largest_scale=0.0),
        Float16Step(Clock(), 0.5, -GRADIENT, largest_scale=256.0),
        Float16Step(Clock(), 0.5, GRADIENT * float("nan"), loss_scale=1.0),
    ],
    ids=["overflows for ever", "wrong", "not a number"],
)
def test_wrong_float16_is_refused_after_a_few_tries(step: Float16Step) -> None:
    choice = choose_with_float16(step)
    judged = next(each for each in choice.measured if each.mode == FLOAT16)
    assert judged.problem is not None
    assert "gradients are off by" in judged.problem
    assert choice.mode != FLOAT16


def test_gradient_error_is_relative() -> None:
    assert gradient_error(GRADIENT, GRADIENT) == 0
    assert gradient_error(2 * GRADIENT, GRADIENT) == pytest.approx(1)
    assert gradient_error(GRADIENT[:2], GRADIENT) == float("inf")


def measure_for_real(device: Device) -> ModeChoice:
    return find_fastest_mode(
        TINY, device=device, batch_size=8, resolution=32, num_classes=10, in_channels=3, planned_steps=100, budget_s=1.0
    )  # fmt: skip


def test_on_this_machine_every_float32_mode_is_correct() -> None:
    torch.set_num_threads(1)
    choice = measure_for_real(find_device("cpu"))
    for each in choice.measured:
        if each.mode.dtype == "float32" and each.gradient_error is not None:
            assert each.gradient_error <= TOLERANCES["float32"], str(each.mode)
    assert choice.mode in [each.mode for each in choice.measured if each.is_correct]


@pytest.mark.gpu
def test_on_cuda_every_mode_is_correct() -> None:
    choice = measure_for_real(find_device("cuda"))
    assert {each.mode.dtype for each in choice.measured} == {"float32", "bfloat16", "float16"}
    assert all(each.is_correct or each.problem == "no time to measure it" for each in choice.measured), choice.measured


def test_only_the_number_formats_asked_for_are_tried() -> None:
    """Besides plain float32, which all others are compared with."""
    choice = find_fastest_mode(
        parse("stem8-ir_r1_k3_s1_e1_c8-head32@32"),
        device=find_device("cpu"),
        batch_size=4,
        resolution=32,
        num_classes=2,
        in_channels=1,
        planned_steps=100,
        dtypes=("bfloat16",),
        budget_s=0.1,
    )
    assert choice.measured[0].mode == PLAIN
    assert {found.mode.dtype for found in choice.measured[1:]} == {"bfloat16"}
