"""The optimizer of a training: timm's by name, in the fused form where there is one."""

import torch
from timm.optim import create_optimizer_v2

from .config import TrainConfig

_FUSED = ("adamw", "sgd")
"""Optimizers that update all weights in one kernel; PyTorch has them on CPU, CUDA and MPS."""


def make_optimizer(network: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the network's weights, which must lie on their device already.

    Biases and normalisation weights are not decayed. The learning rate is the peak until a schedule sets it.
    """
    if config.optimizer in _FUSED:
        return create_optimizer_v2(
            network, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
    return create_optimizer_v2(network, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay)
