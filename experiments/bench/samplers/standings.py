"""What many games say: gaps at given numbers of trainings, how soon they are small, and paired differences."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .game import BUDGETS
from .players import REFERENCE

NUM_DRAWS = 2_000
THRESHOLDS = (0.01, 0.005)

Curves = NDArray[np.float64]
"""One row for each seed, one column for each training, (seeds, trainings)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds."""

    mean: float
    se: float
    """Standard error; not a number with a single seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean difference, and its 95 % bootstrap interval over seeds."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How one sampler did on one bed."""

    sampler: str
    seeds: tuple[int, ...]
    gap: Curves
    """Of the best trained."""
    observed: Curves
    """True gap of the best observed."""
    chosen: Curves
    """True gap of the final choice; not a number but at `BUDGETS`."""
    volume: Curves
    """Of a Pareto search; not a number otherwise."""
    seconds: float
    """For one proposal, on average."""

    @property
    def trainings(self) -> int:
        return self.gap.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Samplers that played on one bed by the same rules."""

    bed: str
    objectives: str
    noise: bool
    batch: int
    final_choice: str
    standings: tuple[Standing, ...]

    @property
    def reference(self) -> Standing | None:
        """Whom all others are compared with."""
        return next((each for each in self.standings if each.sampler == REFERENCE), None)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The numbers of trainings at which games are compared: `BUDGETS` as far as they go, and the last."""
        longest = max(each.trainings for each in self.standings)
        return (*(budget for budget in BUDGETS if budget < longest), longest)


CONTEST = ["bed", "objectives", "noise", "batch", "final_choice"]


def contests(games: pd.DataFrame) -> list[Contest]:
    """Sort games by bed and rules, samplers in the order in which they were first written."""
    found = []
    for rules, group in games.groupby(CONTEST, sort=False):
        bed, objectives, noise, batch, final_choice = rules
        standings = tuple(_standing(str(name), each) for name, each in group.groupby("sampler", sort=False))
        found.append(
            Contest(
                bed=bed,
                objectives=objectives,
                noise=bool(noise),
                batch=int(batch),
                final_choice=final_choice,
                standings=standings,
            )
        )
    return found


def _standing(sampler: str, games: pd.DataFrame) -> Standing:
    gap = _curves(games, "gap")
    return Standing(
        sampler=sampler,
        seeds=tuple(map(int, gap.index)),
        gap=gap.to_numpy(),
        observed=_curves(games, "observed_gap").to_numpy(),
        chosen=games.pivot(index="seed", columns="training", values="chosen_gap").to_numpy(dtype=float),
        volume=_curves(games, "hypervolume").to_numpy(),
        seconds=float(games["seconds"].mean()),
    )


def _curves(games: pd.DataFrame, column: str) -> pd.DataFrame:
    """A game that ended early keeps its last value."""
    wide = games.pivot(index="seed", columns="training", values=column).sort_index()
    return wide.astype(float).ffill(axis=1)


def at(curves: Curves, budget: int) -> NDArray[np.float64]:
    """The values of all seeds after so many trainings; none where nobody went so far."""
    values = curves[:, budget - 1] if budget <= curves.shape[1] else np.empty(0)
    return values[np.isfinite(values)]


def estimate(values: NDArray[np.float64]) -> Estimate | None:
    """Mean and standard error over seeds; None where there are none."""
    if len(values) == 0:
        return None
    se = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Estimate(mean=float(values.mean()), se=float(se))


def trainings_to(gap: Curves, threshold: float) -> float:
    """Median over seeds of the first training with a gap as small; infinite where half of them never get there."""
    reached = gap <= threshold
    first = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, math.inf)
    return float(np.median(first)) if np.isfinite(first).mean() > 0.5 else math.inf


def paired_difference(standing: Standing, reference: Standing, budget: int) -> Interval | None:
    """How much larger a sampler's gap is than the reference's on the same seeds; None with fewer than two seeds.

    Args:
        standing: The sampler's.
        reference: Whom it is compared with.
        budget: Trainings.
    """
    shared = sorted(set(standing.seeds) & set(reference.seeds))
    if len(shared) < 2 or budget > min(standing.trainings, reference.trainings):
        return None
    theirs, ours = (each.gap[[each.seeds.index(seed) for seed in shared], budget - 1] for each in (standing, reference))
    return bootstrap(theirs - ours)


def bootstrap(values: NDArray[np.float64]) -> Interval:
    """The mean, and where it would lie for other seeds in 95 of 100 cases."""
    rng = np.random.default_rng(0)
    drawn = values[rng.integers(len(values), size=(NUM_DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def speed_up(standing: Standing, reference: Standing, budget: int) -> Interval | None:
    """How many times fewer trainings the reference needs for the volume that a sampler has after a budget.

    Paired by seeds; a reference that never gets there counts as if it took all its trainings.

    Args:
        standing: The sampler's.
        reference: Whom it is compared with.
        budget: Trainings of the sampler.
    """
    shared = sorted(set(standing.seeds) & set(reference.seeds))
    if len(shared) < 2 or budget > standing.trainings:
        return None
    ratios = []
    for seed in shared:
        wanted = standing.volume[standing.seeds.index(seed), budget - 1]
        reached = reference.volume[reference.seeds.index(seed)] >= wanted
        needed = int(reached.argmax()) + 1 if reached.any() else len(reached)
        ratios.append(budget / needed)
    return bootstrap(np.array(ratios))
