"""How much better than the best an uncertain candidate promises to be."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

Array = NDArray[np.float64]

_HALF_LOG_TAU = 0.5 * np.log(2 * np.pi)
_FAR = -5e3
"""Deviations below the best where both ways to tell the tail are right to seven digits."""


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Logarithm of the expected improvement E[max(0, X − best)] of normally distributed X.

    Exact far into the tail, where the improvement itself would be 0 and every candidate alike (Ament et al. 2023,
    arXiv:2310.20708).
    """
    z = (mean - best) / deviation
    return np.log(deviation) + _log_h(z)


def _log_h(z: Array) -> Array:
    """log(φ(z) + z Φ(z))."""
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near**2 - _HALF_LOG_TAU) + near * np.exp(log_ndtr(near)))
    far = np.clip(z, -1e8, -1.0)
    # φ(z) (1 + z Φ(z)/φ(z)), where Φ(z)/φ(z) = √(π/2) erfcx(−z/√2); far out that loses its digits, and 1/z² is left.
    ratio = 1.0 + far * np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    tail = -0.5 * far**2 - _HALF_LOG_TAU + np.where(far > _FAR, np.log(np.maximum(ratio, 1e-300)), -2 * np.log(-far))
    return np.where(z > -1.0, direct, tail)
