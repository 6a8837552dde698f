"""How much of a difference between a proxy's accuracies is one between the target's, and what the reward makes of it.

A short training exaggerates: where its accuracies differ by 10 %, the target's may differ by 2 %. A reward that takes
them as they are pays five times too much step time for accuracy. In logarithms the two are nearly on a line; with its
slope b, A_target ~ A_proxy^b, so that A_proxy · S^(w/b) · P^(v/b) ranks as A_target · S^w · P^v does.
"""

from dataclasses import dataclass

import numpy as np

from .scores import Floats

FEWEST = 5
"""Architectures from which a slope is worth anything."""
_DRAWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """By how much the logarithm of the target's accuracy grows with that of a proxy's."""

    value: float
    low: float
    """Of the 90 % bootstrap interval over architectures."""
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether it is known well enough to divide by: positive beyond doubt, and within a factor of 2 or so."""
        return self.low > self.value / 2 > 0


def slope_of(proxy: Floats, target: Floats, *, seed: int = 0) -> Slope | None:
    """By how much the logarithm of the target's accuracy grows with that of the proxy's.

    Args:
        proxy: Accuracies, fractions, (N,).
        target: Those of the same architectures, (N,).
        seed: Of the bootstrap.

    Returns:
        None where there are too few, none differ, or one is 0.
    """
    if len(proxy) < FEWEST or min(proxy.min(), target.min()) <= 0 or np.ptp(proxy) == 0:
        return None
    x, y = np.log(proxy), np.log(target)
    rows = np.random.default_rng(seed).integers(len(x), size=(_DRAWS, len(x)))
    low, high = np.quantile([_line(x[row], y[row])[0] for row in rows], (0.05, 0.95))
    return Slope(value=_line(x, y)[0], low=float(low), high=float(high))


def foretold(proxy: Floats, target: Floats) -> Floats:
    """The target's accuracies as the proxy's foretell them, (N,): each by the line through all others.

    Arguments as those of `slope_of`, where it is not None.
    """
    x, y = np.log(proxy), np.log(target)
    lines = (_line(np.delete(x, place), np.delete(y, place)) for place in range(len(x)))
    return np.exp([slope * value + start for (slope, start), value in zip(lines, x, strict=True)])


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and start by least squares."""
    centred = x - x.mean()
    extent = float(centred @ centred)
    slope = float(centred @ y) / extent if extent else 0.0
    return slope, float(y.mean() - slope * x.mean())
