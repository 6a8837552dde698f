"""How much of a difference between a proxy's accuracies is one between the target's, and what the reward makes of it.

A short training exaggerates: where its accuracies differ by 10 %, the target's may differ by 2 %. A reward that takes
them as they are pays five times too much step time for accuracy. In logarithms the two are nearly on a line; with its
slope b, A_target ~ A_proxy^b, so that A_proxy · S^(w/b) · P^(v/b) ranks as A_target · S^w · P^v does.
"""

import numpy as np

from .scores import Floats

FEWEST = 5
"""Architectures from which a slope is worth anything."""
_LEAST = 0.02
"""A slope below says that the proxy's accuracies hardly tell anything, and would make exponents of any size."""


def slope_of(proxy: Floats, target: Floats) -> float | None:
    """By how much the logarithm of the target's accuracy grows with that of the proxy's.

    Args:
        proxy: Accuracies, fractions, (N,).
        target: Those of the same architectures, (N,).

    Returns:
        None where there are too few, none differ, one is 0, or the two hardly grow together.
    """
    if len(proxy) < FEWEST or min(proxy.min(), target.min()) <= 0 or np.ptp(proxy) == 0:
        return None
    slope = _line(np.log(proxy), np.log(target))[0]
    return slope if slope >= _LEAST else None


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
