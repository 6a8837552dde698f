"""Batches of images, at the resolution asked for each time: from memory where they fit, else streamed from files."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from ..device import Device
from .augment import Draws, crop_and_mirror, margin_of, pad_by_reflection
from .images import LabelledImages, PixelImages, cover_square
from .normalisation import Batch, Normalisation, normalisation_of
from .passes import TrainingPass, num_steps, share_of
from .streaming import SMALLEST_CROP, StreamedBatches
from .strong_augmentation import StrongAugmentation

__all__ = [
    "Batch", "Batches", "LimitedBatches", "MemoryBatches", "Normalisation", "ResizedBatches", "StreamedBatches",
    "make_batches", "normalisation_of", "num_steps",
]  # fmt: skip

KEPT_RESOLUTIONS = 2
"""Sizes of a set that stay in memory: progressive training moves on from one to the next."""
_RESIZED_AT_ONCE = 256
"""Images: while a set comes to a size, no more than these are there twice."""


class Batches(Protocol):
    """A set of images, ready to be fed to a network."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the images that this process could not read, so far; empty where that is an error."""
        ...

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        """This process's part of an epoch of training: shuffled, augmented, whole batches only (see `num_steps`).

        In place of an image that is skipped comes the next one that is not.

        Raises:
            ValueError: If a batch has too few images for every process to get one.
            ImageError: If an image cannot be read, and is not to be skipped, or none can.
        """
        ...

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """This process's images as they are; each comes once, in one of the processes, if it can be read.

        Raises:
            ImageError: If an image cannot be read, and is not to be skipped, or none can.
        """
        ...

    def settle(self, largest: int) -> None:
        """Decide by this size where images come from, the largest that will be asked for.

        One training has one kind of augmentation then: streamed images are cropped, those in memory are shifted.
        """
        ...

    def held_bytes(self, resolution: int) -> int:
        """What is held of the device's memory, at most, while batches of this size come, after smaller ones."""
        ...


def make_batches(
    images: LabelledImages,
    *,
    normalisation: Normalisation,
    augment: bool,
    mirror: bool,
    device: Device,
    memory_limit_bytes: float,
    num_workers: int,
    smallest_crop: float = SMALLEST_CROP,
) -> Batches:
    """Batches from memory; where the images at a resolution exceed the limit, streamed or resized batch by batch."""
    memory = MemoryBatches(images=images, normalisation=normalisation, augment=augment, mirror=mirror, device=device)
    if isinstance(images, PixelImages):
        resized = ResizedBatches(
            images=images, normalisation=normalisation, augment=augment, mirror=mirror, device=device
        )
        return LimitedBatches(memory=memory, beyond=resized, memory_limit_bytes=memory_limit_bytes)
    streamed = StreamedBatches(
        images=images,
        normalisation=normalisation,
        augment=augment,
        mirror=mirror,
        device=device,
        num_workers=num_workers,
        smallest_crop=smallest_crop,
    )
    return LimitedBatches(memory=memory, beyond=streamed, memory_limit_bytes=memory_limit_bytes)


@dataclass(slots=True, kw_only=True, eq=False)
class MemoryBatches:
    """All images at the working size, as uint8 on the device; a batch is one gather."""

    images: LabelledImages
    normalisation: Normalisation
    augment: bool
    """Shift images at random."""
    mirror: bool
    """Mirror half of them, if they are augmented at all."""
    device: Device
    _padded: OrderedDict[int, Tensor] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.images.skipped

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        resolution = training_pass.resolution
        padded, labels = self._at_size(resolution), self._labels()
        margin = margin_of(resolution, augment=self.augment)
        generator = torch.Generator().manual_seed(training_pass.seed)
        draws = Draws.draw(len(self), margin=margin, mirror=self.augment and self.mirror, generator=generator)
        draws = replace(draws, order=self.images.stand_ins()[draws.order]).to(self.device.torch_device)
        strong = StrongAugmentation.draw(training_pass, len(self), generator=generator)
        for positions in training_pass.parts(len(self)):
            batch = draws.at(positions)
            pixels = strong.apply(crop_and_mirror(padded, batch, resolution), positions)
            yield self.normalisation.apply(pixels), labels[batch.order]

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        margin = margin_of(resolution, augment=self.augment)
        middle = self._at_size(resolution)[:, :, margin : margin + resolution, margin : margin + resolution]
        share = share_of(len(self), rank, world_size)
        pixels, labels = middle[share], self._labels()[share]
        if self.images.skipped:
            readable = self.images.readable()[share].to(self.device.torch_device)
            pixels, labels = pixels[readable], labels[readable]
        for some, their_labels in _in_batches(pixels, labels, batch_size):
            yield self.normalisation.apply(some), their_labels

    def settle(self, largest: int) -> None:
        """Nothing is to be decided."""

    def held_bytes(self, resolution: int) -> int:
        padded_side = resolution + 2 * margin_of(resolution, augment=self.augment)
        return KEPT_RESOLUTIONS * self.images.working_bytes(padded_side)

    def forget(self) -> None:
        """Free the memory of all sizes."""
        self._padded.clear()

    def _labels(self) -> Tensor:
        return self.images.labels.to(self.device.torch_device)

    def _at_size(self, resolution: int) -> Tensor:
        """(N, C, H, W) uint8 with the margin that shifts need, kept for the sizes used last."""
        if resolution not in self._padded:
            while len(self._padded) >= KEPT_RESOLUTIONS:
                self._padded.popitem(last=False)
            self._padded[resolution] = self._made_at(resolution)
        self._padded.move_to_end(resolution)
        return self._padded[resolution]

    def _made_at(self, resolution: int) -> Tensor:
        """Made of some images at a time, so that the set is there once."""
        margin = margin_of(resolution, augment=self.augment)
        side = resolution + 2 * margin
        shape = len(self), self.images.in_channels, side, side
        padded = torch.empty(shape, dtype=torch.uint8, device=self.device.torch_device)
        parts = padded.split(_RESIZED_AT_ONCE), torch.arange(len(self)).split(_RESIZED_AT_ONCE)
        for place, indices in zip(*parts, strict=True):
            some = self.images.subset(indices).at_size(resolution).to(self.device.torch_device)
            place.copy_(pad_by_reflection(some, margin))
        return padded


