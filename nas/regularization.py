"""How strongly a network is regularised: the ranges of progressive learning, as published and for any other network.

A larger network needs more (arXiv:2104.00298v1, Table 6): from S to L its final RandAugment, mixup and dropout grow
about evenly with the logarithm of the parameters, and so they are set for sizes that the paper does not have.
"""

from dataclasses import dataclass

import numpy as np

from search_spaces import catalog

_FIRST_SIZE = 128
"""Image size of the first stage of all published trainings, pixels."""
_FIRST_RANDAUGMENT, _FIRST_MIXUP, _FIRST_DROPOUT = 5.0, 0.0, 0.1
_MOST = {"randaugment": 30.0, "mixup": 1.0, "dropout": 0.7}
_IMAGENET_IMAGES = 1_281_167
"""Training images of ImageNet-1k, which the paper's settings are for."""
_EPOCHS = 350
"""Of the paper's trainings."""


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
    cutmix: tuple[float, float] = (0.0, 0.0)
    """α of the Beta distribution; 0 pastes nothing."""


def _published(
    size: int, *, randaugment: float, mixup: float, dropout: tuple[float, float], cutmix: float = 0.0
) -> Regularization:
    return Regularization(
        image_size=(_FIRST_SIZE, size),
        randaugment=(_FIRST_RANDAUGMENT, randaugment),
        mixup=(_FIRST_MIXUP, mixup),
        dropout=dropout,
        cutmix=(0.0, cutmix),
    )


PAPER = {
    "efficientnetv2-s": _published(300, randaugment=15.0, mixup=0.0, dropout=(0.1, 0.3)),
    "efficientnetv2-m": _published(380, randaugment=20.0, mixup=0.2, dropout=(0.1, 0.4)),
    "efficientnetv2-l": _published(380, randaugment=25.0, mixup=0.4, dropout=(0.1, 0.5)),
}
"""Table 6 of arXiv:2104.00298v1; the third version of the paper has 0.5 as L's final mixup."""
CODE = {
    "efficientnetv2-s": _published(300, randaugment=10.0, mixup=0.0, dropout=(0.2, 0.2)),
    "efficientnetv2-m": _published(384, randaugment=15.0, mixup=0.2, dropout=(0.3, 0.3), cutmix=0.2),
    "efficientnetv2-l": _published(384, randaugment=20.0, mixup=0.5, dropout=(0.4, 0.4), cutmix=0.5),
}
"""What github.com/google/automl/efficientnetv2 trains with; a growing dropout is computed there, and then deleted."""

# Parameters of these networks as released, but for their classifiers, each of 1280 channels and 1000 classes: how much
# a network must be held back is not the classes' matter.
_PARAMS = tuple(catalog.get(name).params - 1281 * 1000 for name in PAPER)
_LAST_SIZE = PAPER["efficientnetv2-s"].image_size[1]


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
        randaugment=(
            _FIRST_RANDAUGMENT,
            _final(growth, [each.randaugment for each in PAPER.values()], _MOST["randaugment"]),
        ),
        mixup=(_FIRST_MIXUP, _final(growth, [each.mixup for each in PAPER.values()], _MOST["mixup"])),
        dropout=(_FIRST_DROPOUT, _final(growth, [each.dropout for each in PAPER.values()], _MOST["dropout"])),
    )


def growth_on(params: int, num_images: int, epochs: int) -> float:
    """How much a network must be held back in a training, as a growth that `regularization_for` takes.

    EfficientNetV2-S on ImageNet has 16 parameters for an image. A network with as many needs what S needs, whatever
    the size of its data; one with twice as many, what a network twice as large needs on ImageNet. But a short training
    cannot overcome much: in 350 epochs as much as L needs, in fewer proportionally less. No paper says so: it is the
    plainest rule that is right for the three trainings published, and its advice is to be overridden freely.

    >>> round(growth_on(52_858_356, 1_281_167, epochs=350), 2)
    2.62

    Args:
        params: Of the network, without its classifier.
        num_images: It is trained on.
        epochs: Passes over them.
    """
    by_size = (params / num_images) / (_PARAMS[0] / _IMAGENET_IMAGES)
    return min(by_size, _PARAMS[-1] / _PARAMS[0] * epochs / _EPOCHS)


def _final(growth: float, published: list[tuple[float, float]], most: float) -> float:
    """Through the paper's three last values over the logarithm of parameters, and straight on beyond them."""
    knots, place = np.log(np.array(_PARAMS) / _PARAMS[0]), float(np.log(growth))
    values, least = [last for _, last in published], published[0][0]
    slope = (values[-1] - values[0]) / knots[-1]
    beyond = slope * (place - np.clip(place, knots[0], knots[-1]))
    return round(float(np.clip(np.interp(place, knots, values) + beyond, least, most)), 2)
