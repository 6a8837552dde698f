"""How the members of a family grow with φ: along a published ladder, or by coefficients α, β and γ."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search_spaces.ladders import Ladder
from search_spaces.scaling import Coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Factors from one network to another of its family."""

    width: float
    depth: float
    size: float
    """Of the inference size, before it is rounded and capped."""


Growth = Callable[[float], Multipliers]
"""From steps φ above the network (negative: below it) to what it is multiplied by."""


def along(ladder: Ladder, phi: float) -> Growth:
    """Growth through the sizes of a ladder, geometric between them, and at their mean rate beyond.

    >>> from search_spaces.ladders import EFFICIENTNET_V2
    >>> to_m = along(EFFICIENTNET_V2, 4)(1)
    >>> round(1.4 * to_m.width, 9), round(1.8 * to_m.depth, 9), round(384 * to_m.size, 9)
    (1.6, 2.2, 480.0)

    Args:
        ladder: Its knots are gone through.
        phi: Where on it the network stands.
    """
    knots = [ladder.rung(name) for name in ladder.knots]
    phis = np.array([knot.phi for knot in knots])
    logs = np.log([[knot.width, knot.depth, knot.test_size] for knot in knots])
    slopes = (logs[-1] - logs[0]) / (phis[-1] - phis[0])

    def at(place: float) -> np.ndarray:
        inside = np.array([np.interp(place, phis, column) for column in logs.T])
        return np.asarray(inside + slopes * (place - np.clip(place, phis[0], phis[-1])))

    here = at(phi)

    def growth(steps: float) -> Multipliers:
        width, depth, size = map(float, np.exp(at(phi + steps) - here))
        return Multipliers(width=width, depth=depth, size=size)

    return growth


def compounded(coefficients: Coefficients) -> Growth:
    """Growth by the same factors at every step (arXiv:1905.11946, equation 3)."""
    return lambda steps: Multipliers(
        width=coefficients.beta**steps, depth=coefficients.alpha**steps, size=coefficients.gamma**steps
    )


def mean_coefficients(ladder: Ladder) -> Coefficients:
    """What a step of φ multiplies on average over a ladder.

    >>> from search_spaces.ladders import EFFICIENTNET
    >>> mean = mean_coefficients(EFFICIENTNET)
    >>> round(mean.alpha, 2), round(mean.beta, 2), round(mean.gamma, 2)
    (1.17, 1.1, 1.15)
    """
    first, last = (ladder.rung(name) for name in (ladder.knots[0], ladder.knots[-1]))
    steps = last.phi - first.phi
    return Coefficients(
        alpha=math.pow(last.depth / first.depth, 1 / steps),
        beta=math.pow(last.width / first.width, 1 / steps),
        gamma=math.pow(last.test_size / first.test_size, 1 / steps),
    )
