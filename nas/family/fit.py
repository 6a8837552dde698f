"""Fitting α, β and γ: which direction of growth has the best reward, as EfficientNet's authors asked on B0.

Every direction is followed as far as twice the network's multiply-adds allow, or one budget. Parameters are known and
step times predicted, so only the few whose costs promise most, and that differ in where they grow, are trained.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.scaling import Coefficients

from ..evaluation_tasks import Evaluation
from ..leaderboard import Z95, mean_accuracy, variance_between_trainings
from ..reward import Reward
from .members import FitEntry
from .source import CostsOf

_LIKE_MACS = 0.8

Grow = Callable[[Coefficients | None], Architecture | None]
"""From coefficients (None: the ladder) to a larger network, at equal cost; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCandidate:
    """A larger network, and the coefficients that lead to it."""

    coefficients: Coefficients | None
    """None: growth along the ladder, which is always trained, since it is what would be used otherwise."""
    architecture: Architecture
    step_time_s: float
    """Predicted."""
    step_time_rse: float
    """Its relative standard error."""
    params: int
    macs: int
    cost_factor: float
    """What its accuracy will be multiplied by."""


def fit_candidates(grid: Iterable[Coefficients], grow: Grow, costs: CostsOf, reward: Reward) -> list[FitCandidate]:
    """The different networks of a grid, the ladder's first.

    Raises:
        ValueError: If step times are unknown.
    """
    found: dict[Architecture, FitCandidate] = {}
    for coefficients in (None, *grid):
        architecture = grow(coefficients)
        if architecture is None or architecture in found:
            continue
        known = costs(architecture)
        if known.step_time_s is None:
            raise ValueError("fitting needs step times that are predicted: a run with a step-time table")
        found[architecture] = FitCandidate(
            coefficients=coefficients,
            architecture=architecture,
            step_time_s=known.step_time_s,
            step_time_rse=known.step_time_rse,
            params=known.params,
            macs=known.macs,
            cost_factor=reward.cost_factor(step_time_s=known.step_time_s, params=known.params),
        )
    return list(found.values())


def of_like_macs(candidates: Sequence[FitCandidate]) -> list[FitCandidate]:
    """Those that come near the largest in multiply-adds, and the ladder's: whole layers and sizes keep others small.

    A network that has hardly grown is cheap for that alone, which says nothing of its direction.
    """
    most = max((candidate.macs for candidate in candidates), default=0)
    return [each for each in candidates if each.coefficients is None or each.macs >= _LIKE_MACS * most]


def choose_survivors(candidates: Sequence[FitCandidate], count: int) -> list[FitCandidate]:
    """The ladder's candidate, and of groups that grow in like directions the one with the best costs each.

    Groups form around the candidates that lie farthest from each other in the shares of growth that go to depth, width
    and size: costs alone would choose neighbours whose accuracies nobody could tell apart.

    Args:
        candidates: As `fit_candidates` gives them.
        count: How many, the ladder's included.
    """
    ladder = [candidate for candidate in candidates if candidate.coefficients is None]
    others = [candidate for candidate in candidates if candidate.coefficients is not None]
    wanted = min(count - len(ladder), len(others))
    if wanted <= 0:
        return ladder[:count]
    shares = np.array([_shares(candidate.coefficients) for candidate in others if candidate.coefficients])
    factors = np.array([candidate.cost_factor for candidate in others])
    centres = [int(factors.argmax())]
    while len(centres) < wanted:
        distances = _distances(shares, shares[centres]).min(axis=1)
        if not distances.any():  # all that is left grows as a centre does
            break
        centres.append(int(distances.argmax()))
    group = _distances(shares, shares[centres]).argmin(axis=1)
    chosen = [max(np.flatnonzero(group == place), key=lambda index: factors[index]) for place in range(len(centres))]
    return [*ladder, *(others[index] for index in sorted(set(chosen), key=lambda index: -factors[index]))]


def rank_survivors(
    survivors: Sequence[FitCandidate], evaluations: Mapping[str, Sequence[Evaluation]], reward: Reward
) -> list[FitEntry]:
    """What the trainings showed, best reward first; a survivor without any is left out.

    Args:
        survivors: That were to be trained.
        evaluations: By architecture, the first with its measured step time where the target is here.
        reward: Of the run.
    """
    trained = [
        (each, evaluations[str(each.architecture)]) for each in survivors if evaluations.get(str(each.architecture))
    ]
    between = variance_between_trainings([[one.accuracy for one in found] for _, found in trained])
    entries = []
    for candidate, found in trained:
        accuracy, accuracy_se = mean_accuracy([one.accuracy for one in found], between)
        measured = next((one.step_time for one in found if one.step_time is not None), None)
        step_time_s, step_time_rse = candidate.step_time_s, candidate.step_time_rse
        if measured is not None:
            step_time_s, step_time_rse = measured.median_s, measured.relative_standard_error
        factor = reward.cost_factor(step_time_s=step_time_s, params=candidate.params)
        entries.append(
            FitEntry(
                coefficients=candidate.coefficients,
                architecture=str(candidate.architecture),
                accuracy=accuracy,
                accuracy_se=accuracy_se,
                num_trainings=len(found),
                predicted_step_time_s=candidate.step_time_s,
                measured_step_time_s=measured.median_s if measured else None,
                params=candidate.params,
                macs=candidate.macs,
                reward=accuracy * factor,
                reward_se=factor * math.hypot(accuracy_se, accuracy * reward.w * step_time_rse),
            )
        )
    return sorted(entries, key=lambda entry: -entry.reward)


def chosen_entry(entries: Sequence[FitEntry]) -> FitEntry:
    """The best, unless it cannot be told from the ladder's own growth: then there is no reason to leave that."""
    best = entries[0]
    for entry in entries:
        if entry.coefficients is None and not _is_better(best, entry):
            return entry
    return best


def _is_better(entry: FitEntry, other: FitEntry) -> bool:
    return entry.reward - other.reward > Z95 * math.hypot(entry.reward_se, other.reward_se)


def _shares(found: Coefficients) -> NDArray[np.float64]:
    """Of the growth in multiply-adds, what goes to depth, width and size."""
    parts = np.array([math.log(found.alpha), 2 * math.log(found.beta), 2 * math.log(found.gamma)])
    return np.asarray(parts / parts.sum())


def _distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean: (N, D), (M, D) → (N, M)."""
    return np.asarray(np.linalg.norm(points[:, None] - centres[None], axis=-1))
