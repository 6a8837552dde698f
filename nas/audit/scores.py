"""The trainings of an audit as arrays, and how well one set of numbers picks out the best by another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from .config import ProxyTraining
from .results import AuditResults

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """All trainings of one kind; NaN where there is none yet, or none that came to its end."""

    accuracy: Floats
    """(replicates, architectures)"""
    seconds: Floats
    """Of training steps, (replicates, architectures)."""
    curves: Floats
    """Accuracy after each epoch, (epochs, replicates, architectures)."""


def scores_of(results: AuditResults, training: ProxyTraining) -> Scores:
    """What the trainings of one kind reached, and what they took."""
    cells = {cell: record for cell, record in results.trainings.items() if cell.training == training.key}
    shape = (1 + max((cell.replicate for cell in cells), default=0), len(results.architectures))
    accuracy, seconds = np.full((2, *shape), np.nan)
    curves = np.full((training.epochs, *shape), np.nan)
    for cell, record in cells.items():
        place = cell.replicate, cell.number
        accuracy[place], seconds[place] = record.accuracy, record.train_seconds
        known = record.curve[: training.epochs]
        curves[(slice(len(known)), *place)] = known
    return Scores(accuracy=accuracy, seconds=seconds, curves=curves)


def mean_of(values: Floats) -> Floats:
    """The mean over the replicates that there are, (architectures,); NaN where there is none."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """Architectures that have the same number of trainings of one kind, so that one can be held against the others."""

    numbers: NDArray[np.integer]
    """Their places in the sample, (M,)."""
    rows: NDArray[np.integer]
    """Which replicates those are, (trainings, M)."""

    def of(self, values: Floats) -> Floats:
        """(trainings, M) of (replicates, architectures)."""
        return np.asarray(values[self.rows, self.numbers])

    def others(self, values: Floats) -> Floats:
        """For each training the mean of the other trainings of its architecture, (trainings, M)."""
        chosen = self.of(values)
        return np.asarray((chosen.sum(axis=0) - chosen) / (len(chosen) - 1))


def repeated(accuracy: Floats) -> Repeated | None:
    """The architectures and trainings that tell most of the spread from seed to seed.

    While a round of repetitions is under way, either few architectures have many trainings or many have few: what
    counts is the number of trainings beyond the first.

    Args:
        accuracy: (replicates, architectures), NaN where there is none.

    Returns:
        None where fewer than three architectures were trained twice.
    """
    there = np.isfinite(accuracy)
    counts = there.sum(axis=0)
    choices = [num for num in range(2, len(accuracy) + 1) if (counts >= num).sum() >= 3]
    if not choices:
        return None
    num = max(choices, key=lambda num: ((num - 1) * int((counts >= num).sum()), -num))
    numbers = np.flatnonzero(counts >= num)
    first = np.argsort(~there, axis=0, kind="stable")[:num]
    return Repeated(numbers=numbers, rows=first[:, numbers])


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a search by one number would have found, as another number judges it."""

    found: int
    """How many of the best by the other number are among the best by this one."""
    num_best: int
    chance: float
    """Probability that as many or more are found by drawing at random."""
    regret: float
    """How much the first by this number falls short of the best, in the other number."""


def select(predicted: Floats, true: Floats, num_best: int) -> Selection | None:
    """Pick the best by one number and judge them by another; ties in it count against it.

    Args:
        predicted: One number for each candidate, (N,).
        true: What counts, (N,).
        num_best: How many are picked.

    Returns:
        None where there are no more candidates than are picked.
    """
    if len(true) <= num_best:
        return None
    picked = np.lexsort((true, -predicted))[:num_best]
    best = np.argsort(-true, kind="stable")[:num_best]
    found = len(np.intersect1d(picked, best))
    return Selection(
        found=found,
        num_best=num_best,
        chance=float(hypergeom.sf(found - 1, len(true), num_best, num_best)),
        regret=float(true.max() - true[picked[0]]),
    )
