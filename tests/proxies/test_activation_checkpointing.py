"""Computed twice, learned once: a network with checkpointed activations against the same one without."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from proxies.activation_checkpointing import checkpoint_activations
from proxies.device import Device, find_device
from proxies.execution import parse_mode
from proxies.memory_measurement import measure_peak_memory
from proxies.training.config import TrainConfig
from proxies.training_step import make_training_step
from search_spaces.architecture import parse
from search_spaces.network import build

ARCHITECTURE = parse("stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16-ir_r2_k5_s2_e4_c24_se0.25-head32@32")
CPU = find_device("cpu")
Change = Callable[[nn.Module], object]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def leave(network: nn.Module) -> None:
    """Without checkpointing."""


def tiny_network(*, drop_rate: float = 0.3) -> Any:
    with CPU.seeded(0):
        return build(ARCHITECTURE, num_classes=5, drop_rate=drop_rate, drop_path_rate=drop_rate).train()


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 32, 32, generator=generator).to(dtype), torch.randint(5, (8,), generator=generator)


def backward(network: nn.Module, seed: int = 1) -> Tensor:
    """Gradients are added; dropout and stochastic depth fall as the seed says."""
    images, labels = batch(next(network.parameters()).dtype)
    with CPU.seeded(seed):
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()
    return loss.detach()


def gradients(network: nn.Module) -> list[Tensor]:
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    """Gradients to rounding, everything else exactly."""
    assert len(gradients(ours)) == len(list(theirs.parameters()))
    for our_gradient, gradient in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(our_gradient, gradient, rtol=1e-6, atol=1e-12)
    found = dict(ours.named_buffers())
    for name, value in theirs.named_buffers():
        assert torch.equal(found[name], value), name


def test_gradients_and_running_averages_are_those_without() -> None:
    plain, ours = tiny_network().double(), tiny_network().double()
    checkpoint_activations(ours)
    for seed in range(3):
        assert torch.equal(backward(ours, seed), backward(plain, seed))
        assert_equal(ours, plain)
    assert ours.bn1.num_batches_tracked == ours.blocks[2][1].bn1.num_batches_tracked == 3


def test_timms_own_moves_running_averages_twice() -> None:
    plain, theirs = tiny_network().double(), tiny_network().double()
    theirs.set_grad_checkpointing(True)
    start = plain.blocks[2][1].bn1.running_mean.clone()
    for network in (plain, theirs):
        backward(network)
    once, twice = (network.blocks[2][1].bn1 for network in (plain, theirs))
    assert (once.num_batches_tracked, twice.num_batches_tracked) == (1, 2)
    statistic = (once.running_mean - (1 - 0.1) * start) / 0.1
    torch.testing.assert_close(twice.running_mean, 0.9 * (0.9 * start + 0.1 * statistic) + 0.1 * statistic)


def test_it_is_batch_norms_own_momentum_that_counts() -> None:
    plain, ours = tiny_network().double(), tiny_network().double()
    checkpoint_activations(ours)
    for network in (plain, ours):
        network.blocks[1][0].bn1.momentum = 0.01
        network.blocks[1][1].bn1.momentum = None  # The mean of all batches.
        for seed in range(3):
            backward(network, seed)
    assert_equal(ours, plain)
    assert ours.blocks[1][0].bn1.momentum == 0.01
    assert ours.blocks[1][1].bn1.momentum is None


def test_names_stay_and_copies_stand_alone() -> None:
    plain, ours = tiny_network(), tiny_network()
    checkpoint_activations(ours)
    checkpoint_activations(ours)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert list(ours.state_dict()) == list(plain.state_dict())
    twin = copy.deepcopy(ours)
    backward(twin)
    assert gradients(ours) == []
    assert ours.bn1.num_batches_tracked == ours.blocks[0][0].bn1.num_batches_tracked == 0
    assert twin.blocks[0][0].bn1.num_batches_tracked == 1


def test_outputs_are_those_without_where_nothing_learns() -> None:
    plain, ours = tiny_network().eval(), tiny_network().eval()
    checkpoint_activations(ours)
    images, _ = batch(torch.float32)
    assert torch.equal(ours(images), plain(images))
    with torch.inference_mode():
        assert torch.equal(ours(images), plain(images))


def test_frozen_norms_are_left_alone() -> None:
    plain, ours = tiny_network().double(), tiny_network().double()
    checkpoint_activations(ours)
    for network in (plain, ours):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        backward(network)
    assert_equal(ours, plain)
    assert ours.blocks[0][0].bn1.num_batches_tracked == 0


@pytest.mark.parametrize("mode", ["bfloat16-contiguous", "bfloat16-channels_last-small_maps", "float32-channels_last"])
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_whole_steps_are_those_without(mode: str, micro_batches: int) -> None:
    steps = []
    for change in (leave, checkpoint_activations):
        network = tiny_network()
        step = make_training_step(
            network, config=TrainConfig(optimizer="sgd", lr=0.05), mode=parse_mode(mode), device=CPU,
            micro_batches=micro_batches,
        )  # fmt: skip
        change(network)
        for seed in range(2):
            with CPU.seeded(seed):
                step(*batch(torch.float32))
        steps.append(step)
    plain, ours = steps
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(ours.network.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)
    counts = {value.item() for name, value in ours.network.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {2 * micro_batches}


def test_processes_that_share_a_batch_learn_as_without(tmp_path: Path) -> None:
    """Wrapped before and after: what is wrapped is the same network."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        plain, before, after = (tiny_network().double() for _ in range(3))
        checkpoint_activations(before)
        wrapped = [DistributedDataParallel(network) for network in (plain, before, after)]
        checkpoint_activations(after)
        for seed in range(2):
            for network in wrapped:
                backward(network, seed)
        assert_equal(before, plain)
        assert_equal(after, plain)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_networks_learn_as_without() -> None:
    """With the compiler's partition into forward and backward, but no C++: generating that takes minutes."""
    plain, ours = (tiny_network(drop_rate=0.0).double() for _ in range(2))
    checkpoint_activations(ours)
    compiled = torch.compile(ours, backend="aot_eager_decomp_partition")
    for network in (plain, compiled):
        backward(network)  # type: ignore[arg-type]
    for our_gradient, gradient in zip(gradients(ours), gradients(plain), strict=True):
        torch.testing.assert_close(our_gradient, gradient, rtol=1e-6, atol=1e-10)
    for name, value in plain.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, rtol=1e-9, atol=1e-12, msg=name)


