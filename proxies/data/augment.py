"""Random shifts and mirror images of a whole batch at once, on the device that trains."""

from dataclasses import dataclass

import torch
from torch import Tensor

SHIFT_DIVISOR = 8
"""Images shift by up to an eighth of their side, as the usual 4 pixels of 32."""


def margin_of(resolution: int, *, augment: bool) -> int:
    """Pixels on each side that shifts need, at most."""
    return resolution // SHIFT_DIVISOR if augment else 0


def pad_by_reflection(pixels: Tensor, margin: int) -> Tensor:
    """Images (N, C, H, W) with a reflected margin on each side, of any dtype."""
    rows, columns = (_reflected(side, margin, pixels.device) for side in pixels.shape[-2:])
    return pixels[:, :, rows][:, :, :, columns]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """What chance decides about each image of an epoch."""

    order: Tensor
    """(N,) indices, shuffled."""
    offsets: Tensor
    """(N, 2) row and column where the crop begins, in the padded image."""
    mirrored: Tensor
    """(N,) bool."""

    @classmethod
    def draw(cls, num_images: int, *, margin: int, mirror: bool, generator: torch.Generator) -> "Draws":
        """Draw for one epoch, on the CPU, so that a seed means the same on every device."""
        return cls(
            order=torch.randperm(num_images, generator=generator),
            offsets=torch.randint(2 * margin + 1, (num_images, 2), generator=generator),
            mirrored=torch.rand(num_images, generator=generator) < (0.5 if mirror else 0.0),
        )

    def to(self, device: torch.device) -> "Draws":
        return Draws(order=self.order.to(device), offsets=self.offsets.to(device), mirrored=self.mirrored.to(device))

    def at(self, positions: slice) -> "Draws":
        """The draws of some images of the epoch."""
        return Draws(order=self.order[positions], offsets=self.offsets[positions], mirrored=self.mirrored[positions])


def crop_and_mirror(padded: Tensor, draws: Draws, resolution: int) -> Tensor:
    """The drawn images of a padded set (N, C, H, W), as (B, C, resolution, resolution)."""
    windows = padded.unfold(2, resolution, 1).unfold(3, resolution, 1)  # (N, C, row, column, H, W), no copy
    cropped = windows[draws.order, :, draws.offsets[:, 0], draws.offsets[:, 1]]
    return torch.where(draws.mirrored[:, None, None, None], cropped.flip(-1), cropped)


def _reflected(side: int, margin: int, device: torch.device) -> Tensor:
    """Indices -margin … side + margin - 1, folded back at the edges without repeating them."""
    if side == 1:
        return torch.zeros(1 + 2 * margin, dtype=torch.long, device=device)
    period = 2 * (side - 1)
    indices = torch.arange(-margin, side + margin, device=device) % period
    return torch.minimum(indices, period - indices)
