"""A few training steps whose gradients are kept, by one process or by several that share every batch."""

import torch
from torch import Tensor

from proxies.data.passes import share_of
from proxies.device import find_device
from proxies.execution import PLAIN
from proxies.training.config import TrainConfig
from proxies.training_step import TrainingStep, make_training_step
from search_spaces.architecture import parse
from search_spaces.network import build

WORLD_SIZE = 2
TINY = parse("stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r2_k3_s2_e4_c24_se0.25-head32@16")
CONFIG = TrainConfig(optimizer="sgd", lr=0.05, weight_decay=1e-4, label_smoothing=0.1, ema_decay=0.9)
NUM_IMAGES = 16
NUM_STEPS = 3


def make_step(micro_batches: int, world_size: int = 1) -> TrainingStep:
    cpu = find_device("cpu")
    with cpu.seeded(0):
        network = build(TINY, num_classes=5, in_channels=3).double()
    return make_training_step(
        network, config=CONFIG, mode=PLAIN, device=cpu, micro_batches=micro_batches, world_size=world_size
    )


def batch(number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(NUM_IMAGES, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, torch.randint(5, (NUM_IMAGES,), generator=generator)


def gradients_of_steps(step: TrainingStep, *, rank: int = 0, world_size: int = 1) -> dict[str, object]:
    """Gradients of each step before it is taken, and the weights in the end."""
    part = share_of(NUM_IMAGES, rank, world_size)
    gradients, losses = [], []
    for number in range(NUM_STEPS):
        images, labels = batch(number)
        losses.append(step.backward(images[part], labels[part]))
        named = step.network.named_parameters()
        gradients.append({name: weight.grad.clone() for name, weight in named if weight.grad is not None})
        step.update()
        step.average_weights(number + 1)
    assert step.ema is not None
    weights = {name: weight.detach() for name, weight in step.network.named_parameters()}
    averaged = {name: weight.detach() for name, weight in step.ema.module.named_parameters()}
    return {"gradients": gradients, "losses": losses, "weights": weights, "averaged": averaged}
