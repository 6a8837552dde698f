"""How strongly a network is regularised: the ranges of progressive learning, for the paper's sizes and for any other.

A larger network needs more (arXiv:2104.00298v1, Table 6): from S to L its final RandAugment, mixup and dropout grow
about evenly with the logarithm of the parameters, and so they are set for sizes that the paper does not have.
"""

from dataclasses import dataclass

import numpy as np

from search_spaces import catalog

# The final values of Table 6 for S, M and L, and the parameters of these networks as released, but for their
# classifiers, each of 1280 channels and 1000 classes: how much a network must be held back is not the classes' matter.
_PARAMS = tuple(catalog.get(f"efficientnetv2-{size}").params - 1281 * 1000 for size in ("s", "m", "l"))
_RANDAUGMENT = (15.0, 20.0, 25.0)
_MIXUP = (0.0, 0.2, 0.4)
_DROPOUT = (0.3, 0.4, 0.5)
_FIRST_SIZE = 128
"""Image size of the first stage, pixels, of all three; S trains at 300 in the end."""
_LAST_SIZE = 300
_FIRST_RANDAUGMENT, _FIRST_MIXUP, _FIRST_DROPOUT = 5.0, 0.0, 0.1
_MOST = {"randaugment": 30.0, "mixup": 1.0, "dropout": 0.7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Regularization:
    """From the first stage of progressive learning to the last."""

    image_size: tuple[int, int]
    """Pixels per side."""
    randaugment: tuple[float, float]
    """Magnitude."""
    mixup: tuple[float, float]
    """α of the Beta distribution; 0 mixes nothing."""
    dropout: tuple[float, float]
    """Before the classifier, a probability."""


def regularization_for(
    growth: float, *, train_size: int, smallest_train_size: int, total_stride: int
) -> Regularization:
    """The settings of a member of a family.

    >>> m_to_s = 52_858_356 / 20_177_488
    >>> regularization_for(m_to_s, train_size=384, smallest_train_size=300, total_stride=32).randaugment
    (5.0, 20.0)

    Args:
        growth: Parameters of the member ÷ those of the family's S, both without their classifiers.
        train_size: Of the member, pixels per side: that of the last stage.
        smallest_train_size: Of the family's S; the first stage is smaller by as much as in the paper.
        total_stride: Of the member: no stage trains at fewer pixels.
    """
    first_size = max(total_stride, round(smallest_train_size * _FIRST_SIZE / _LAST_SIZE / 8) * 8)
    return Regularization(
        image_size=(min(first_size, train_size), train_size),
        randaugment=(_FIRST_RANDAUGMENT, _final(growth, _RANDAUGMENT, _FIRST_RANDAUGMENT, _MOST["randaugment"])),
        mixup=(_FIRST_MIXUP, _final(growth, _MIXUP, _FIRST_MIXUP, _MOST["mixup"])),
        dropout=(_FIRST_DROPOUT, _final(growth, _DROPOUT, _FIRST_DROPOUT, _MOST["dropout"])),
    )


def _final(growth: float, values: tuple[float, ...], least: float, most: float) -> float:
    """Through the paper's three values over the logarithm of parameters, and straight on beyond them."""
    knots, place = np.log(np.array(_PARAMS) / _PARAMS[0]), float(np.log(growth))
    slope = (values[-1] - values[0]) / knots[-1]
    beyond = slope * (place - np.clip(place, knots[0], knots[-1]))
    return round(float(np.clip(np.interp(place, knots, values) + beyond, least, most)), 2)
