"""How well one number ranks what another number is the truth of: Kendall's τ with its spread."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kendalltau, rankdata

NUM_DRAWS = 1_000
_BLOCK = 512
"""Candidates that are compared with all at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Kendall's τ, and what it would be on other candidates."""

    tau: float
    low: float
    """Of the 90 % bootstrap interval over candidates."""
    high: float

    def __str__(self) -> str:
        return f"{self.tau:.3f} [{self.low:.2f}, {self.high:.2f}]"


def rank(predicted: ArrayLike, true: ArrayLike, *, seed: int = 0) -> Ranking:
    """Kendall's τ-b between two numbers of the same candidates.

    Args:
        predicted: One number for each candidate, (N,).
        true: The number it stands for, (N,).
        seed: Of the bootstrap.

    Raises:
        ValueError: If there are fewer than three candidates or the lengths differ.
    """
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) < 3:
        raise ValueError(f"ranking takes two numbers of at least three candidates, got {predicted.shape}, {true.shape}")
    return mean_rank(predicted[None], true[None], seed=seed)


def mean_rank(predicted: ArrayLike, true: ArrayLike, *, seed: int = 0) -> Ranking:
    """Kendall's τ-b, averaged over several pairs of numbers of the same candidates, e.g. over repeated trainings.

    Its interval is that over candidates, each drawn with all its numbers.

    Args:
        predicted: For each pair one number for each candidate, (pairs, N).
        true: The numbers they stand for, (pairs, N).
        seed: Of the bootstrap.

    Raises:
        ValueError: If there are fewer than three candidates or the shapes differ.
    """
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if predicted.shape != true.shape or predicted.ndim != 2 or true.shape[1] < 3 or not len(true):
        raise ValueError(f"ranking takes pairs of at least three candidates, got {predicted.shape}, {true.shape}")
    rows = np.random.default_rng(seed).integers(true.shape[1], size=(NUM_DRAWS, true.shape[1]))
    pairs = list(zip(predicted, true, strict=True))
    drawn = np.mean([_resampled_taus(one, other, rows) for one, other in pairs], axis=0)
    low, high = np.nanquantile(drawn, (0.05, 0.95))
    tau = np.mean([kendalltau(one, other).statistic for one, other in pairs])
    return Ranking(tau=float(tau), low=float(low), high=float(high))


def tau_ceiling(true: ArrayLike, relative_error: float, *, seed: int = 0) -> float:
    """The τ a perfect predictor would reach, on average, against measurements that have an error of their own.

    Args:
        true: Measured numbers, positive, (N,); taken for the truth.
        relative_error: Standard error ÷ value of each of them.
        seed: Of the simulated errors.
    """
    true = np.asarray(true, dtype=float)
    errors = np.random.default_rng(seed).normal(0.0, relative_error, (NUM_DRAWS, len(true)))
    return float(np.mean([kendalltau(true, true * np.exp(error)).statistic for error in errors]))


def _resampled_taus(
    predicted: NDArray[np.float64], true: NDArray[np.float64], rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """τ-b of each sample with replacement, (number of samples,), from one comparison of every pair.

    Args:
        predicted: One number for each candidate, (N,).
        true: The number it stands for, (N,).
        rows: Places of the drawn candidates, (number of samples, N).
    """
    one, other = rankdata(predicted), rankdata(true)
    counts = np.stack([np.bincount(row, minlength=len(one)) for row in rows]).astype(np.float64)
    agreeing, apart, truly_apart = np.zeros((3, len(rows)))
    for start in range(0, len(one), _BLOCK):
        block = slice(start, start + _BLOCK)
        signs, true_signs = np.sign(one[block, None] - one), np.sign(other[block, None] - other)
        for total, pairs in ((agreeing, signs * true_signs), (apart, abs(signs)), (truly_apart, abs(true_signs))):
            # A pair counts as often as both were drawn; copies of one candidate are tied with each other.
            total += np.einsum("db,db->d", counts[:, block], counts @ pairs.T)
    with np.errstate(invalid="ignore"):
        return np.asarray(agreeing / np.sqrt(apart * truly_apart))
