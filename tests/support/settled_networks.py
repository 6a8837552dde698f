"""Networks as if trained: random weights, and the running statistics that images leave in their batch norms."""

import math

import torch
from torch import Tensor, nn


def images(size: int = 64, number: int = 2, in_channels: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(number, in_channels, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def settle(network: nn.Module, seed: int = 0, in_channels: int = 3, size: int = 64) -> nn.Module:
    """Randomise in place; the statistics keep the logits of moderate size at any depth. In evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, math.sqrt(2 / parameter[0].numel()), generator=generator)
        else:
            parameter.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(images(size, number=8, in_channels=in_channels, seed=seed))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


@torch.no_grad()
def logits(network: nn.Module, size: int = 64, in_channels: int = 3) -> Tensor:
    return network.eval()(images(size, in_channels=in_channels))


def require_equal(actual: Tensor, expected: Tensor) -> None:
    """To 1e-5, on signals that are neither dead nor so large that this would mean nothing."""
    assert expected.isfinite().all()
    assert 0.1 < expected.std() < 100
    assert (actual - expected).abs().max() <= 1e-5
