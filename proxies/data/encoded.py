"""Images of any size, each in its own encoding, which are decoded when they are needed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import torch
from PIL import Image
from torch import Tensor

from .decoding import ImageError, covering_square, in_parallel, is_grey, open_image, to_channels

if TYPE_CHECKING:
    from hashlib import _Hash

FULLY_READ = 20_000
"""Sets of at most this many images are read whole before anything starts, so that a corrupt one is found in time."""
STATISTICS_IMAGES = 2_000
STATISTICS_SIZE = 64


class ImageStore(Protocol):
    """Where encoded images lie, by position."""

    def name(self, position: int) -> str:
        """What messages and reports call it: a path, where it has one."""
        ...

    def content(self, position: int) -> Path | bytes:
        """Its file, or what would be in it."""
        ...

    def update_digest(self, digest: "_Hash", positions: Tensor) -> None:
        """Add images to a digest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptImages:
    """Which images of a store have turned out to be unreadable; shared by all sets of that store."""

    skip: bool
    """Go on without them; else the first one ends it."""
    positions: set[int] = field(default_factory=set)

    def add(self, position: int, error: ImageError) -> None:
        """Remember one.

        Raises:
            ImageError: The one given, if corrupt images are not skipped.
        """
        if not self.skip:
            raise error
        self.positions.add(position)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedImages:
    """Images of any size, in files or records."""

    store: ImageStore
    positions: Tensor
    """(N,) int64, in the store."""
    labels: Tensor
    """(N,) int64, indices of class names."""
    in_channels: int
    """1 reads every image as grey, 3 as RGB."""
    corrupt: CorruptImages

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> Self:
        """The images at these indices, in this order."""
        return replace(self, positions=self.positions[indices], labels=self.labels[indices])

    def open(self, index: int) -> Image.Image:
        """One image, grey or RGB.

        Raises:
            ImageError: If it is no readable image.
        """
        return to_channels(self._open(index), self.in_channels)

    def open_if_readable(self, index: int) -> Image.Image | None:
        """One image, grey or RGB; None where it is corrupt and corrupt images are skipped.

        Raises:
            ImageError: If it is no readable image, and these are not skipped.
        """
        if int(self.positions[index]) in self.corrupt.positions:
            return None
        try:
            return self.open(index)
        except ImageError as error:
            self.corrupt.add(int(self.positions[index]), error)
            return None

    def at_size(self, resolution: int) -> Tensor:
        """All images, scaled until they cover the square and cropped to its middle: (N, C, resolution, resolution).

        Those that are skipped are black, see :meth:`readable`.

        Raises:
            ImageError: If one is no readable image, and these are not skipped.
        """
        # Threads write into it, and inference mode is each thread's own.
        with torch.inference_mode(False):
            pixels = torch.zeros(len(self), self.in_channels, resolution, resolution, dtype=torch.uint8)

        def decode(index: int) -> None:
            image = self.open_if_readable(index)
            if image is not None:
                pixels[index] = covering_square(image, resolution)

        in_parallel(decode, range(len(self)))
        return pixels

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the images that have turned out to be corrupt, in this set and others of its store."""
        return tuple(map(self.store.name, sorted(self.corrupt.positions)))

    def readable(self) -> Tensor:
        """(N,) bool, false where an image has turned out to be corrupt.

        Raises:
            ImageError: If all have.
        """
        corrupt = torch.tensor(sorted(self.corrupt.positions), dtype=torch.int64)
        readable = ~torch.isin(self.positions, corrupt)
        if len(self) and not readable.any():
            raise ImageError(f"none of {len(self)} images can be read, the first is {self.skipped[0]}")
        return readable

    def stand_ins(self) -> Tensor:
        """(N,) int64: each image's own index, or where it is corrupt, that of the next one which is not.

        Raises:
            ImageError: If all are corrupt.
        """
        readable = torch.nonzero(self.readable()).flatten()
        following = torch.searchsorted(readable, torch.arange(len(self)))
        return readable[following % len(readable)]

    def is_grey(self) -> bool:
        """Whether no image has colours; reads them all, so that corrupt ones are found.

        Raises:
            ImageError: If one is no readable image, and these are not skipped.
        """

        def seems_grey(index: int) -> bool:
            try:
                return is_grey(self._open(index))
            except ImageError as error:
                self.corrupt.add(int(self.positions[index]), error)
                return True

        return all(in_parallel(seems_grey, range(len(self))))

    def working_bytes(self, resolution: int) -> int:
        """Memory that :meth:`at_size` takes."""
        return len(self) * self.in_channels * resolution**2

    def sample_for_statistics(self) -> Tensor:
        """(N, C, H, W) uint8 that mean and deviation are taken of: evenly spaced images, at a small size."""
        spacing = math.ceil(len(self) / STATISTICS_IMAGES)
        sample = self.subset(torch.arange(0, len(self), spacing))
        return sample.at_size(STATISTICS_SIZE)[sample.readable()]

    def update_digest(self, digest: "_Hash") -> None:
        """Add labels, names and contents (of very large sets: less) to a digest."""
        digest.update(self.labels.numpy().tobytes())
        self.store.update_digest(digest, self.positions)

    def _open(self, index: int) -> Image.Image:
        position = int(self.positions[index])
        return open_image(self.store.content(position), name=self.store.name(position))


def examined(parts: Sequence[EncodedImages]) -> tuple[EncodedImages, ...]:
    """The parts of a set without their corrupt images, grey if every image is; a large set is taken to be coloured.

    Raises:
        ImageError: If an image is corrupt, and these are not skipped.
    """
    if sum(map(len, parts)) > FULLY_READ:
        return tuple(parts)
    grey = [part.is_grey() for part in parts]
    in_channels = 1 if all(grey) else 3
    return tuple(
        replace(part.subset(torch.nonzero(part.readable()).flatten()), in_channels=in_channels) for part in parts
    )
