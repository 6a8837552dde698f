"""A Gaussian process over architectures: choices compared bit by bit, and cheap features that any space has.

The covariance of two architectures with bits t, t′ and features f, f′ is

    1 + Σⱼ vⱼ fⱼ f′ⱼ + a exp(−Σ_b w_b |t_b − t′_b|) + r exp(−½ Σⱼ (fⱼ − f′ⱼ)² / qⱼ²) + noise:

a level, a linear trend, deviations that fade with every choice that differs, and deviations that are smooth in the
features. Between architectures trained in different runs all but the noise is multiplied by one correlation (Bonilla et
al. 2007, "Multi-task Gaussian process prediction"). The parameters are the most probable ones under Gaussian priors on
their logarithms (of the correlation: on its log-odds).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]

_JITTER = 1e-6
_MAX_ITERATIONS = 40
_IMPOSSIBLE = 1e10
"""Loss of parameters that cannot be."""
# Mean and standard deviation of the logarithm of each parameter, for targets of about mean 0 and standard deviation 1.
_NOISE = (-3.0, 1.5)
_DEVIATION = (-0.5, 1.0)
_RATE = (-2.5, 1.0)
_RATE_OFFSET = (0.0, 0.7)
_SLOPE = (-1.0, 1.0)
_SMOOTH = (-1.0, 1.0)
_LENGTH = (0.7, 0.5)
_CORRELATION = (1.5, 1.0)


@dataclass(frozen=True, slots=True)
class Points:
    """Architectures as the process sees them."""

    bits: Array
    """(N, B), 0 or 1."""
    features: Array
    """(N, J), standardised over the space."""
    runs: NDArray[np.int64]
    """(N,), the run each was trained in; 0 is the present one."""

    def __len__(self) -> int:
        return len(self.bits)

    def take(self, places: NDArray[np.integer] | slice) -> "Points":
        return Points(self.bits[places], self.features[places], self.runs[places])


def stack(points: Sequence[Points]) -> Points:
    bits, features, runs = zip(*((p.bits, p.features, p.runs) for p in points), strict=True)
    return Points(np.concatenate(bits), np.concatenate(features), np.concatenate(runs))


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Of the covariance; all positive."""

    noise: float
    deviation: float
    smooth: float
    rates: Array
    """(B,)"""
    slopes: Array
    """(J,)"""
    lengths: Array
    """(J,)"""
    correlation: float
    """Between runs."""


class _Layout:
    """Where each parameter's logarithm lies in one vector, and what is expected of it."""

    def __init__(self, num_bits: int, num_features: int) -> None:
        sizes = [1, 1, 1, 1, 1, num_bits, num_features, num_features]
        ends = np.cumsum(sizes)
        self._slices = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        expected = (_NOISE, _DEVIATION, _SMOOTH, _CORRELATION, _RATE, _RATE_OFFSET, _SLOPE, _LENGTH)
        self.means = np.concatenate([np.full(size, mean) for size, (mean, _) in zip(sizes, expected, strict=True)])
        self.deviations = np.concatenate([np.full(size, sd) for size, (_, sd) in zip(sizes, expected, strict=True)])

    def read(self, logs: Array) -> Hyperparameters:
        noise, deviation, smooth, odds, rate, offsets, slopes, lengths = (logs[part] for part in self._slices)
        return Hyperparameters(
            noise=float(np.exp(noise[0])),
            deviation=float(np.exp(deviation[0])),
            smooth=float(np.exp(smooth[0])),
            correlation=float(expit(odds[0])),
            rates=np.exp(rate[0] + offsets),
            slopes=np.exp(slopes),
            lengths=np.exp(lengths),
        )


class _Covariance:
    """The parts of the covariance of some architectures with others, (N, M) each, noise left out."""

    def __init__(self, h: Hyperparameters, one: Points, other: Points) -> None:
        self.is_foreign: NDArray[np.bool_] | bool = False
        between: Array | float = 1.0
        if one.runs.any() or other.runs.any():
            self.is_foreign = one.runs[:, None] != other.runs[None, :]
            between = np.where(self.is_foreign, h.correlation, 1.0)
        self.between = between
        linear = 1.0 + (one.features * h.slopes) @ other.features.T
        self.deviation = between * h.deviation * np.exp(-_differences(one.bits, other.bits, h.rates))
        self.smooth = between * h.smooth * np.exp(-0.5 * _squares(one.features / h.lengths, other.features / h.lengths))
        self.whole = between * linear + self.deviation + self.smooth


def _differences(one: Array, other: Array, rates: Array) -> Array:
    """Sum of the rates of differing bits: |t − t′| = t + t′ − 2 t t′."""
    weighted = one * rates
    sums = weighted.sum(axis=1)[:, None] + (other @ rates)[None, :] - 2.0 * weighted @ other.T
    return np.maximum(sums, 0.0)


def _squares(one: Array, other: Array) -> Array:
    sums = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2.0 * one @ other.T
    return np.maximum(sums, 0.0)


