"""Proof that two networks in memory compute the same: equal tensors do not say so, equal logits do."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Kernels of other libraries round otherwise; another padding, stride or epsilon shows above a hundredth.
_TOLERANCE = 1e-3


def logit_difference(one: nn.Module, other: nn.Module, *, in_channels: int, size: int) -> float | None:
    """The largest difference of two networks' logits on random images, ÷ the largest logit; None if not comparable.

    Both run on the CPU in single precision and evaluation mode, and are left as they were.

    Args:
        one: A network that takes ``(N, in_channels, size, size)``.
        other: Another.
        in_channels: Channels of the images.
        size: Pixels per side: an even number shows how a network pads where it strides.
    """
    images = torch.randn(2, in_channels, size, size, generator=torch.Generator().manual_seed(0))
    first, second = _logits(one, images), _logits(other, images)
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.shape != second.shape:
        return None
    if not (first.isfinite().all() and second.isfinite().all()):
        return None
    return float((first - second).abs().max() / first.abs().max().clamp(min=torch.finfo(first.dtype).tiny))


def computes_the_same(difference: float) -> bool:
    """Whether a difference of logits is rounding alone."""
    return difference <= _TOLERANCE


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor) -> object:
    if any(parameter.device.type != "cpu" or parameter.dtype != torch.float32 for parameter in network.parameters()):
        network = copy.deepcopy(network).to("cpu", torch.float32)
    with _evaluating(network):
        return network(images)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each layer gets its own mode back (a frozen norm may differ from the rest)."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
