"""Expected improvement against numerical integration, far into its tail, too."""

import numpy as np
import pytest
from scipy.integrate import quad

from nas.samplers.acquisition import log_expected_improvement


def exact(z: float) -> float:
    """log(φ(z) + z Φ(z)) for z < 0, as log φ(z) + log ∫₀^∞ t exp(−t²/2 + z t) dt, where nothing cancels."""
    found, _ = quad(lambda u: u * np.exp(-0.5 * (u / z) ** 2 - u), 0, 60, epsabs=0, epsrel=1e-11, limit=200)
    return float(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(found) - 2 * np.log(-z))


def log_h(z: np.ndarray) -> np.ndarray:
    return log_expected_improvement(z, np.ones(len(z)), 0.0)


@pytest.mark.parametrize("z", [-6.0, -3.0, -1.5, -1.0, -0.999, -0.3, 0.0, 0.7, 3.0, 12.0, 30.0])
def test_it_is_the_integral(z: float) -> None:
    gain = quad(lambda x: x * np.exp(-0.5 * (x - z) ** 2) / np.sqrt(2 * np.pi), 0, max(z, 0) + 12, epsabs=0, limit=200)
    assert np.exp(log_h(np.array([z])))[0] == pytest.approx(gain[0], rel=1e-6)


def test_a_mean_and_a_deviation_shift_and_stretch_it() -> None:
    for mean, deviation, best in [(0.3, 0.02, 0.31), (-1.0, 5.0, 2.0), (-0.7, 1e-4, -0.7)]:
        z = (best - mean) / deviation
        gain = quad(lambda x, z=z: (x - z) * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), z, max(z, 0) + 12, epsabs=0)
        found = np.exp(log_expected_improvement(np.array([mean]), np.array([deviation]), best))
        assert found[0] == pytest.approx(deviation * gain[0], rel=1e-6)


def test_it_is_right_far_into_the_tail() -> None:
    """What is lost in the logarithm is lost in the improvement as a factor."""
    for z in [-1.0, -2.0, -8.0, -20.0, -24.9, -25.1, -40.0, -300.0, -1000.0, -4999.0, -5001.0, -30000.0]:
        assert log_h(np.array([z]))[0] - exact(z) == pytest.approx(0.0, abs=max(1e-6, 1e-14 * z * z)), z
    assert log_h(np.array([-1e6]))[0] == pytest.approx(exact(-1e6), rel=1e-14)


def test_better_is_never_worse() -> None:
    z = np.unique(np.concatenate([np.linspace(-60, 30, 20_001), -np.logspace(1, 6, 20_001), [-1e6, 1e6]]))
    found = log_h(z)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all(), z[:-1][np.diff(found) <= 0]


def test_doubt_is_never_worse() -> None:
    deviation = np.logspace(-6, 2, 500)
    for mean in (-1.0, 0.0, 1.0):
        found = log_expected_improvement(np.full(500, mean), deviation, 0.0)
        assert (np.diff(found) >= -1e-9).all()
