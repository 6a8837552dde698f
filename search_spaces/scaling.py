"""Rules that turn one network's widths and depths into another's: pure functions of numbers."""

import math


def round_channels(channels: float, *, divisor: int = 8, keep_nine_tenths: bool = False) -> int:
    """Round a width to a multiple of ``divisor``, at least one divisor.

    >>> round_channels(96 * 1.4), round_channels(20.0)
    (136, 24)

    Args:
        channels: The width as the rule computes it.
        divisor: Hardware likes multiples of 8.
        keep_nine_tenths: Go one multiple up where rounding would lose more than a tenth. EfficientNet V1 does
            (google/automl efficientnet), V2 does not.

    Raises:
        ValueError: If channels is not a positive finite number.
    """
    if not (math.isfinite(channels) and channels > 0):
        raise ValueError(f"channels must be positive and finite, got {channels}")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    if keep_nine_tenths and rounded < 0.9 * channels:
        rounded += divisor
    return rounded


def round_layers(layers: float) -> int:
    """Round a number of layers up, as EfficientNet V1 and V2 do.

    >>> [round_layers(1.8 * n) for n in (1, 2, 2, 3, 5, 8)]
    [2, 4, 4, 6, 9, 15]

    Raises:
        ValueError: If layers is not a positive finite number.
    """
    if not (math.isfinite(layers) and layers > 0):
        raise ValueError(f"layers must be positive and finite, got {layers}")
    # 2.2 · 25 is 55.00000000000001 in floating point: 55 layers, not 56.
    return math.ceil(round(layers, 9))
