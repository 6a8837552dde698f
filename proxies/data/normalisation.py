"""Mean and deviation of the pixels, which networks like to be 0 and 1."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from .images import LabelledImages

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) float32, normalised, and labels (N,) int64, on the device."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalisation:
    """Per-channel mean and deviation of the training images, in units of a uint8 pixel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: Tensor) -> Tensor:
        """uint8 (N, C, H, W) to float32 of mean 0 and deviation 1 per channel."""
        mean, std = (_channel_values(values, pixels.device) for values in (self.mean, self.std))
        return pixels.float().sub_(mean).div_(std)


@functools.lru_cache(maxsize=16)
def _channel_values(values: tuple[float, ...], torch_device: torch.device) -> Tensor:
    """One value per channel as (1, C, 1, 1), kept on the device: copying them there would wait for it at every step."""
    return torch.tensor(values, device=torch_device).view(1, -1, 1, 1)


def normalisation_of(images: LabelledImages) -> Normalisation:
    """Mean and deviation of a set's pixels; a set of blank images is only centred."""
    levels = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in images.sample_for_statistics().unbind(1):
        shares = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean.append((shares * levels).sum().item())
        variance = (shares * (levels - mean[-1]) ** 2).sum().item()
        std.append(max(variance, 1.0) ** 0.5)
    return Normalisation(mean=tuple(mean), std=tuple(std))
