"""One pass over the training images, as every process that takes part in it knows it."""

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
