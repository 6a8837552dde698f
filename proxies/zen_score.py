"""The Zen-score: how sensitive a random network's features are to its input (arXiv:2102.01063, algorithm 1)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .nonlinearities import open_gates

STEP = 0.01
"""α: how far the disturbed input is from the input, in standard deviations."""


def zen_score(network: nn.Module, images: Tensor, generator: torch.Generator) -> float:
    """log E‖f(x) − f(x + α ε)‖ + Σ log σ̄ over batch norms, of the features before pooling, x and ε normal noise.

    As the paper has it, residual links are removed, all weights are drawn from N(0, 1), and σ̄² is the mean over
    channels of the variance that a batch norm divides by in the batch of x. The paper's networks have no gates: ours
    are open. Activations stay as they are.

    Args:
        network: With ``forward_features``, freshly built; it is used up.
        images: Only their number and size count, (N, C, H, W).
        generator: Of weights and noise, on the CPU.
    """
    open_gates(network)
    for module in network.modules():
        if hasattr(module, "has_skip"):
            module.has_skip = False  # type: ignore[assignment]  # timm's blocks have a flag, not a submodule
    _draw_weights(network, generator)
    spreads: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _module, inputs: spreads.append(_spread(inputs[0])))
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    inputs, noise = (torch.randn(images.shape, generator=generator).to(images) for _ in range(2))
    features: Any = network.train()
    with torch.no_grad():
        before = features.forward_features(inputs)
        for hook in hooks:
            hook.remove()
        after = features.forward_features(inputs + STEP * noise)
    distance = (before - after).flatten(1).double().norm(dim=1).mean()
    return _log(distance) + sum(map(_log, spreads))


def _draw_weights(network: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
                if module.bias is not None:
                    module.bias.zero_()


def _spread(maps: Tensor) -> Tensor:
    """Root of the variance over images and pixels, averaged over channels."""
    return maps.double().var((0, 2, 3), correction=0).mean().sqrt()


def _log(value: Tensor) -> float:
    number = float(value)
    return math.log(number) if number > 0 else number - math.inf
