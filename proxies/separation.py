"""How well an untrained network tells images apart: NASWOT and the correlation of Jacobians (arXiv:2006.04647)."""

import math

import torch
from torch import Tensor, nn

from .nonlinearities import activations

_SMALL = 1e-5
"""Added to eigenvalues, as in the authors' first version."""


def naswot(network: nn.Module, images: Tensor) -> float:
    """Logarithm of the determinant of K, K[i, j] being the number of units that images i and j leave in the same state.

    The paper's later versions (v2, v3). A unit's state is whether its activation's input is positive: of a ReLU that is
    whether it is on, of SiLU, which has no such state, the half it works in. Gates are no units. Batch norm takes the
    batch's own statistics. -inf where two images have one code.

    Args:
        network: Freshly built; it is used up.
        images: (N, C, H, W), normalised.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # ±1: of n units, s in the same state, the product is s - (n - s). Whole numbers, exact up to 2²⁴ units a layer.
        signs = torch.where(inputs[0].flatten(1) > 0, 1.0, -1.0)
        kernel.add_((signs @ signs.T + signs.shape[1]) / 2)

    for _, _, module in activations(network):
        module.register_forward_pre_hook(count)
    with torch.no_grad():
        network.train()(images)
    sign, logarithm = torch.linalg.slogdet(kernel)
    return float(logarithm) if sign > 0 else -math.inf


def jacob_cov(network: nn.Module, images: Tensor) -> float:
    """-Σ (log(λ + k) + 1 / (λ + k)) over the eigenvalues λ of the correlations between images' Jacobians, k = 10⁻⁵.

    The paper's first version: the Jacobian of an image is the gradient of the summed logits by its pixels, and it is
    good if those of different images have little in common. Batch norm takes the batch's own statistics. NaN where a
    Jacobian is constant.

    Args:
        network: Freshly built; it is used up.
        images: (N, C, H, W), normalised.
    """
    pixels = images.detach().clone().requires_grad_()
    (jacobians,) = torch.autograd.grad(network.train()(pixels).sum(), pixels)
    correlations = torch.corrcoef(jacobians.flatten(1).double())
    if not correlations.isfinite().all():
        return math.nan
    eigenvalues = torch.linalg.eigvalsh(correlations).clamp(min=0.0) + _SMALL
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())
