"""The optimizer of a training: timm's by name, in the fused form where there is one."""

from typing import Any

import torch
from timm.optim import create_optimizer_v2

from .config import TrainConfig

_FUSED = ("adamw", "sgd")
"""Optimizers that update all weights in one kernel; PyTorch has them on CPU, CUDA and MPS."""
_WITHOUT_EPS = ("sgd", "lion")


def make_optimizer(network: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the network's weights, which must lie on their device already.

    Biases and normalisation weights are not decayed. The learning rate is the peak until a schedule sets it. Momentum
    is 0.9 wherever there is one; RMSProp decays by 0.9, too, as EfficientNetV2's (arXiv:2104.00298, section 5.1).

    Raises:
        ValueError: If an epsilon is given for an optimizer that has none.
    """
    if config.optimizer_eps is not None and config.optimizer in _WITHOUT_EPS:
        raise ValueError(f"optimizer {config.optimizer} has no epsilon, got {config.optimizer_eps}")
    settings: dict[str, Any] = {"fused": True} if config.optimizer in _FUSED else {}
    if config.optimizer_eps is not None:
        settings["eps"] = config.optimizer_eps
    return create_optimizer_v2(
        network, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, momentum=0.9, **settings
    )
