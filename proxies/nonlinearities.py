"""The activations and gates of a network: scores that were defined for plain ReLU chains look at them, or open them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

_HOMES = ("torch.nn.modules.activation", "timm.layers.activations")


class OpenGate(nn.Module):
    """Lets everything through: 1 wherever a gate would weigh channels."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.ones_like(input)


def activations(network: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Every activation that is no gate, with the module that holds it and its name there."""
    for holder, name, module in _children(network):
        if type(module).__module__ in _HOMES and not isinstance(module, nn.Sigmoid):
            yield holder, name, module


def open_gates(network: nn.Module) -> None:
    """Replace the sigmoids of squeeze-and-excitation by 1; in place."""
    for holder, name, module in _children(network):
        if isinstance(module, nn.Sigmoid):
            setattr(holder, name, OpenGate())


def remove_activations(network: nn.Module) -> None:
    """Let activations pass what they get; in place."""
    for holder, name, _ in activations(network):
        setattr(holder, name, nn.Identity())


def _children(network: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    return [(holder, name, module) for holder in network.modules() for name, module in holder.named_children()]
