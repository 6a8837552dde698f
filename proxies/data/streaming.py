"""Batches of images that are read as they are needed, by worker processes."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ..device import Device
from .decoding import ImageError, covering_square, to_tensor
from .encoded import EncodedImages
from .normalisation import Batch, Normalisation
from .passes import TrainingPass, share_of
from .strong_augmentation import StrongAugmentation

SMALLEST_CROP = 0.35
"""Of a streamed image's area, by default."""

_IMAGE_ERROR = f"{ImageError.__module__}.{ImageError.__qualname__}: "

Draw = tuple[int, int]
"""Index of an image, and the seed of what is random about it."""
Read = tuple[Tensor | None, int, list[int]]
"""What came of it: pixels (C, H, W) uint8, their label, and the positions of images that turned out to be corrupt."""


@dataclass(slots=True, kw_only=True, eq=False)
class StreamedBatches:
    """Images read as they are needed, by worker processes."""

    images: EncodedImages
    normalisation: Normalisation
    augment: bool
    """Crop images at random."""
    mirror: bool
    """Mirror half of them, if they are augmented at all."""
    device: Device
    num_workers: int
    smallest_crop: float = SMALLEST_CROP
    """Of an image's area, where images are cropped at random."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> tuple[str, ...]:
        return self.images.skipped

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        images = _TrainingImages(
            self.images,
            resolution=training_pass.resolution,
            smallest_crop=self.smallest_crop if self.augment else None,
            mirror=self.augment and self.mirror,
        )
        generator = torch.Generator().manual_seed(training_pass.seed)
        draws = _ShuffledDraws(training_pass, len(self), generator)
        strong = StrongAugmentation.draw(training_pass, len(self), generator=generator)
        for positions, (pixels, labels) in zip(draws.parts, self._read(images, draws), strict=True):
            yield self.normalisation.apply(strong.apply(pixels, positions)), labels

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        images = _OrderedImages(self.images, resolution=resolution)
        draws = _OrderedDraws(share_of(len(self), rank, world_size), batch_size)
        for pixels, labels in self._read(images, draws):
            if len(labels):
                yield self.normalisation.apply(pixels), labels
        self.images.readable()  # raises if none is

    def settle(self, largest: int) -> None:
        """Nothing is to be decided."""

    def held_bytes(self, resolution: int) -> int:
        return 0

    def _read(self, images: Dataset[Read], draws: "_ShuffledDraws | _OrderedDraws") -> Iterator[tuple[Tensor, Tensor]]:
        """Pixels (N, C, H, W) uint8 and labels of each batch, on the device."""
        loader = DataLoader(
            images,
            batch_sampler=draws,
            num_workers=self._allowed_workers(),
            collate_fn=_together,
            pin_memory=self.device.kind == "cuda",
            generator=torch.Generator(),  # the loader draws a seed for its workers; not from the default generator
        )
        torch_device = self.device.torch_device
        try:
            for pixels, labels, corrupt in loader:
                self.images.corrupt.positions.update(corrupt.tolist())
                yield pixels.to(torch_device, non_blocking=True), labels.to(torch_device, non_blocking=True)
        except ImageError as error:
            # A worker's error arrives with its traceback as text; its last line is the one that names the file.
            raise ImageError(str(error).strip().splitlines()[-1].removeprefix(_IMAGE_ERROR)) from None

    def _allowed_workers(self) -> int:
        """A daemonic process may have no children: there this process reads itself."""
        return 0 if multiprocessing.current_process().daemon else self.num_workers


class _ShuffledDraws:
    """Which images make up each batch of a pass; each has a seed of its own, whichever worker reads it."""

    def __init__(self, training_pass: TrainingPass, num_images: int, generator: torch.Generator) -> None:
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


class _TrainingImages(Dataset[Read]):
    """One image at a time, in a worker, changed as its seed says; in place of a corrupt one comes the next."""

    def __init__(self, images: EncodedImages, *, resolution: int, smallest_crop: float | None, mirror: bool) -> None:
        from torchvision.transforms import v2

        self.images = images
        self.resolution = resolution
        scale = None if smallest_crop is None else (smallest_crop, 1.0)
        crops = [v2.RandomResizedCrop(resolution, scale=scale, antialias=True)] if scale else []
        mirrors = [v2.RandomHorizontalFlip()] if mirror else []
        self.transform = v2.Compose([*crops, *mirrors]) if crops or mirrors else None

    def __getitem__(self, draw: Draw) -> Read:
        index, seed = draw
        corrupt: list[int] = []
        for number in range(index, index + len(self.images)):
            found = number % len(self.images)
            image = self.images.open_if_readable(found)
            if image is not None:
                return self._changed(image, seed), int(self.images.labels[found]), corrupt
            corrupt.append(int(self.images.positions[found]))
        raise ImageError(f"none of {len(self.images)} images can be read, the first is {self.images.skipped[0]}")

    def _changed(self, image: Image.Image, seed: int) -> Tensor:
        if self.transform is None:
            return covering_square(image, self.resolution)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torchvision's transforms draw from this one
            return to_tensor(self.transform(image))


class _OrderedImages(Dataset[Read]):
    """One image at a time, in a worker, as it is; none for a corrupt one."""

    def __init__(self, images: EncodedImages, *, resolution: int) -> None:
        self.images = images
        self.resolution = resolution

    def __getitem__(self, draw: Draw) -> Read:
        index, _ = draw
        image = self.images.open_if_readable(index)
        if image is None:
            return None, 0, [int(self.images.positions[index])]
        return covering_square(image, self.resolution), int(self.images.labels[index]), []


def _together(reads: list[Read]) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (N, C, H, W) and labels (N,) of those that could be read, and the positions of those that could not."""
    corrupt = torch.tensor([position for *_, positions in reads for position in positions], dtype=torch.int64)
    found = [(pixels, label) for pixels, label, _ in reads if pixels is not None]
    pixels, labels = default_collate(found) if found else (torch.empty(0), torch.empty(0, dtype=torch.int64))
    return pixels, labels, corrupt