def covariance(h: Hyperparameters, one: Points, other: Points) -> Array:
    """Of architectures with others, without noise, (N, M)."""
    return _Covariance(h, one, other).whole


def variance(h: Hyperparameters, points: Points) -> Array:
    """Prior variance, (N,)."""
    return 1.0 + (points.features**2) @ h.slopes + h.deviation + h.smooth


def expected(num_bits: int, num_features: int) -> Hyperparameters:
    """Before anything is seen."""
    layout = _Layout(num_bits, num_features)
    return layout.read(layout.means)


def fit(points: Points, targets: Array) -> Hyperparameters:
    """The most probable parameters.

    Args:
        points: (N) architectures.
        targets: (N,), standardised.
    """
    layout = _Layout(points.bits.shape[1], points.features.shape[1])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = minimize(
            _loss,
            layout.means,
            args=(layout, points, targets),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS},
        )
    return layout.read(found.x)


def _loss(logs: Array, layout: _Layout, points: Points, targets: Array) -> tuple[float, Array]:
    """Negative logarithm of the parameters' posterior density, and its gradient."""
    h = layout.read(logs)
    parts = _Covariance(h, points, points)
    full = parts.whole.copy()
    full.flat[:: len(points) + 1] += h.noise + _JITTER
    try:
        factor = cholesky(full, lower=True)
    except (LinAlgError, ValueError):
        # A first step may lead far out, where a covariance is singular or not finite: nothing to be found there.
        return _IMPOSSIBLE, np.zeros_like(logs)
    alpha = cho_solve((factor, True), targets, check_finite=False)
    lower, _ = dpotri(factor, lower=1)
    inverse = np.tril(lower) + np.tril(lower, -1).T
    # The gradient along a parameter p is −½ tr(gap · ∂K/∂p).
    gap = np.outer(alpha, alpha) - inverse
    by_deviation, by_smooth = gap * parts.deviation, gap * parts.smooth
    along_rates = -h.rates * (
        points.bits.T @ by_deviation.sum(axis=1) - (points.bits * (by_deviation @ points.bits)).sum(axis=0)
    )
    features = points.features
    along_lengths = (
        (features**2).T @ by_smooth.sum(axis=1) - (features * (by_smooth @ features)).sum(axis=0)
    ) / h.lengths**2
    along = np.concatenate(
        [
            [0.5 * h.noise * np.trace(gap), 0.5 * by_deviation.sum(), 0.5 * by_smooth.sum()],
            [0.5 * (1.0 - h.correlation) * (gap * parts.whole * parts.is_foreign).sum(), along_rates.sum()],
            along_rates,
            0.5 * h.slopes * (features * ((gap * parts.between) @ features)).sum(axis=0),
            along_lengths,
        ]
    )
    surprise = (logs - layout.means) / layout.deviations
    loss = 0.5 * targets @ alpha + np.log(np.diag(factor)).sum() + 0.5 * surprise @ surprise
    return float(loss), surprise / layout.deviations - along


class Posterior:
    """What is believed of any architecture after some were seen."""

    def __init__(self, h: Hyperparameters, points: Points, targets: Array) -> None:
        """
        Args:
            h: Of the covariance.
            points: (N) architectures that were seen; N may be 0.
            targets: (N,), standardised.
        """
        self.h, self._points, self._targets = h, points, targets
        full = covariance(h, points, points)
        full.flat[:: len(points) + 1] += h.noise + _JITTER
        self._factor = cholesky(full, lower=True, check_finite=False)
        self._alpha = cho_solve((self._factor, True), targets, check_finite=False)

    def __call__(self, points: Points) -> tuple[Array, Array]:
        """Mean and standard deviation, without noise, (M,) each."""
        crossing, explained = self._seen_from(points)
        left = variance(self.h, points) - (explained**2).sum(axis=0)
        return crossing.T @ self._alpha, np.sqrt(np.maximum(left, _JITTER**2))

    def between(self, one: Points, other: Points) -> Array:
        """Covariance of architectures with others, without noise, (N, M)."""
        (_, explained), (_, explained_other) = self._seen_from(one), self._seen_from(other)
        return covariance(self.h, one, other) - explained.T @ explained_other

    def left_out(self) -> tuple[Array, Array]:
        """Mean and standard deviation, without noise, of each seen architecture, had it alone not been seen, (N,) each.

        The parameters stay as they are (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning",
        section 5.4.2).
        """
        lower, _ = dpotri(self._factor, lower=1)
        variances = 1.0 / np.diag(lower)
        left = variances - self.h.noise - _JITTER
        return self._targets - variances * self._alpha, np.sqrt(np.maximum(left, _JITTER**2))

    def _seen_from(self, points: Points) -> tuple[Array, Array]:
        """The covariance with what was seen, and its part that explains the points, (N, M) each."""
        crossing = covariance(self.h, self._points, points)
        return crossing, solve_triangular(self._factor, crossing, lower=True, check_finite=False)
