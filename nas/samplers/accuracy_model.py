"""What is believed of accuracies that were not measured, from those that were: the only unknown factor of a reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .descriptors import Descriptor
from .gaussian_process import Hyperparameters, Points, Posterior, fit, stack

Array = NDArray[np.float64]

_MOST_FITTED = 200
"""Architectures that decide on the covariance; more change it little and cost the third power."""
_EXPECTED_SPREAD = 0.05
"""Standard deviation of log-accuracies before two are known."""
_PRIOR_COUNT = 4
"""Results that an earlier run's spread counts for."""
_MOST_SPREADS = 5.0
"""How far below the median a result may lie; a training that failed would otherwise set the scale."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Members that one run has trained."""

    members: Encoded
    """(N, number of choices)"""
    logs: Array
    """Logarithms of accuracy, (N,); those of failed trainings are lifted to the edge of the others."""

    @staticmethod
    def of(members: Encoded, logs: Array) -> "Trained":
        """Take results as they are, and lift what lies far below the others."""
        if not len(logs):
            return Trained(members, logs)
        median = np.median(logs)
        spread = np.sqrt(np.mean((logs[logs >= median] - median) ** 2))
        return Trained(members, np.maximum(logs, median - _MOST_SPREADS * spread) if spread else logs)


class AccuracyModel:
    """Log-accuracies as a Gaussian process, those of earlier runs correlated with those of the present one."""

    def __init__(self, describe: Descriptor, trained: Trained, earlier: Sequence[Trained], h: Hyperparameters) -> None:
        """
        Args:
            describe: Makes points of members.
            trained: By the present run.
            earlier: By each earlier run.
            h: Of the covariance, see `fit_covariance`.
        """
        self._describe, self._trained, self._earlier, self.h = describe, trained, earlier, h
        self._mean, self._spread = _scale(trained, earlier)

    @cached_property
    def _posterior(self) -> Posterior:
        return Posterior(self.h, *_points_and_targets(self._describe, self._trained, self._earlier))

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
    def noise(self) -> float:
        """Standard deviation of log-accuracy between two trainings of one architecture."""
        return self._spread * float(np.sqrt(self.h.noise))

    def imagining(self, encoded: Encoded) -> "AccuracyModel":
        """What would be believed if these had come out as expected."""
        if not len(encoded):
            return self
        mean, _ = self(encoded)
        members = np.concatenate([self._trained.members, encoded])
        imagined = AccuracyModel(
            self._describe, Trained(members, np.append(self._trained.logs, mean)), self._earlier, self.h
        )
        imagined._mean, imagined._spread = self._mean, self._spread
        return imagined


def fit_covariance(describe: Descriptor, trained: Trained, earlier: Sequence[Trained]) -> Hyperparameters:
    """The covariance that explains what was trained best."""
    points, targets = _points_and_targets(describe, trained, earlier)
    places = np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST_FITTED)).round().astype(np.int64))
    return fit(points.take(places), targets[places])


def _points_and_targets(describe: Descriptor, trained: Trained, earlier: Sequence[Trained]) -> tuple[Points, Array]:
    """All that was trained, each run's results standardised on their own."""
    points, targets = [describe(trained.members)], [_standardised(trained, *_scale(trained, earlier))]
    for run, other in enumerate(earlier, start=1):
        points.append(describe(other.members, run))
        targets.append(_standardised(other, *_scale(other, ())))
    return stack(points), np.concatenate(targets)


def _standardised(trained: Trained, mean: float, spread: float) -> Array:
    return (trained.logs - mean) / spread


def _scale(trained: Trained, earlier: Sequence[Trained]) -> tuple[float, float]:
    """Mean and standard deviation of a run's results; few results lean on earlier runs' spread."""
    count = len(trained.logs)
    expected = [np.var(other.logs) for other in earlier if len(other.logs) > 1]
    variance = float(np.var(trained.logs)) if count else 0.0
    if expected:
        variance = (count * variance + _PRIOR_COUNT * float(np.mean(expected))) / (count + _PRIOR_COUNT)
    mean = float(np.mean(trained.logs)) if count else float(np.mean(earlier[0].logs)) if earlier else 0.0
    return mean, float(np.sqrt(variance)) or _EXPECTED_SPREAD
