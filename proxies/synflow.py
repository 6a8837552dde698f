"""Synaptic flow: how much signal all paths of a network carry together, whatever the images (arXiv:2006.05467)."""

import math

import torch
from torch import Tensor, nn

from .nonlinearities import open_gates, remove_activations

Weighted = nn.Conv2d | nn.Linear


def synflow(network: nn.Module, images: Tensor) -> float:
    """Logarithm of Σ |θ · ∂R/∂θ| over the weights of convolutions and linear layers, R being the sum of all logits.

    As the paper has it, weights are replaced by their magnitudes, the image by ones, and batch norm keeps its initial
    running statistics, with which it does nearly nothing; statistics of the batch would cut off the flow that is
    measured. With weights and input positive, ReLU passes everything: so activations are left out and gates are open,
    which makes the same of SiLU. The network is then linear in every layer, and the signal can be scaled back after
    each block: its logarithm is exact where the sum would leave even double precision (EfficientNetV2-XL: 10³²¹).

    Args:
        network: Freshly built; it is used up.
        images: Only their size counts, (N, C, H, W).
    """
    remove_activations(network)
    open_gates(network)
    network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
        for module in network.modules():
            # A constant would not scale with the signal; biases are 0 at the start, and this keeps it exact.
            if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
                module.bias.zero_()
    scales: list[Tensor] = []
    for block in _trunk(network):
        block.register_forward_hook(lambda _module, _inputs, output: _scaled(output, scales))
    network(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    flow = sum(_flow(module) for module in network.modules() if isinstance(module, Weighted))
    total = float(flow) if flow else 0.0
    if total <= 0.0:
        return -math.inf
    return math.log(total) + sum(math.log(float(scale)) for scale in scales)


def _trunk(network: nn.Module) -> list[nn.Module]:
    """The blocks through which everything has to pass."""
    stages = getattr(network, "blocks", ())
    return [block for stage in stages for block in stage]


def _scaled(output: Tensor, scales: list[Tensor]) -> Tensor:
    """The output ÷ its largest value, which is a constant to the gradient."""
    scales.append(output.detach().max())
    return output / scales[-1]


def _flow(module: nn.Conv2d | nn.Linear) -> Tensor | float:
    gradient = module.weight.grad
    return 0.0 if gradient is None else (module.weight.detach() * gradient).abs().sum()
