"""Batches of images, at the resolution asked for each time: from memory where they fit, else streamed from files."""

import functools
import multiprocessing
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..device import Device
from .augment import Draws, crop_and_mirror, margin_of, pad_by_reflection
from .decoding import ImageError, open_image, to_channels, to_tensor
from .images import FileImages, LabelledImages, PixelImages, cover_square

KEPT_RESOLUTIONS = 2
"""Sizes of a set that stay in memory: progressive training moves on from one to the next."""
SMALLEST_CROP = 0.35
"""Of a streamed image's area."""

_IMAGE_ERROR = f"{ImageError.__module__}.{ImageError.__qualname__}: "

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


class Batches(Protocol):
    """A set of images, ready to be fed to a network."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def shuffled(self, *, batch_size: int, resolution: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch of training: shuffled, augmented, whole batches only (see :func:`num_steps`)."""
        ...

    def in_order(self, *, batch_size: int, resolution: int) -> Iterator[Batch]:
        """Every image once, as it is."""
        ...


def num_steps(num_images: int, batch_size: int) -> int:
    """Whole batches in an epoch: batch normalisation cannot train on a last batch of one image."""
    return num_images // min(batch_size, num_images)


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


def make_batches(
    images: LabelledImages,
    *,
    normalisation: Normalisation,
    augment: bool,
    mirror: bool,
    device: Device,
    memory_limit_bytes: float,
    num_workers: int,
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

    def shuffled(self, *, batch_size: int, resolution: int, generator: torch.Generator) -> Iterator[Batch]:
        margin = margin_of(resolution, augment=self.augment)
        padded, labels = self._at_size(resolution), self._labels()
        draws = Draws.draw(len(self), margin=margin, mirror=self.augment and self.mirror, generator=generator)
        draws = draws.to(self.device.torch_device)
        size = min(batch_size, len(self))
        for step in range(num_steps(len(self), batch_size)):
            batch = draws.slice(step * size, (step + 1) * size)
            yield self.normalisation.apply(crop_and_mirror(padded, batch, resolution)), labels[batch.order]

    def in_order(self, *, batch_size: int, resolution: int) -> Iterator[Batch]:
        margin = margin_of(resolution, augment=self.augment)
        middle = self._at_size(resolution)[:, :, margin : margin + resolution, margin : margin + resolution]
        for pixels, labels in zip(middle.split(batch_size), self._labels().split(batch_size), strict=True):
            yield self.normalisation.apply(pixels), labels

    def _labels(self) -> Tensor:
        return self.images.labels.to(self.device.torch_device)

    def _at_size(self, resolution: int) -> Tensor:
        """(N, C, H, W) uint8 with the margin that shifts need, kept for the sizes used last."""
        if resolution not in self._padded:
            pixels = self.images.at_size(resolution).to(self.device.torch_device)
            self._padded[resolution] = pad_by_reflection(pixels, margin_of(resolution, augment=self.augment))
        self._padded.move_to_end(resolution)
        while len(self._padded) > KEPT_RESOLUTIONS:
            self._padded.popitem(last=False)
        return self._padded[resolution]


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

    def shuffled(self, *, batch_size: int, resolution: int, generator: torch.Generator) -> Iterator[Batch]:
        margin = margin_of(resolution, augment=self.augment)
        images = self._placed()
        draws = Draws.draw(len(self), margin=margin, mirror=self.augment and self.mirror, generator=generator)
        draws = draws.to(self.device.torch_device)
        size = min(batch_size, len(self))
        everyone = torch.arange(size, device=self.device.torch_device)
        for step in range(num_steps(len(self), batch_size)):
            batch = draws.slice(step * size, (step + 1) * size)
            padded = pad_by_reflection(cover_square(images.pixels[batch.order], resolution), margin)
            pixels = crop_and_mirror(padded, replace(batch, order=everyone), resolution)
            yield self.normalisation.apply(pixels), images.labels[batch.order]

    def in_order(self, *, batch_size: int, resolution: int) -> Iterator[Batch]:
        images = self._placed()
        for pixels, labels in zip(images.pixels.split(batch_size), images.labels.split(batch_size), strict=True):
            yield self.normalisation.apply(cover_square(pixels, resolution)), labels

    def _placed(self) -> PixelImages:
        """The images on the device, once this size is asked for."""
        if self._on_device is None:
            self._on_device = self.images.to(self.device.torch_device)
        return self._on_device


@dataclass(slots=True, kw_only=True, eq=False)
class StreamedBatches:
    """Images read from files as they are needed, by worker processes."""

    images: FileImages
    normalisation: Normalisation
    augment: bool
    """Crop images at random."""
    mirror: bool
    """Mirror half of them, if they are augmented at all."""
    device: Device
    num_workers: int

    def __len__(self) -> int:
        return len(self.images)

    def shuffled(self, *, batch_size: int, resolution: int, generator: torch.Generator) -> Iterator[Batch]:
        files = _Files(self.images, resolution=resolution, crop=self.augment, mirror=self.augment and self.mirror)
        return self._read(files, min(batch_size, len(self)), generator)

    def in_order(self, *, batch_size: int, resolution: int) -> Iterator[Batch]:
        files = _Files(self.images, resolution=resolution, crop=False, mirror=False)
        return self._read(files, batch_size, None)

    def _read(self, files: "_Files", batch_size: int, generator: torch.Generator | None) -> Iterator[Batch]:
        loader = DataLoader(
            files,
            batch_size=batch_size,
            shuffle=generator is not None,
            drop_last=generator is not None,
            generator=generator,
            num_workers=self._allowed_workers(),
            pin_memory=self.device.kind == "cuda",
        )
        torch_device = self.device.torch_device
        try:
            for pixels, labels in loader:
                on_device = pixels.to(torch_device, non_blocking=True)
                yield self.normalisation.apply(on_device), labels.to(torch_device, non_blocking=True)
        except ImageError as error:
            # A worker's error arrives with its traceback as text; its last line is the one that names the file.
            raise ImageError(str(error).strip().splitlines()[-1].removeprefix(_IMAGE_ERROR)) from None

    def _allowed_workers(self) -> int:
        """A daemonic process may have no children: there this process reads itself."""
        return 0 if multiprocessing.current_process().daemon else self.num_workers


@dataclass(slots=True, kw_only=True, eq=False)
class LimitedBatches:
    """Images that are held in memory at sizes where they fit, and had in another way at others."""

    memory: MemoryBatches
    beyond: ResizedBatches | StreamedBatches
    """Where images come from that do not fit."""
    memory_limit_bytes: float

    def __len__(self) -> int:
        return len(self.memory)

    def shuffled(self, *, batch_size: int, resolution: int, generator: torch.Generator) -> Iterator[Batch]:
        return self.at(resolution).shuffled(batch_size=batch_size, resolution=resolution, generator=generator)

    def in_order(self, *, batch_size: int, resolution: int) -> Iterator[Batch]:
        return self.at(resolution).in_order(batch_size=batch_size, resolution=resolution)

    def at(self, resolution: int) -> Batches:
        """Where the images of this size come from."""
        fits = self.memory.images.working_bytes(resolution) <= self.memory_limit_bytes
        return self.memory if fits else self.beyond


class _Files(Dataset[tuple[Tensor, int]]):
    """One file at a time, in a worker; what is random there comes from the generator of the loader."""

    def __init__(self, images: FileImages, *, resolution: int, crop: bool, mirror: bool) -> None:
        from torchvision.transforms import v2

        self.images = images
        self.resolution = resolution
        crops = [v2.RandomResizedCrop(resolution, scale=(SMALLEST_CROP, 1.0), antialias=True)] if crop else []
        mirrors = [v2.RandomHorizontalFlip()] if mirror else []
        self.transform = v2.Compose([*crops, *mirrors]) if crops or mirrors else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path: Path = self.images.paths[index]
        label = int(self.images.labels[index])
        if self.transform is None:
            return self.images.decode(path, self.resolution), label
        return to_tensor(self.transform(to_channels(open_image(path), self.images.in_channels))), label
