"""Batches of images that are read from files as they are needed, by worker processes."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..device import Device
from .decoding import ImageError, open_image, to_channels, to_tensor
from .images import FileImages
from .normalisation import Batch, Normalisation
from .passes import TrainingPass, share_of

SMALLEST_CROP = 0.35
"""Of a streamed image's area."""

_IMAGE_ERROR = f"{ImageError.__module__}.{ImageError.__qualname__}: "

Draw = tuple[int, int]
"""Index of an image, and the seed of what is random about it."""


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

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        files = _Files(
            self.images, resolution=training_pass.resolution, crop=self.augment, mirror=self.augment and self.mirror
        )
        draws = _ShuffledDraws(training_pass, len(self))
        for pixels, labels in self._read(files, draws):
            yield self.normalisation.apply(pixels), labels

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        files = _Files(self.images, resolution=resolution, crop=False, mirror=False)
        draws = _OrderedDraws(share_of(len(self), rank, world_size), batch_size)
        for pixels, labels in self._read(files, draws):
            yield self.normalisation.apply(pixels), labels

    def _read(self, files: "_Files", draws: "_ShuffledDraws | _OrderedDraws") -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels (N, C, H, W) uint8 and labels of each batch, on the device."""
        loader = DataLoader(
            files,
            batch_sampler=draws,
            num_workers=self._allowed_workers(),
            pin_memory=self.device.kind == "cuda",
            generator=torch.Generator(),  # the loader draws a seed for its workers; not from the default generator
        )
        torch_device = self.device.torch_device
        try:
            for pixels, labels in loader:
                yield pixels.to(torch_device, non_blocking=True), labels.to(torch_device, non_blocking=True)
        except ImageError as error:
            # A worker's error arrives with its traceback as text; its last line is the one that names the file.
            raise ImageError(str(error).strip().splitlines()[-1].removeprefix(_IMAGE_ERROR)) from None

    def _allowed_workers(self) -> int:
        """A daemonic process may have no children: there this process reads itself."""
        return 0 if multiprocessing.current_process().daemon else self.num_workers


class _ShuffledDraws:
    """Which images make up each batch of a pass; each has a seed of its own, whichever worker reads it."""

    def __init__(self, training_pass: TrainingPass, num_images: int) -> None:
        generator = torch.Generator().manual_seed(training_pass.seed)
        self.order = torch.randperm(num_images, generator=generator)
        self.seeds = torch.randint(2**63 - 1, (num_images,), generator=generator)
        self.parts = list(training_pass.parts(num_images))

    def __iter__(self) -> Iterator[list[Draw]]:
        for positions in self.parts:
            yield list(zip(self.order[positions].tolist(), self.seeds[positions].tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _OrderedDraws:
    """Neighbouring images in batches; nothing about them is random."""

    share: slice
    batch_size: int

    def __iter__(self) -> Iterator[list[Draw]]:
        for start in range(self.share.start, self.share.stop, self.batch_size):
            yield [(index, 0) for index in range(start, min(start + self.batch_size, self.share.stop))]


class _Files(Dataset[tuple[Tensor, int]]):
    """One file at a time, in a worker."""

    def __init__(self, images: FileImages, *, resolution: int, crop: bool, mirror: bool) -> None:
        from torchvision.transforms import v2

        self.images = images
        self.resolution = resolution
        crops = [v2.RandomResizedCrop(resolution, scale=(SMALLEST_CROP, 1.0), antialias=True)] if crop else []
        mirrors = [v2.RandomHorizontalFlip()] if mirror else []
        self.transform = v2.Compose([*crops, *mirrors]) if crops or mirrors else None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, int]:
        index, seed = draw
        path: Path = self.images.paths[index]
        label = int(self.images.labels[index])
        if self.transform is None:
            return self.images.decode(path, self.resolution), label
        image = to_channels(open_image(path), self.images.in_channels)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torchvision's transforms draw from this one
            return to_tensor(self.transform(image)), label
