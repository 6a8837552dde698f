"""What a short training will probably come to: learnt from the candidates whose training has finished."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

MIN_FINISHED = 8
"""Finished trainings below which nothing is forecast."""
LEAST_ERROR = 1e-3
"""Stands for a smaller error, since none has no logarithm: half an image of 500."""
LEAST_SPREAD = 0.01
"""Of a final error around its forecast, relative: a few that agree by chance do not make a law."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The final accuracy that is to be expected: the logarithm of its error follows Student's t."""

    log_error: float
    """Centre."""
    spread: float
    """Scale; that of the centre, which is not quite known either, included."""
    degrees: int
    """Of freedom."""

    @property
    def accuracy(self) -> float:
        """As likely to be exceeded as not; a fraction."""
        return _accuracy(self.log_error)

    def at_most(self, tail: float) -> float:
        """The accuracy, a fraction of at most 1, that is exceeded with a probability of no more than `tail`."""
        return _accuracy(self.log_error + self.spread * float(stdtrit(self.degrees, tail)))


class LearningCurves:
    """Accuracies after each epoch of the trainings that have finished, and what they say about others.

    The logarithm of the final error is a line over the logarithm of the newest one: errors shrink by factors, and so
    their spread is even, near an accuracy of 1 as well. Only the newest epoch counts: on real curves the ones before it
    add nothing that outweighs a further coefficient where few trainings have finished.

    Finished trainings are those that were not pruned, but that bends no line: they were chosen by what stands on its
    horizontal axis. Where earlier epochs chose them too, the ones that finished are the better ones of their kind:
    the centre of a forecast errs on the side of hope. Their spread is smaller than that of all, though, so that nothing
    of the kind is sure of its tail. At a confidence of 0.95 at most 1.7 % of simulated searches pruned a leader-to-be.
    """

    def __init__(self, min_finished: int = MIN_FINISHED) -> None:
        """
        Args:
            min_finished: Trainings that must have finished before anything is forecast.

        Raises:
            ValueError: If it is below 4, where a line has hardly a spread around it.
        """
        if min_finished < 4:
            raise ValueError(f"min_finished must be at least 4, got {min_finished}")
        self._min_finished = min_finished
        self._log_errors: list[Floats] = []
        self._log_factors: list[float | None] = []

    def __len__(self) -> int:
        return len(self._log_errors)

    def add(self, curve: Sequence[float], reward_factor: float | None) -> None:
        """Learn from a finished training; where the numbers of epochs differ, from the longest alone.

        Args:
            curve: Accuracy after each epoch, fractions.
            reward_factor: R / A of the candidate; None where it is not known.
        """
        if len(curve) > self._num_epochs:
            self._log_errors, self._log_factors = [], []
        if len(curve) >= self._num_epochs:
            self._log_errors.append(_log_error(curve))
            self._log_factors.append(None if reward_factor is None else math.log(reward_factor))

    @property
    def _num_epochs(self) -> int:
        return len(self._log_errors[0]) if self._log_errors else 0

    def forecast(self, curve: Sequence[float]) -> Forecast | None:
        """What a training will come to; None after no or all of its epochs, or where too few have finished.

        Args:
            curve: Accuracy after each of its epochs so far, fractions.
        """
        if len(self) < self._min_finished or not 0 < len(curve) < self._num_epochs:
            return None
        errors = np.array(self._log_errors)
        return _along_a_line(errors[:, len(curve) - 1], errors[:, -1], float(_log_error(curve)[-1]))

    def forecast_untrained(self, reward_factor: float) -> Forecast | None:
        """What a candidate would come to, by its known cost alone; None where too few have finished.

        A costly network is often a more accurate one, so that the spread of all who finished would not do it justice:
        the logarithm of the error is a line over that of the reward's factor, with less certainty beyond its ends.

        Args:
            reward_factor: R / A of the candidate.
        """
        known = [(f, e[-1]) for f, e in zip(self._log_factors, self._log_errors, strict=True) if f is not None]
        if len(known) < self._min_finished:
            return None
        factors, errors = np.array(known).T
        return _along_a_line(factors, errors, math.log(reward_factor))


def _along_a_line(x: Floats, y: Floats, at: float) -> Forecast | None:
    """What least squares say about a further y; None where there are no different x to draw a line through."""
    centred = x - x.mean()
    extent = float(centred @ centred)
    if extent < 1e-12:
        return None
    slope = float(centred @ y) / extent
    residuals = y - y.mean() - slope * centred
    degrees = len(x) - 2
    variance = max(float(residuals @ residuals) / degrees, LEAST_SPREAD**2)
    distance = at - float(x.mean())
    return Forecast(
        log_error=float(y.mean()) + slope * distance,
        spread=math.sqrt(variance * (1 + 1 / len(x) + distance**2 / extent)),
        degrees=degrees,
    )


def _log_error(accuracies: Sequence[float]) -> Floats:
    return np.log(np.maximum(1.0 - np.asarray(accuracies, dtype=float), LEAST_ERROR))


def _accuracy(log_error: float) -> float:
    return 1.0 - math.exp(min(log_error, 0.0))