def peaks(text: str, device: Device, *, batch_size: int = 8, mode: str = "float32-channels_last") -> tuple[int, int]:
    """Without and with checkpointing."""
    plain, ours = (
        measure_peak_memory(
            parse(text), batch_size=batch_size, mode=parse_mode(mode), num_classes=10, device=device,
            activation_checkpointing=enabled,
        )
        for enabled in (False, True)
    )  # fmt: skip
    print(f"{plain / 2**20:.1f} MiB without, {ours / 2**20:.1f} MiB with")
    return plain, ours


DEEP = "stem8-er_r1_k3_s1_e1_c8-ir_r4_k3_s2_e6_c16-ir_r4_k3_s2_e6_c24-head64@64"


def test_less_memory_is_held() -> None:
    plain, ours = peaks(DEEP, CPU)
    assert ours < 0.5 * plain


@pytest.mark.parametrize("network", [nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1)])
def test_a_network_without_stages_is_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="only networks of stages of blocks checkpoint activations, got"):
        checkpoint_activations(network)


@pytest.mark.gpu
def test_on_cuda_everything_is_as_without_but_memory() -> None:
    device = find_device("cuda")
    plain, ours = (tiny_network().double().cuda() for _ in range(2))
    checkpoint_activations(ours)
    images, labels = (value.cuda() for value in batch())
    for network in (plain, ours):
        with device.seeded(3):
            functional.cross_entropy(network(images), labels).backward()
    assert_equal(ours, plain)
    without, within = peaks(DEEP, device, batch_size=64, mode="bfloat16-channels_last")
    assert within < 0.5 * without
