"""The recipe of EfficientNet is TensorFlow's: its RMSProp, its moving average, its batch norm, each by hand."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from proxies.device import find_device
from proxies.execution import PLAIN
from proxies.training.config import TrainConfig
from proxies.training_step import TrainingStep, make_training_step
from search_spaces.architecture import parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@16")
CPU = find_device("cpu")
RECIPE = TrainConfig(
    optimizer="rmsproptf", optimizer_eps=1e-3, lr=0.05, weight_decay=1e-2, label_smoothing=0.1, norm_momentum=0.01
)


def network() -> nn.Module:
    with CPU.seeded(0):
        return build(TINY, num_classes=4, in_channels=1).double()


def batch(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 1, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(4, (6,), generator=generator)


def make_step(config: TrainConfig = RECIPE) -> TrainingStep:
    step = make_training_step(network(), config=config, mode=PLAIN, device=CPU)
    step.network.double()
    if step.ema is not None:
        step.ema.module.double()
    return step


def gradients_of(theirs: nn.Module, seed: int) -> dict[str, Tensor]:
    theirs.zero_grad()
    images, labels = batch(seed)
    functional.cross_entropy(theirs(images), labels, label_smoothing=0.1).backward()
    return {name: weight.grad for name, weight in theirs.named_parameters() if weight.grad is not None}


def test_rmsprop_is_tensorflows() -> None:
    """Epsilon inside the root, accumulators that begin at one, the learning rate in the momentum's buffer.

    As ``tf.compat.v1.train.RMSPropOptimizer`` documents it: ms ← 0.9 ms + 0.1 g², mom ← 0.9 mom + lr g ÷ √(ms + ε),
    w ← w - mom. Its decay is the gradient of ½ λ w², for kernels only.
    """
    step, theirs = make_step(), network()
    squares = {name: torch.ones_like(weight) for name, weight in theirs.named_parameters()}
    momenta = {name: torch.zeros_like(weight) for name, weight in theirs.named_parameters()}
    for number, lr in enumerate((0.05, 0.05, 0.01, 0.002)):
        step.set_learning_rate(lr)
        step(*batch(number))
        gradients = gradients_of(theirs, number)
        with torch.no_grad():
            for name, weight in theirs.named_parameters():
                gradient = gradients[name] + (1e-2 * weight if weight.ndim > 1 else 0)
                squares[name] = 0.9 * squares[name] + 0.1 * gradient**2
                momenta[name] = 0.9 * momenta[name] + lr * gradient / (squares[name] + 1e-3).sqrt()
                weight -= momenta[name]
        for name, weight in theirs.named_parameters():
            torch.testing.assert_close(dict(step.network.named_parameters())[name], weight, rtol=1e-9, atol=1e-11)


def test_neither_biases_nor_norms_decay() -> None:
    step = make_step()
    decayed = {
        id(weight) for group in step.optimizer.param_groups if group["weight_decay"] for weight in group["params"]
    }
    for name, weight in step.network.named_parameters():
        is_kernel = "bias" not in name and "bn" not in name
        assert (id(weight) in decayed) == is_kernel, name
    assert {group["weight_decay"] for group in step.optimizer.param_groups} == {0.0, 1e-2}


def test_the_average_follows_as_tensorflows_does() -> None:
    """``ExponentialMovingAverage(decay, num_updates=n)``: the decay is min(decay, (1 + n) ÷ (10 + n))."""
    step = make_step(RECIPE.model_copy(update={"ema_decay": 0.3}))
    assert step.ema is not None
    average = deepcopy(step.network.state_dict())
    decays = []
    for number in range(1, 7):
        step(*batch(number))
        step.average_weights(number)
        decays.append(min(0.3, (1 + number) / (10 + number)))
        for name, value in step.network.state_dict().items():
            if value.is_floating_point():
                average[name] = decays[-1] * average[name] + (1 - decays[-1]) * value
                torch.testing.assert_close(step.ema.module.state_dict()[name], average[name], rtol=1e-6, atol=1e-8)
            else:
                assert torch.equal(step.ema.module.state_dict()[name], value), "counts are not averaged"
    # By hand: 2/11, 3/12, 4/13, and from there the decay itself.
    assert decays == pytest.approx([0.181818, 0.25, 0.3, 0.3, 0.3, 0.3], abs=1e-6)
    assert step.judged_network is step.ema.module


def test_the_average_does_not_move_the_weights() -> None:
    with_average, without = make_step(RECIPE.model_copy(update={"ema_decay": 0.5})), make_step()
    for number in range(3):
        for step in (with_average, without):
            step(*batch(number))
            step.average_weights(number + 1)
    for ours, theirs in zip(with_average.network.parameters(), without.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("largest", [1e-3, 0.1, 1e6])
def test_gradients_are_clipped_as_pytorch_does(largest: float) -> None:
    config = TrainConfig(optimizer="sgd", lr=0.1, weight_decay=0.0, label_smoothing=0.1, clip_grad_norm=largest)
    step, theirs = make_step(config), network()
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for number in range(2):
        step(*batch(number))
        gradients_of(theirs, number)
        norm = nn.utils.clip_grad_norm_(theirs.parameters(), largest)
        assert (norm > largest) == (largest < 1), "both cases are met"
        optimizer.step()
    for ours, other in zip(step.network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-9, atol=1e-12)


def test_statistics_move_by_the_momentum() -> None:
    """TensorFlow's 0.99 keeps 0.99 of what was; PyTorch's word for it is 0.01."""
    step = make_step()
    norms = [module for module in step.network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.01}
    seen: list[Tensor] = []
    norms[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    step(*batch(0))
    mean, var = seen[0].mean((0, 2, 3)), seen[0].var((0, 2, 3))
    torch.testing.assert_close(norms[0].running_mean, 0.01 * mean)
    torch.testing.assert_close(norms[0].running_var, 0.99 + 0.01 * var)


def test_a_state_taken_up_drops_half_a_steps_gradients() -> None:
    step, other = make_step(), make_step()
    for each in (step, other):
        each(*batch(0))
    state = deepcopy(step.state())
    step.backward(*batch(7))
    step.load_state(state)
    for each in (step, other):
        each(*batch(1))
    for ours, theirs in zip(step.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
