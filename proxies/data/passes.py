"""One pass over the training images, as every process that takes part in it knows it."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPass:
    """Which images come when, and how they are changed: a pure function of this value.

    Whoever asks gets the same images: after an interruption from :attr:`first_step` on, and each of several processes
    its part of every batch.

    Raises:
        ValueError: If the process is none of those that take part.
    """

    seed: int
    """Order of the images, shifts, mirror images, RandAugment and cutout; every pass of a training has its own."""
    batch_size: int
    """Images of a step, of all processes together."""
    resolution: int
    """Pixels per side."""
    randaugment: float = 0.0
    """Magnitude, on Google's scale: 10 is the range of the first paper, more exceeds it; 0 changes nothing."""
    cutout: float = 0.0
    """Side of the square that is blanked out ÷ side of the image; 0 blanks nothing."""
    first_step: int = 0
    """Steps before it are left out."""
    rank: int = 0
    """Of this process, from 0."""
    world_size: int = 1
    """Processes that share each batch."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must lie in [0, {self.world_size}), got {self.rank}")

    def parts(self, num_images: int) -> Iterator[slice]:
        """Positions in the shuffled order that are this process's part of each batch, from :attr:`first_step` on.

        Raises:
            ValueError: If a batch has too few images for every process to get one.
        """
        size = min(self.batch_size, num_images)
        if size < self.world_size:
            raise ValueError(f"a batch must hold an image for each of {self.world_size} processes, got {size} images")
        part = share_of(size, self.rank, self.world_size)
        for step in range(self.first_step, num_steps(num_images, self.batch_size)):
            yield slice(step * size + part.start, step * size + part.stop)


def num_steps(num_images: int, batch_size: int) -> int:
    """Whole batches in an epoch: batch normalisation cannot train on a last batch of one image."""
    return num_images // min(batch_size, num_images)


def share_of(num_images: int, rank: int, world_size: int) -> slice:
    """The images of one process: neighbours, as many as of any other or one more, like ``Tensor.tensor_split``.

    >>> [share_of(8, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
    """
    each, more = divmod(num_images, world_size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))
