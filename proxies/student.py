"""Student's t: how much wider an interval must be where its spread was estimated from few values."""

from bisect import bisect_left

# Two-sided 95 % quantiles by 1 / degrees of freedom, ascending.
_QUANTILES = (
    (0.0, 1.960), (1 / 30, 2.042), (1 / 15, 2.131), (1 / 10, 2.228), (1 / 7, 2.365), (1 / 5, 2.571), (1 / 4, 2.776),
    (1 / 3, 3.182), (1 / 2, 4.303), (1.0, 12.706),
)  # fmt: skip


def student_t95(freedom: float) -> float:
    """Two-sided 95 % quantile of Student's t, interpolated in 1/ν: exact at the table's values, a little wide between.

    >>> student_t95(2), round(student_t95(1e9), 2)
    (4.303, 1.96)

    Args:
        freedom: Degrees of freedom ν, at least 1; need not be whole.

    Raises:
        ValueError: If freedom is below 1.
    """
    if freedom < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {freedom}")
    inverse = 1 / freedom
    place = max(1, bisect_left(_QUANTILES, (inverse, 0.0)))
    (low, below), (high, above) = _QUANTILES[place - 1], _QUANTILES[place]
    return below + (above - below) * (inverse - low) / (high - low)
