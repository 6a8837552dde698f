"""Predicted peak memory against PyTorch's allocator, and the allocator against the process."""

import dataclasses
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from proxies.device import find_device
from proxies.execution import PLAIN, parse_mode
from proxies.infeasible import InfeasibleError
from proxies.memory import OPTIMIZERS, predict_peak_memory
from proxies.memory_measurement import measure_peak_memory
from proxies.micro_batches import fit_micro_batches, largest_part
from proxies.peak_memory import Prepare, Work, measure_cpu_peak
from proxies.training.config import TrainConfig
from proxies.training.optimizer import make_optimizer
from search_spaces import catalog, get_space
from search_spaces.architecture import Architecture, parse
from search_spaces.network import build
from search_spaces.space import SearchSpace

CPU = find_device("cpu")
MIB = 2**20
B0 = catalog.get("efficientnetv2-b0").architecture
STAGES = {
    "fused": "stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16-er_r2_k3_s2_e4_c24-er_r2_k3_s2_e4_c32-head64@64",
    "fused se": "stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16_se0.25-er_r2_k3_s2_e6_c24_se0.25-head64@64",
    "mbconv k3": "stem8-ir_r1_k3_s1_e1_c8-ir_r2_k3_s2_e6_c16-ir_r2_k3_s2_e6_c24-ir_r2_k3_s2_e6_c32-head64@64",
    "mbconv k5": "stem8-ir_r1_k5_s1_e1_c8-ir_r2_k5_s2_e6_c16-ir_r2_k5_s2_e6_c24-ir_r2_k5_s2_e6_c32-head64@64",
    "mbconv k5 se": "stem8-ir_r1_k5_s1_e1_c8-ir_r2_k5_s2_e6_c16_se0.25-ir_r3_k5_s2_e4_c32_se0.25-head64@64",
    "early expansion": "stem16-ir_r1_k3_s1_e6_c16_se0.25-ir_r1_k3_s2_e6_c64-head64@64",
    "wide maps": "stem32-er_r1_k3_s1_e6_c32-ir_r1_k3_s2_e1_c16-head64@64",
    "deep weights": "stem8-er_r1_k3_s2_e1_c8-er_r1_k3_s2_e4_c16-er_r2_k3_s2_e6_c96-head256@32",
}
MODES = ("float32-contiguous", "float32-channels_last", "float32-channels_last-small_maps", "bfloat16-channels_last")
QUICK, SLOW = range(2), range(2, 23)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """oneDNN works with some memory for each thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def relative_error(
    architecture: Architecture,
    *,
    mode: str = "float32-contiguous",
    batch_size: int = 16,
    resolution: int | None = None,
    num_classes: int = 10,
    in_channels: int = 3,
    optimizer: str = "adamw",
    micro_batches: int = 1,
    activation_checkpointing: bool = False,
) -> float:
    """Predicted ÷ measured - 1."""
    predicted = predict_peak_memory(
        architecture,
        batch_size=batch_size,
        resolution=resolution,
        mode=parse_mode(mode),
        num_classes=num_classes,
        in_channels=in_channels,
        optimizer=optimizer,
        micro_batches=micro_batches,
        activation_checkpointing=activation_checkpointing,
        device_kind="cpu",
    )
    measured = measure_peak_memory(
        architecture,
        batch_size=batch_size,
        resolution=resolution,
        mode=parse_mode(mode),
        num_classes=num_classes,
        in_channels=in_channels,
        train=TrainConfig(optimizer=optimizer),  # type: ignore[arg-type]
        micro_batches=micro_batches,
        activation_checkpointing=activation_checkpointing,
        device=CPU,
    )
    print(f"{architecture} {mode} {batch_size=} {resolution=} {num_classes=} {optimizer} {micro_batches=}:")
    print(f"predicted {predicted / MIB:.2f} MiB, measured {measured / MIB:.2f} MiB: {predicted / measured - 1:+.1%}")
    return predicted / measured - 1


@pytest.mark.parametrize("mode", [MODES[0], *MODES[2:]])
@pytest.mark.parametrize("name", STAGES)
def test_prediction_agrees_with_the_allocator(name: str, mode: str) -> None:
    # Whether oneDNN copies a pointwise convolution's maps that do not lie channels last depends on batch and threads.
    most = 0.25 if mode == "float32-contiguous" and name == "wide maps" else 0.06
    assert -0.06 < relative_error(parse(STAGES[name]), mode=mode, batch_size=8) < most


@pytest.mark.parametrize(
    ("mode", "batch_size", "resolution"), [("float32-channels_last", 8, 64), ("bfloat16-channels_last", 16, 33)]
)
def test_prediction_agrees_for_v2_b0(mode: str, batch_size: int, resolution: int) -> None:
    assert abs(relative_error(B0, mode=mode, batch_size=batch_size, resolution=resolution, num_classes=1000)) < 0.03


@pytest.mark.parametrize(("batch_size", "resolution"), [(2, 75), (9, 33), (40, 32)])
def test_prediction_agrees_for_batches_and_sizes(batch_size: int, resolution: int) -> None:
    architecture = parse(STAGES["mbconv k5 se"])
    assert abs(relative_error(architecture, batch_size=batch_size, resolution=resolution)) < 0.06


@pytest.mark.parametrize("mode", ["float32-channels_last", "bfloat16-channels_last"])
@pytest.mark.parametrize(("num_classes", "in_channels"), [(2, 1), (20_000, 4)])
def test_prediction_agrees_for_classes_and_channels(num_classes: int, in_channels: int, mode: str) -> None:
    architecture = parse(STAGES["mbconv k3"])
    assert abs(relative_error(architecture, mode=mode, num_classes=num_classes, in_channels=in_channels)) < 0.06


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_prediction_agrees_for_every_optimizer(optimizer: str) -> None:
    architecture = parse(STAGES["deep weights"])
    assert abs(relative_error(architecture, batch_size=2, optimizer=optimizer)) < 0.05


@pytest.mark.parametrize(("name", "micro_batches"), [("mbconv k5 se", 3), ("deep weights", 2), ("deep weights", 8)])
def test_prediction_agrees_for_a_batch_in_parts(name: str, micro_batches: int) -> None:
    assert abs(relative_error(parse(STAGES[name]), micro_batches=micro_batches)) < 0.06


@pytest.mark.parametrize("mode", ["float32-channels_last", "bfloat16-channels_last"])
@pytest.mark.parametrize("name", ["fused se", "mbconv k3", "mbconv k5 se", "early expansion", "deep weights"])
def test_prediction_agrees_for_checkpointed_activations(name: str, mode: str) -> None:
    assert abs(relative_error(parse(STAGES[name]), mode=mode, batch_size=8, activation_checkpointing=True)) < 0.05


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_prediction_agrees_for_v2_b0_with_checkpointed_activations(micro_batches: int) -> None:
    error = relative_error(
        B0, mode="float32-channels_last", batch_size=8, resolution=64, num_classes=1000, micro_batches=micro_batches,
        activation_checkpointing=True,
    )  # fmt: skip
    assert abs(error) < 0.03


def error_of_a_member(space: SearchSpace, seed: int) -> float:
    print(f"{space.name} {seed=}")
    rng = random.Random(seed)
    return relative_error(
        space.sample(rng),
        mode=rng.choice(MODES),
        batch_size=rng.choice((4, 8, 16)),
        resolution=rng.choice((32, 64, 75)),
        num_classes=rng.choice((10, 1000)),
        optimizer=rng.choice(("adamw", "sgd")),
        micro_batches=rng.choice((1, 1, 2)) if seed % 2 else 1,
    )


def small_spaces() -> tuple[SearchSpace, SearchSpace]:
    return get_space("efficientnetv2", scale=(0.25, 0.5)), get_space("mnasnet")


def test_prediction_agrees_for_random_members() -> None:
    errors = [error_of_a_member(space, seed) for space in small_spaces() for seed in QUICK]
    assert max(map(abs, errors)) < 0.1


@pytest.mark.slow
def test_prediction_agrees_for_many_random_members() -> None:
    spaces = (*small_spaces(), get_space("efficientnetv2", scale="b0"))
    errors = [abs(error_of_a_member(space, seed)) for space in spaces for seed in SLOW]
    print(f"median {statistics.median(errors):.2%}, worst {max(errors):.2%}")
    assert statistics.median(errors) < 0.02
    assert max(errors) < 0.15


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_keep_what_is_predicted(optimizer: str) -> None:
    architecture = parse(STAGES["fused"])
    network = build(architecture, num_classes=10)
    real = make_optimizer(network, TrainConfig(optimizer=optimizer))  # type: ignore[arg-type]
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    real.step()
    kept = [value for state in real.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    numbers = sum(value.numel() for value in kept if value.ndim > 0)
    assert numbers == OPTIMIZERS[optimizer][0] * sum(weight.numel() for weight in network.parameters())


def test_prediction_of_a_network_small_enough_to_add_up_by_hand() -> None:
    """2 images of 8 px, so maps of 4 px behind the stem, 2 px behind the block."""
    architecture = parse("stem8-ir_r1_k3_s2_e1_c16-head32@8")
    numbers = 27 * 8 + 9 * 8 + 8 * 16 + 16 * 32 + 2 * (8 + 8 + 16 + 32) + 33 * 3
    statistics_of_norms = 2 * 4 * (8 + 8 + 16 + 32) + 4 * 8
    batch = 2 * (3 * 8 * 8 * 4 + 8)
    always = 4 * numbers * (1 + 1) + statistics_of_norms + batch + 2 * 3 * 4
    stem, depthwise, projection, head = (2 * channels * pixels * 4 for channels, pixels in
                                         ((8, 16), (8, 4), (16, 4), (32, 4)))  # fmt: skip
    norms = 2 * 4 * 8
    kept_by_stem = 3 * stem + norms
    kept_by_block = 3 * depthwise + norms + 2 * projection + 2 * norms
    # The highest point: the head's activation is undone; its gradient and the new one lie beside both kept maps.
    classifier = 4 * 33 * 3
    at_head = always + kept_by_stem + kept_by_block + 4 * head + classifier
    # Or: all gradients are there but the stem's, whose activation is undone.
    at_stem = always + 4 * stem + 4 * (numbers - 27 * 8 - 2 * 8)
    # Or: the depthwise convolution passes its gradient on.
    at_depthwise = always + kept_by_stem + depthwise + stem + 4 * (numbers - 27 * 8 - 2 * 8 - 2 * 8)
    predicted = predict_peak_memory(architecture, batch_size=2, num_classes=3, optimizer="sgd", device_kind="cuda")
    assert predicted == max(at_head, at_stem, at_depthwise)


def test_peak_is_the_most_that_was_held_at_once() -> None:
    before = torch.zeros(5 * MIB)

    def prepare() -> Work:
        kept = torch.ones(MIB)
        torch.ones(2 * MIB).sum()

        def work() -> None:
            for size in (3, 1):
                (kept[:1] + torch.ones(size * MIB)).sum()

        return work

    # The longest list is held twice, by itself and by the sum, beside what was prepared.
    assert measure_cpu_peak(prepare) == pytest.approx(4 * MIB * (1 + 3 + 3), rel=1e-4)
    assert before.numel() == 5 * MIB


def test_measuring_says_nothing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    measure_cpu_peak(lambda: lambda: torch.ones(10))
    assert capfd.readouterr() == ("", "")
    assert "KINETO_LOG_LEVEL" not in os.environ


def test_too_little_memory_makes_a_candidate_infeasible() -> None:
    def fail(prepare: Prepare) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    device = dataclasses.replace(CPU, measure_peak=fail)
    with pytest.raises(InfeasibleError, match="out of memory on cpu: CUDA out of memory"):
        measure_peak_memory(B0, batch_size=2, device=device)


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"optimizer must be one of adamw, sgd, .*got 'adagrad'"):
        predict_peak_memory(B0, batch_size=2, optimizer="adagrad")


def test_predicting_needs_no_torch() -> None:
    code = "import sys, proxies.memory; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_fewest_parts_that_fit_are_taken() -> None:
    def predict(parts: int) -> int:
        return predict_peak_memory(B0, batch_size=24, micro_batches=parts)

    # 16 parts would leave one image in some.
    sizes = {parts: predict(parts) for parts in (1, 2, 4, 8)}
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    for parts, size in sizes.items():
        assert fit_micro_batches(predict, size, batch_size=24) == parts
    assert fit_micro_batches(predict, sizes[8] - 1, batch_size=24) is None


@pytest.mark.parametrize(("batch_size", "expected"), [(1, [1]), (2, [1]), (3, [1]), (4, [1, 2]), (31, [1, 2, 4, 8])])
def test_parts_are_tried_as_long_as_they_hold_two_images(batch_size: int, expected: list[int]) -> None:
    tried = []

    def predict(parts: int) -> int:
        tried.append(parts)
        return 1

    assert fit_micro_batches(predict, 0, batch_size=batch_size) is None
    assert tried == expected


@pytest.mark.parametrize(("batch_size", "micro_batches"), [(8, 3), (9, 4), (5, 1), (1, 1), (6, 3)])
def test_the_largest_part_is_pytorchs(batch_size: int, micro_batches: int) -> None:
    parts = torch.arange(batch_size).tensor_split(micro_batches)
    assert largest_part(batch_size, micro_batches) == max(map(len, parts))


@pytest.mark.parametrize(("batch_size", "micro_batches"), [(8, 0), (8, 5), (1, 2)])
def test_parts_of_one_image_are_refused(batch_size: int, micro_batches: int) -> None:
    with pytest.raises(ValueError, match="micro_batches must be at least 1 and leave 2 images in each part"):
        largest_part(batch_size, micro_batches)


RESIDENT = """
import ctypes, dataclasses, gc, sys
import torch
from proxies.device import find_device
from proxies.memory_measurement import measure_peak_memory
from search_spaces.architecture import parse

