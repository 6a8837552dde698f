"""Labelled images: pixels in memory or files on disk, and the data sets made of them."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from .decoding import decode_image, read_in_parallel

if TYPE_CHECKING:
    from hashlib import _Hash

CONTENT_DIGEST_LIMIT_BYTES = 2 * 2**30
"""Larger sets of files are known by their names and sizes: reading them all would take minutes."""
STATISTICS_IMAGES = 2_000
STATISTICS_SIZE = 64


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileImages:
    """Images of any size in files."""

    folder: Path
    """What the paths are relative to in a digest, which therefore does not change when the folder moves.

    The configuration of a search still names the folder.
    """
    paths: tuple[Path, ...]
    labels: Tensor
    """(N,) int64, indices of class names."""
    in_channels: int
    """1 reads every image as grey, 3 as RGB."""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> Self:
        """The images at these positions, in this order."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return type(self)(folder=self.folder, paths=paths, labels=self.labels[indices], in_channels=self.in_channels)

    def at_size(self, resolution: int) -> Tensor:
        """All images, scaled until they cover the square and cropped to its middle: (N, C, resolution, resolution).

        Raises:
            ValueError: If a file is no readable image.
        """
        return torch.stack(read_in_parallel(lambda path: self.decode(path, resolution), self.paths))

    def decode(self, path: Path, resolution: int) -> Tensor:
        """One image as uint8 (C, resolution, resolution)."""
        return decode_image(path, in_channels=self.in_channels, resolution=resolution)

    def working_bytes(self, resolution: int) -> int:
        """Memory that :meth:`at_size` takes."""
        return len(self) * self.in_channels * resolution**2

    def sample_for_statistics(self) -> Tensor:
        """(N, C, H, W) uint8 that mean and deviation are taken of: evenly spaced files, at a small size."""
        spacing = math.ceil(len(self) / STATISTICS_IMAGES)
        return self.subset(torch.arange(0, len(self), spacing)).at_size(STATISTICS_SIZE)

    def update_digest(self, digest: "_Hash") -> None:
        """Add labels, names and contents (of very large sets: sizes) to a digest."""
        digest.update(self.labels.numpy().tobytes())
        sizes = [path.stat().st_size for path in self.paths]
        reads_contents = sum(sizes) <= CONTENT_DIGEST_LIMIT_BYTES
        for path, size in zip(self.paths, sizes, strict=True):
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{size}\0".encode())
            if reads_contents:
                digest.update(path.read_bytes())


LabelledImages = PixelImages | FileImages


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
    read_test: Callable[[], LabelledImages] | None = None
    """Reads the test part; None where the data set has none."""


def digest_of(class_names: tuple[str, ...], *parts: LabelledImages) -> str:
    """A hex digest that changes with any image, label or class name of these parts, and with nothing else.

    Of sets of files over ``CONTENT_DIGEST_LIMIT_BYTES`` it sees paths and sizes only, not what is in the files.
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
