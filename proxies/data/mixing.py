"""Mixup and CutMix: images of a batch blended with, or partly covered by, another image of it; labels in proportion.

The rules are those of Google's EfficientNetV2. Every image has a weight of its own (torchvision's transforms draw one
for the whole batch) and a fixed partner, its mirror place in the batch; where both kinds are asked for, one half of the
batch is mixed by each. Mixup (arXiv:1710.09412) leaves every image the larger weight of the two. CutMix
(arXiv:1905.04899) takes the label's share from the area that the pasted box really covers, each image from its own:
Google's code takes the batch's mean of it.
"""

import torch
from torch import Tensor
from torch.nn import functional


def mix(images: Tensor, labels: Tensor, *, mixup: float, cutmix: float, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mix the images of a batch, and their labels.

    What is random is drawn from torch's default generator on the CPU: seed it where a step shall repeat itself.

    Args:
        images: (N, C, H, W) float, on any device.
        labels: (N,) int64.
        mixup: α of Beta(α, α), from which weights are drawn; 0 blends nothing.
        cutmix: α of Beta(α, α), from which areas are drawn; 0 pastes nothing.
        num_classes: Width of the targets.

    Returns:
        Images, and targets (N, num_classes) float32, each row with the sum 1: what
        :func:`torch.nn.functional.cross_entropy` takes in place of labels. With both 0, what was given.

    Raises:
        ValueError: If an α is negative.
    """
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        if not alpha >= 0:
            raise ValueError(f"{name} must be at least 0, got {alpha}")
    if mixup == cutmix == 0:
        return images, labels
    targets = functional.one_hot(labels, num_classes).float()
    num_blended = len(images) // 2 if mixup and cutmix else len(images) if mixup else 0
    parts = []
    if num_blended > 0:
        parts.append(_blend(images[:num_blended], targets[:num_blended], mixup))
    if num_blended < len(images):
        parts.append(_paste(images[num_blended:], targets[num_blended:], cutmix))
    mixed, answers = zip(*parts, strict=True)
    return torch.cat(mixed), torch.cat(answers)


def _blend(images: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Mixup of each image with the one at its mirror place."""
    weights = _beta(alpha, len(images))
    weights = torch.maximum(weights, 1 - weights).to(images.device, non_blocking=True)
    own = weights.to(images.dtype)[:, None, None, None]
    return torch.lerp(images.flip(0), images, own), _shared(targets, weights)


def _paste(images: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """CutMix of each image: a box of the one at its mirror place."""
    height, width = images.shape[2:]
    side = (1 - _beta(alpha, len(images))).sqrt()
    rows, columns = (_stretches(side, length).to(images.device, non_blocking=True) for length in (height, width))
    boxes = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
    weights = 1 - boxes.float().mean((1, 2))
    # Exact for 0 and 1, and faster on the CPU than a choice.
    mixed = torch.lerp(images, images.flip(0), boxes[:, None].to(images.dtype))
    return mixed, _shared(targets, weights)


def _beta(alpha: float, size: int) -> Tensor:
    """(size,) draws of Beta(α, α)."""
    return torch.distributions.Beta(alpha, alpha).sample((size,))


def _stretches(shares: Tensor, length: int) -> Tensor:
    """(N, 2) first place, and the one behind the last, of a share of a side around a random place, cut at the ends."""
    middles = torch.randint(length, shares.shape)
    halves = (shares * length).long() // 2
    return torch.stack([middles - halves, middles + halves], dim=1).clamp(0, length)


def _within(stretches: Tensor, length: int) -> Tensor:
    """(N, length) bool."""
    places = torch.arange(length, device=stretches.device)
    return (places >= stretches[:, :1]) & (places < stretches[:, 1:])


def _shared(targets: Tensor, weights: Tensor) -> Tensor:
    """Targets (N, K), and those at their mirror places with what the weights (N,) leave."""
    return targets * weights[:, None] + targets.flip(0) * (1 - weights[:, None])
