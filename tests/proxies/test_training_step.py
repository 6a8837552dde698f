"""One step of training does what a plain PyTorch loop does."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from proxies.device import Device, find_device
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.training.config import TrainConfig
from proxies.training.optimizer import make_optimizer
from proxies.training_step import TrainingStep, make_training_step
from search_spaces.architecture import parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r2_k3_s2_e4_c24_se0.25-ir_r1_k5_s2_e4_c32_se0.25-head64@32")
CPU = find_device("cpu")
# The square root of its denominator makes AdamW's first steps sensitive to rounding; a plain SGD is not.
CONFIG = TrainConfig(optimizer="sgd", lr=0.05, weight_decay=1e-4, label_smoothing=0.1)


def tiny_network(seed: int = 0) -> nn.Module:
    with CPU.seeded(seed):
        return build(TINY, num_classes=5, in_channels=3)


def batch(device: Device = CPU, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(8, 3, 32, 32, generator=generator), torch.randint(5, (8,), generator=generator)
    return images.to(device.torch_device), labels.to(device.torch_device)


def make_step(mode: ExecutionMode = PLAIN, device: Device = CPU, **settings: object) -> TrainingStep:
    config = CONFIG.model_copy(update=settings)
    return make_training_step(tiny_network(), config=config, mode=mode, device=device)


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("mode", ["float32-contiguous", "float32-channels_last", "float32-channels_last-small_maps"])
def test_steps_move_the_weights_as_a_plain_loop_does(mode: str) -> None:
    step = make_step(parse_mode(mode))
    theirs = tiny_network()
    decayed = [weight for weight in theirs.parameters() if weight.ndim > 1]
    undecayed = [weight for weight in theirs.parameters() if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": 1e-4}, {"params": undecayed}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    for number in range(3):
        images, labels = batch(seed=number)
        loss = step(images, labels)
        optimizer.zero_grad()
        their_loss = functional.cross_entropy(theirs(images), labels, label_smoothing=0.1)
        their_loss.backward()
        optimizer.step()
        torch.testing.assert_close(loss, their_loss.detach(), rtol=1e-4, atol=1e-4)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(step.network.state_dict()[name], value, rtol=1e-2, atol=2e-3, msg=name)


def test_the_two_halves_make_a_step() -> None:
    whole, halves = make_step(), make_step()
    loss = whole(*batch())
    assert torch.equal(halves.backward(*batch()), loss)
    assert all(weight.grad is not None for weight in halves.network.parameters())
    halves.update()
    assert all(weight.grad is None for weight in halves.network.parameters())
    for ours, theirs in zip(whole.network.parameters(), halves.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def make_exact_step(micro_batches: int, *, norms_learn: bool, dtype: str = "float32") -> TrainingStep:
    """In float64, or rounded by autocast; normalised by what was seen before unless norms learn."""
    step = make_training_step(
        tiny_network(), config=CONFIG, mode=parse_mode(f"{dtype}-contiguous"), device=CPU, micro_batches=micro_batches
    )
    step.network.to(torch.float64 if dtype == "float32" else torch.float32).train(norms_learn)
    return step


def gradients_of(network: nn.Module) -> list[Tensor]:
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("micro_batches", [2, 3, 4])
def test_gradients_and_loss_of_parts_add_up_to_those_of_the_batch(micro_batches: int) -> None:
    """3 parts of 8 images are of different sizes."""
    images, labels = batch()
    whole, parts = (make_exact_step(number, norms_learn=False) for number in (1, micro_batches))
    expected = whole.backward(images.double(), labels)
    torch.testing.assert_close(parts.backward(images.double(), labels), expected, rtol=1e-12, atol=0)
    assert len(gradients_of(parts.network)) == len(list(parts.network.parameters()))
    for ours, theirs in zip(gradients_of(parts.network), gradients_of(whole.network), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


def test_batch_norm_sees_each_part_alone() -> None:
    images, labels = batch()
    images = images.double()
    whole, parts = (make_exact_step(number, norms_learn=True) for number in (1, 3))
    whole.backward(images, labels)
    loss = parts.backward(images, labels)
    by_hand = tiny_network().double().train()
    expected = 0.0
    for start, end in ((0, 3), (3, 6), (6, 8)):
        part_loss = functional.cross_entropy(by_hand(images[start:end]), labels[start:end], label_smoothing=0.1)
        (part_loss * (end - start) / 8).backward()
        expected += part_loss.item() * (end - start) / 8
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    for ours, theirs in zip(gradients_of(parts.network), gradients_of(by_hand), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, msg=name)
    differences = zip(gradients_of(parts.network), gradients_of(whole.network), strict=True)
    assert max(((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in differences) > 0.1


def test_running_averages_move_once_for_each_part() -> None:
    """By hand: the first norm's mean over each part's maps, a tenth of the way each."""
    images, labels = batch()
    step = make_exact_step(4, norms_learn=True)
    network: Any = step.network
    expected = network.bn1.running_mean.clone()
    for part in images.double().split(2):
        with torch.no_grad():
            expected += 0.1 * (network.conv_stem(part).mean((0, 2, 3)) - expected)
    step.backward(images.double(), labels)
    torch.testing.assert_close(network.bn1.running_mean, expected, rtol=1e-9, atol=1e-12)
    assert network.bn1.num_batches_tracked == 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounded_gradients_of_parts_add_up_too(dtype: str) -> None:
    whole, parts = (make_exact_step(number, norms_learn=False, dtype=dtype) for number in (1, 4))
    for step in (whole, parts):
        step.backward(*batch())
    assert parts.loss_scale == whole.loss_scale
    for ours, theirs in zip(gradients_of(parts.network), gradients_of(whole.network), strict=True):
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_a_step_in_parts_is_one_step() -> None:
    step = make_exact_step(4, norms_learn=True)
    moves: list[None] = []
    step.optimizer.register_step_post_hook(lambda *_: moves.append(None))
    images, labels = batch()
    losses = [step(images.double(), labels).item() for _ in range(10)]
    assert len(moves) == 10
    assert losses[-1] < losses[0]


def test_a_batch_too_small_for_its_parts_is_refused() -> None:
    step = make_exact_step(5, norms_learn=True)
    with pytest.raises(
        ValueError, match=r"micro_batches must be .* leave 2 images in each part, got 5 for a batch of 8"
    ):
        step(*batch())


def test_the_loss_needs_no_gradient_and_no_copy_to_the_host() -> None:
    loss = make_step()(*batch())
    assert loss.shape == ()
    assert not loss.requires_grad


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_keeps_float32_weights_and_learns(dtype: str) -> None:
    step = make_step(parse_mode(f"{dtype}-channels_last"), lr=0.02)
    losses = [step(*batch()).item() for _ in range(12)]
    assert {weight.dtype for weight in step.network.parameters()} == {torch.float32}
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def test_float16_scales_the_loss_and_others_do_not() -> None:
    assert make_step(parse_mode("float16-contiguous")).loss_scale > 1
    assert make_step(parse_mode("bfloat16-contiguous")).loss_scale == 1
    assert make_step().loss_scale == 1


@pytest.mark.parametrize("name", ["adamw", "sgd", "nadamw", "rmsproptf", "lamb", "lion"])
def test_every_optimizer_of_the_settings_learns(name: str) -> None:
    lr = 0.05 if name == "sgd" else 1e-3
    step = make_step(optimizer=name, lr=lr, weight_decay=0.01)
    losses = [step(*batch()).item() for _ in range(10)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_fused_optimizers_take_the_step_of_their_loops(name: str) -> None:
    network = tiny_network()
    config = TrainConfig(optimizer=name, lr=0.01, weight_decay=0.1)  # type: ignore[arg-type]
    optimizer = make_optimizer(network, config)
    assert optimizer.defaults["fused"]
    theirs = tiny_network()
    groups = [
        {"params": [w for w in theirs.parameters() if w.ndim > 1], "weight_decay": 0.1},
        {"params": [w for w in theirs.parameters() if w.ndim <= 1], "weight_decay": 0.0},
    ]
    plain: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, lr=0.01, foreach=False)
        if name == "adamw"
        else torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, foreach=False)
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for ours, other in zip(network.parameters(), theirs.parameters(), strict=True):
            ours.grad = torch.randn(ours.shape, generator=generator)
            other.grad = ours.grad.clone()
        optimizer.step()
        plain.step()
    for ours, other in zip(network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_on_cuda_every_mode_learns(dtype: str, layout: str) -> None:
    device = find_device("cuda")
    step = make_step(parse_mode(f"{dtype}-{layout}"), device, lr=0.02)
    images, labels = batch(device)
    losses = [step(images, labels) for _ in range(15)]
    assert all(loss.device == device.torch_device for loss in losses)
    values = torch.stack(losses).cpu()
    assert torch.isfinite(values).all()
    assert values[-1] < values[0]
    assert {weight.dtype for weight in step.network.parameters()} == {torch.float32}


@pytest.mark.gpu
def test_on_cuda_a_step_does_not_wait_for_the_device() -> None:
    device = find_device("cuda")
    step = make_step(PLAIN, device)
    images, labels = batch(device)
    step(images, labels)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(images, labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
