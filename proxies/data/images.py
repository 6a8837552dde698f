"""Labelled images: pixels in memory or encoded ones, and the data sets made of them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from .encoded import EncodedImages

if TYPE_CHECKING:
    from hashlib import _Hash


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelImages:
    """Images of one size in memory."""

    pixels: Tensor
    """(N, C, H, W) uint8."""
    labels: Tensor
    """(N,) int64, indices of class names."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def in_channels(self) -> int:
        return int(self.pixels.shape[1])

    def subset(self, indices: Tensor) -> Self:
        """The images at these positions, in this order."""
        return type(self)(pixels=self.pixels[indices], labels=self.labels[indices])

    def to(self, torch_device: torch.device) -> Self:
        """The same images on a device."""
        return type(self)(pixels=self.pixels.to(torch_device), labels=self.labels.to(torch_device))

    def at_size(self, resolution: int) -> Tensor:
        """All images, scaled until they cover the square and cropped to its middle: (N, C, resolution, resolution)."""
        return torch.cat([cover_square(part, resolution) for part in self.pixels.split(4096)])

    @property
    def skipped(self) -> tuple[str, ...]:
        """None: what is in memory was readable."""
        return ()

    def readable(self) -> Tensor:
        """(N,) bool, true for all."""
        return torch.ones(len(self), dtype=torch.bool)

    def stand_ins(self) -> Tensor:
        """(N,) int64: each image's own index."""
        return torch.arange(len(self))

    def working_bytes(self, resolution: int) -> int:
        """Memory that :meth:`at_size` takes."""
        return len(self) * self.in_channels * resolution**2

    def sample_for_statistics(self) -> Tensor:
        """(N, C, H, W) uint8 that mean and deviation are taken of: all of them."""
        return self.pixels

    def update_digest(self, digest: "_Hash") -> None:
        """Add labels and pixels to a digest."""
        digest.update(self.labels.numpy().tobytes())
        digest.update(repr(tuple(self.pixels.shape)).encode())
        digest.update(self.pixels.contiguous().numpy().tobytes())


LabelledImages = PixelImages | EncodedImages


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """A data set as it comes, before it is split."""

    name: str
    class_names: tuple[str, ...]
    mirror_keeps_label: bool
    """Whether an image's mirror image still is what its label says."""
    train: LabelledImages
    """The training part; all images where the data set has no parts."""
    minival: LabelledImages | None = None
    """Given where the user's folder has a part for it, else cut from :attr:`train`."""
    most_minival: int | None = None
    """Images that are cut from :attr:`train` to judge candidates, at most."""
    read_test: Callable[[], LabelledImages] | None = None
    """Reads the test part; None where the data set has none."""


def digest_of(class_names: tuple[str, ...], *parts: LabelledImages) -> str:
    """A hex digest that changes with any image, label or class name of these parts, and with nothing else.

    Of very large sets it sees less than their contents, see `ImageFiles.update_digest` and its like.
    """
    digest = hashlib.sha256("\0".join(class_names).encode())
    for part in parts:
        digest.update(f"\0{len(part)}\0".encode())
        part.update_digest(digest)
    return digest.hexdigest()


def cover_square(pixels: Tensor, resolution: int) -> Tensor:
    """Images (N, C, H, W), scaled until they cover the square and cropped to its middle; each by itself."""
    from torchvision.transforms.v2 import functional as transforms  # a second to import, needed where images are read

    if pixels.shape[-2:] == (resolution, resolution):
        return pixels
    shorter = transforms.resize(pixels, [resolution], antialias=True)
    return transforms.center_crop(shorter, [resolution, resolution])