@dataclass(slots=True, kw_only=True, eq=False)
class ResizedBatches:
    """All images at their own size, as uint8 on the device, resized batch by batch: the batches of the same draws."""

    images: PixelImages
    normalisation: Normalisation
    augment: bool
    """Shift images at random."""
    mirror: bool
    """Mirror half of them, if they are augmented at all."""
    device: Device
    _on_device: PixelImages | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.images.skipped

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        images, resolution = self._placed(), training_pass.resolution
        margin = margin_of(resolution, augment=self.augment)
        generator = torch.Generator().manual_seed(training_pass.seed)
        draws = Draws.draw(len(self), margin=margin, mirror=self.augment and self.mirror, generator=generator)
        draws = draws.to(self.device.torch_device)
        strong = StrongAugmentation.draw(training_pass, len(self), generator=generator)
        for positions in training_pass.parts(len(self)):
            batch = draws.at(positions)
            padded = pad_by_reflection(cover_square(images.pixels[batch.order], resolution), margin)
            everyone = torch.arange(len(padded), device=padded.device)
            pixels = crop_and_mirror(padded, replace(batch, order=everyone), resolution)
            yield self.normalisation.apply(strong.apply(pixels, positions)), images.labels[batch.order]

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        images = self._placed()
        share = share_of(len(self), rank, world_size)
        for pixels, labels in _in_batches(images.pixels[share], images.labels[share], batch_size):
            yield self.normalisation.apply(cover_square(pixels, resolution)), labels

    def settle(self, largest: int) -> None:
        """Nothing is to be decided."""

    def held_bytes(self, resolution: int) -> int:
        return self.images.pixels.nbytes

    def _placed(self) -> PixelImages:
        """The images on the device, once this size is asked for."""
        if self._on_device is None:
            self._on_device = self.images.to(self.device.torch_device)
        return self._on_device


@dataclass(slots=True, kw_only=True, eq=False)
class LimitedBatches:
    """Images that are held in memory at sizes where they fit, and had in another way at others."""

    memory: MemoryBatches
    beyond: ResizedBatches | StreamedBatches
    """Where images come from that do not fit."""
    memory_limit_bytes: float
    _settled_at: int = 0

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.memory.skipped

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        return self._ready_at(training_pass.resolution).shuffled(training_pass)

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        batches = self._ready_at(resolution)
        return batches.in_order(batch_size=batch_size, resolution=resolution, rank=rank, world_size=world_size)

    def settle(self, largest: int) -> None:
        # Pixels that are resized batch by batch give the same batches as those in memory.
        if isinstance(self.beyond, StreamedBatches):
            self._settled_at = largest

    def held_bytes(self, resolution: int) -> int:
        return self.at(resolution).held_bytes(resolution)

    def at(self, resolution: int) -> Batches:
        """Where the images of this size come from."""
        decisive = max(resolution, self._settled_at)
        fits = self.memory.images.working_bytes(decisive) <= self.memory_limit_bytes
        return self.memory if fits else self.beyond

    def _ready_at(self, resolution: int) -> Batches:
        batches = self.at(resolution)
        if batches is self.beyond:
            self.memory.forget()
        return batches


def _in_batches(pixels: Tensor, labels: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(labels), batch_size):
        yield pixels[start : start + batch_size], labels[start : start + batch_size]