def resident(field):
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines[field].split()[0]) * 1024

def run(text, **setting):
    measure_peak_memory(parse(text), device=device, **setting)

torch.set_num_threads(1)
device = dataclasses.replace(find_device("cpu"), measure_peak=lambda prepare: prepare()())
libc = ctypes.CDLL("libc.so.6")
# Freed memory goes back at once, so that the process holds what the allocator gave out and little more.
for parameter, value in ((-1, 65536), (-3, 65536)):
    libc.mallopt(parameter, value)
run("stem8-er_r1_k3_s1_e4_c8-ir_r1_k5_s2_e4_c8_se0.25-head8@32", batch_size=2)
gc.collect()
libc.malloc_trim(0)
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
run(sys.argv[1], batch_size=16, resolution=128)
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's own peak")
def test_the_allocator_counts_what_the_process_takes() -> None:
    run = subprocess.run([sys.executable, "-c", RESIDENT, str(B0)], check=True, capture_output=True, text=True)
    resident, counted = int(run.stdout), measure_peak_memory(B0, batch_size=16, resolution=128, device=CPU)
    print(f"process {resident / MIB:.1f} MiB, allocator {counted / MIB:.1f} MiB: {counted / resident - 1:+.1%}")
    assert 0.9 < counted / resident < 1.02


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["float32-contiguous", "bfloat16-channels_last", "float16-channels_last"])
@pytest.mark.parametrize("micro_batches", [1, 4])
def test_on_cuda_prediction_agrees_with_the_allocator(mode: str, micro_batches: int) -> None:
    """Within what cuDNN works with, which is not predicted."""
    device = find_device("cuda")
    execution = parse_mode(mode)
    predicted = predict_peak_memory(
        B0, batch_size=128, mode=execution, micro_batches=micro_batches, device_kind=device.kind
    )
    measured = measure_peak_memory(B0, batch_size=128, mode=execution, micro_batches=micro_batches, device=device)
    print(f"predicted {predicted / MIB:.1f} MiB, measured {measured / MIB:.1f} MiB")
    assert 0.75 < predicted / measured < 1.1


@pytest.mark.gpu
def test_on_cuda_only_what_was_prepared_is_counted() -> None:
    device = find_device("cuda")
    others = torch.zeros(64 * MIB, device=device.torch_device)
    small = measure_peak_memory(parse(STAGES["fused"]), batch_size=2, mode=PLAIN, device=device)
    assert small < 4 * others.numel()
