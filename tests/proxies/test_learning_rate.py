"""The learning rate over a training equals PyTorch's own schedules, step by step."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR

from proxies.training.config import TrainConfig
from proxies.training.schedule import LearningRate, learning_rate_of

STEPS_PER_EPOCH = 4


def rate_at(rate: LearningRate, step: int, steps_per_epoch: int = STEPS_PER_EPOCH) -> float:
    return rate.at(step / steps_per_epoch, (step + 1) / steps_per_epoch)


def torch_rates(optimizer: torch.optim.Optimizer, schedule: LRScheduler, num_steps: int) -> list[float]:
    rates = []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def test_warmup_and_cosine_equal_pytorchs() -> None:
    optimizer = sgd(0.8)
    warmup = LinearLR(optimizer, start_factor=1 / 4, end_factor=1.0, total_iters=3)
    cosine = CosineAnnealingLR(optimizer, T_max=16)
    theirs = torch_rates(optimizer, SequentialLR(optimizer, [warmup, cosine], milestones=[4]), 20)
    ours = LearningRate(peak=0.8, num_epochs=5, warmup_epochs=1)
    assert [rate_at(ours, step) for step in range(20)] == pytest.approx(theirs, abs=1e-9)


def test_exponential_steps_equal_pytorchs() -> None:
    """Twelve steps are 2.4 epochs of five: a power of 0.97 after each twelve, as in the paper."""
    optimizer = sgd(0.256)
    theirs = torch_rates(optimizer, StepLR(optimizer, step_size=12, gamma=0.97), 100)
    ours = LearningRate(peak=0.256, num_epochs=20, shape="exponential", decay=0.97, decay_epochs=2.4)
    assert [rate_at(ours, step, 5) for step in range(100)] == pytest.approx(theirs)


def test_the_warmup_swallows_the_first_exponential_steps() -> None:
    rate = LearningRate(peak=1.0, num_epochs=350, warmup_epochs=5, shape="exponential")
    assert rate.at(2.5, 2.6) == pytest.approx(2.6 / 5)
    assert rate.at(5.0, 5.1) == pytest.approx(0.97**2)


def test_a_constant_rate_stays() -> None:
    rate = LearningRate(peak=0.1, num_epochs=3, warmup_epochs=1, shape="constant")
    assert [rate.at(epoch, epoch + 1) for epoch in range(3)] == [0.1, 0.1, 0.1]


def test_the_number_of_steps_in_an_epoch_changes_nothing_at_its_borders() -> None:
    rate = LearningRate(peak=1.0, num_epochs=10, warmup_epochs=2)
    assert rate_at(rate, 50, 10) == rate_at(rate, 500, 100) == rate.at(5, 5.1)


@pytest.mark.parametrize(
    ("warmup_epochs", "epochs", "expected"), [(1.0, 8, 1), (0.0, 8, 0), (0.25, 8, 0.25), (1.0, 1, 0.5), (9.0, 2, 1)]
)
def test_a_configured_warmup_takes_at_most_half_of_the_training(
    warmup_epochs: float, epochs: int, expected: float
) -> None:
    rate = learning_rate_of(TrainConfig(warmup_epochs=warmup_epochs), epochs)
    assert (rate.warmup_epochs, rate.num_epochs) == (expected, epochs)


def test_a_warmup_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_epochs must lie in \[0, 5\], got 6"):
        LearningRate(peak=1.0, warmup_epochs=6, num_epochs=5)
