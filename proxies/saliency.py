"""What one step of training would change: gradients of the loss before any training."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Sum over layers of the gradient's Euclidean norm, at the start of training (arXiv:2101.08134, section 3.2).

    Args:
        network: Freshly built; it is used up.
        images: (N, C, H, W), normalised.
        labels: (N,)
    """
    return float(sum(gradient.norm() for _, gradient in _weights_and_gradients(network, images, labels)))


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Σ |θ · ∂L/∂θ|: how much the loss depends on each weight's presence (arXiv:1810.02340, equation 6), summed.

    The paper divides by this sum to compare weights of one network; between networks it is the score
    (arXiv:2101.08134, section 3.2).

    Args:
        network: Freshly built; it is used up.
        images: (N, C, H, W), normalised.
        labels: (N,)
    """
    found = _weights_and_gradients(network, images, labels)
    return float(sum((weight * gradient).abs().sum() for weight, gradient in found))


def _weights_and_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weights of convolutions and linear layers, and the gradients of the mean cross-entropy, in double precision.

    Batch norm takes the batch's own statistics, as in training.
    """
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    loss = functional.cross_entropy(network.train()(images), labels)
    gradients = torch.autograd.grad(loss, weights)
    return [(weight.detach().double(), gradient.double()) for weight, gradient in zip(weights, gradients, strict=True)]
