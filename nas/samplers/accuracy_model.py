"""What is believed of accuracies that were not measured, from those that were: the only unknown factor of a reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .descriptors import Descriptor
from .gaussian_process import Hyperparameters, Points, Posterior, expected, fit, stack

Array = NDArray[np.float64]

_MOST_FITTED = 200
"""Architectures that decide on the covariance; more change it little and cost the third power."""
_EXPECTED_SPREAD = 0.05
"""Standard deviation of log-accuracies before two are known."""
_LEAST_SPREAD = 1e-6
"""Below, results differ by the rounding of their average only."""
_PRIOR_COUNT = 4
"""Results that an earlier run's spread counts for."""
_FAILED = np.log(2.0)
"""A training that comes to less than half of the best accuracy has failed: by how much would only set the scale."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Members that one run has trained."""

    members: Encoded
    """(N, number of choices)"""
    logs: Array
    """Logarithms of accuracy, (N,), or of what else of the reward is unknown, see `Knowledge.log_accuracies`; those of
    failed trainings are lifted to half of the best."""

    @staticmethod
    def of(members: Encoded, logs: Array) -> "Trained":
        """Take results as they are, and lift those of failed trainings."""
        return Trained(members, np.maximum(logs, logs.max(initial=-np.inf) - _FAILED))


class AccuracyModel:
    """Log-accuracies as a Gaussian process, those of earlier runs correlated with those of the present one."""

    def __init__(
        self,
        describe: Descriptor,
        trained: Trained,
        earlier: Sequence[Trained],
        h: Hyperparameters,
        scale: tuple[float, float] | None = None,
    ) -> None:
        """
        Args:
            describe: Makes points of members.
            trained: By the present run.
            earlier: By each earlier run.
            h: Of the covariance, see `fit_covariance`.
            scale: Mean and standard deviation that the present run's results are standardised by; theirs by default.
        """
        self._describe, self._trained, self._earlier, self.h = describe, trained, earlier, h
        self._mean, self._spread = self._scale = scale or _scale(describe, trained, earlier)

    @cached_property
    def _posterior(self) -> Posterior:
        return Posterior(self.h, *_points_and_targets(self._describe, self._trained, self._earlier, self._scale))

    def __call__(self, encoded: Encoded) -> tuple[Array, Array]:
        """Mean and standard deviation of log-accuracies, without a training's own noise, (N,) each."""
        mean, deviation = self._posterior(self._describe(encoded))
        return self._mean + self._spread * mean, self._spread * deviation

    def between(self, one: Encoded, other: Encoded) -> Array:
        """Covariance of log-accuracies of members with those of others, (N, M)."""
        return self._spread**2 * self._posterior.between(self._describe(one), self._describe(other))

    def gains(self, encoded: Encoded, over: Encoded) -> tuple[Array, Array]:
        """Mean and standard deviation of how far log-accuracies lie above that of one member, (N,) each.

        Args:
            encoded: (N, number of choices)
            over: The one member, (number of choices,).
        """
        both = np.concatenate([over[None], encoded])
        mean, covariance = self(both)[0], self.between(both, both)
        variance = np.diag(covariance)[1:] + covariance[0, 0] - 2.0 * covariance[0, 1:]
        return mean[1:] - mean[0], np.sqrt(np.maximum(variance, 0.0))

    def left_out(self) -> tuple[Array, Array]:
        """Mean and standard deviation of each trained member's log-accuracy, had it alone not been trained, (N,) each.

        The covariance stays as it was fitted to all, and a training's own noise is not in the deviation.
        """
        mean, deviation = self._posterior.left_out()
        count = len(self._trained.logs)
        return self._mean + self._spread * mean[:count], self._spread * deviation[:count]

    @property
    def credibility(self) -> float:
        """Logarithm of the density of the run's results, each predicted from all others, up to a constant."""
        mean, deviation = self.left_out()
        variance = deviation**2 + self.noise**2
        return float(-0.5 * np.sum((self._trained.logs - mean) ** 2 / variance + np.log(variance)))

    @property
    def noise(self) -> float:
        """Standard deviation of log-accuracy between two trainings of one architecture."""
        return self._spread * float(np.sqrt(self.h.noise))

    def imagining(self, encoded: Encoded) -> "AccuracyModel":
        """What would be believed if these had come out as expected."""
        if not len(encoded):
            return self
        mean, _ = self(encoded)
        members = np.concatenate([self._trained.members, encoded])
        trained = Trained(members, np.append(self._trained.logs, mean))
        return AccuracyModel(self._describe, trained, self._earlier, self.h, self._scale)


def fit_covariance(describe: Descriptor, trained: Trained, earlier: Sequence[Trained]) -> Hyperparameters:
    """The covariance that explains what was trained best."""
    points, targets = _points_and_targets(describe, trained, earlier, _scale(describe, trained, earlier))
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_FITTED)).round().astype(np.int64))
    return fit(points.take(places), targets[places])


def _points_and_targets(
    describe: Descriptor, trained: Trained, earlier: Sequence[Trained], scale: tuple[float, float]
) -> tuple[Points, Array]:
    """All that was trained, each run's results standardised on their own."""
    points, targets = [describe(trained.members)], [_standardised(trained, *scale)]
    for run, other in enumerate(earlier, start=1):
        points.append(describe(other.members, run))
        targets.append(_standardised(other, *_scale(describe, other, ())))
    return stack(points), np.concatenate(targets)


def _standardised(trained: Trained, mean: float, spread: float) -> Array:
    return (trained.logs - mean) / spread


def _scale(describe: Descriptor, trained: Trained, earlier: Sequence[Trained]) -> tuple[float, float]:
    """Mean and standard deviation of a run's results; few results lean on earlier runs' spread.

    A run's mean says which members it has trained, so with earlier runs it is that of what the first of them leaves
    unexplained.
    """
    count = len(trained.logs)
    spreads = [np.var(other.logs) for other in earlier if len(other.logs) > 1]
    variance = float(np.var(trained.logs)) if count else 0.0
    if spreads:
        variance = (count * variance + _PRIOR_COUNT * float(np.mean(spreads))) / (count + _PRIOR_COUNT)
    spread = float(np.sqrt(variance)) if variance > _LEAST_SPREAD**2 else _EXPECTED_SPREAD
    if not count:
        return float(np.mean(earlier[0].logs)) if earlier else 0.0, spread
    explained = spread * _foretold(describe, trained.members, earlier) if earlier else 0.0
    return float(np.mean(trained.logs - explained)), spread


def _foretold(describe: Descriptor, members: Encoded, earlier: Sequence[Trained]) -> Array:
    """Standardised log-accuracies of members as the first earlier run would have it, (N,)."""
    first, points = describe(earlier[0].members), describe(members)
    h = expected(points.bits.shape[1], points.features.shape[1])
    return Posterior(h, first, _standardised(earlier[0], *_scale(describe, earlier[0], ())))(points)[0]
