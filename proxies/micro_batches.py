"""A batch that does not fit into memory is trained on in parts, whose gradients add up."""

from collections.abc import Callable
from typing import TypeVar

from .infeasible import MemoryInfeasibleError

Result = TypeVar("Result")

MIN_IMAGES = 2
"""Images of a part: batch normalisation takes its statistics over each part alone."""


def largest_part(batch_size: int, micro_batches: int) -> int:
    """Images in the largest part of a batch; parts differ by one image at most.

    >>> largest_part(10, 4)
    3

    Raises:
        ValueError: If a part would hold fewer than 2 images; a whole batch may hold any number.
    """
    if micro_batches < 1 or (micro_batches > 1 and batch_size // micro_batches < MIN_IMAGES):
        raise ValueError(
            f"micro_batches must be at least 1 and leave {MIN_IMAGES} images in each part, "
            f"got {micro_batches} for a batch of {batch_size}"
        )
    return -(-batch_size // micro_batches)


def most_micro_batches(batch_size: int) -> int:
    """The most parts that are tried: a power of two that leaves at least 2 images in each part.

    >>> most_micro_batches(32), most_micro_batches(3)
    (16, 1)
    """
    parts = 1
    while batch_size // (2 * parts) >= MIN_IMAGES:
        parts *= 2
    return parts


def fit_micro_batches(predict: Callable[[int], int], max_memory_bytes: float, batch_size: int) -> int | None:
    """The fewest parts in which a training step fits into memory.

    Tried are powers of two that leave at least 2 images in each part: every further split costs time, and batch
    normalisation sees fewer images.

    >>> fit_micro_batches(lambda parts: 100 + 800 // parts, 350, batch_size=32)
    4

    Args:
        predict: Peak memory in bytes for a number of parts.
        max_memory_bytes: What there is.
        batch_size: Images in a step.

    Returns:
        1 where the whole batch fits, None where even the smallest parts do not.
    """
    parts = 1
    while parts == 1 or batch_size // parts >= MIN_IMAGES:
        if predict(parts) <= max_memory_bytes:
            return parts
        parts *= 2
    return None


def retry_in_parts(run: Callable[[int], Result], batch_size: int, micro_batches: int = 1) -> Result:
    """Run something with a batch in ever smaller parts, until memory suffices.

    Args:
        run: Takes the number of parts.
        batch_size: Images of the whole batch.
        micro_batches: Parts to begin with.

    Raises:
        MemoryInfeasibleError: If memory does not suffice for the smallest parts either.
    """
    try:
        return run(micro_batches)
    except MemoryInfeasibleError:
        if batch_size < 2 * MIN_IMAGES * micro_batches:
            raise
    return retry_in_parts(run, batch_size, 2 * micro_batches)
