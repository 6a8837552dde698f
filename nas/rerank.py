"""A finished search judged again with other exponents: nothing is trained again, because A, S and P are stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .leaderboard import Z95, Entry, compare
from .reward import PAPER_V, PAPER_W, Reward
from .trials import State

if TYPE_CHECKING:
    from .run import Run

# Exponents of the map: from "cost does not matter" to four times the paper's, in steps of an eighth of the paper's.
NUM_STEPS = 33
MAX_MULTIPLE = 4.0


def rerank(run: "Run", w: float, v: float) -> list[Entry]:
    """Rank a run's architectures by the reward with other exponents, best first.

    The retrained architectures were chosen for the run's own exponents, so here they do not stand above all others.
    The leader is the best of them unless an architecture that was trained once is better beyond the noise: the best of
    many single trainings is partly the luckiest.

    Args:
        run: A run, finished or not.
        w: Exponent of step time.
        v: Exponent of parameters.

    Raises:
        ValueError: If an exponent is not finite.
    """
    if (w, v) == (run.config.w, run.config.v):
        return run.leaderboard()
    entries = run.leaderboard(run.reward(w=w, v=v))
    return _ranked(entries) if entries else []


def pruned_note(run: "Run") -> str | None:
    """In one line, who is missing in whatever ranks by other exponents; None where nobody is."""
    count = sum(record.is_judged and record.state is State.PRUNED for record in run.records)
    if not count:
        return None
    were, are = ("candidate was", "is") if count == 1 else ("candidates were", "are")
    return f"{count} {were} pruned for w = {run.config.w:g}, v = {run.config.v:g} and {are} not ranked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityMap:
    """Which trial would win at which exponents."""

    ws: tuple[float, ...]
    """Exponents of step time, ascending."""
    vs: tuple[float, ...]
    """Exponents of parameters, ascending."""
    winners: tuple[tuple[int, ...], ...]
    """Trial numbers: ``winners[i][j]`` leads at ``ws[i]``, ``vs[j]``, by the rule of `rerank`."""

    @property
    def shares(self) -> dict[int, float]:
        """Share of the map that each winning trial holds, largest first."""
        cells = [number for row in self.winners for number in row]
        held = {number: cells.count(number) / len(cells) for number in set(cells)}
        return dict(sorted(held.items(), key=lambda item: (-item[1], item[0])))


def sensitivity_map(
    entries: Sequence[Entry], reward: Reward, *, ws: Sequence[float] = (), vs: Sequence[float] = ()
) -> SensitivityMap:
    """Find the winner at each pair of exponents.

    Args:
        entries: A leaderboard of the run; its own rewards are not read.
        reward: Gives the references of S and P.
        ws: Exponents of step time; by default from -0.28 to 0, and on to the run's own where that lies outside.
        vs: Exponents of parameters; by default from -0.2 to 0, likewise.

    Raises:
        ValueError: If there is no entry.
    """
    if not entries:
        raise ValueError("a sensitivity map needs at least one judged architecture, got none")
    ws, vs = ws or exponents(PAPER_W, reward.w), vs or exponents(PAPER_V, reward.v)
    rewards, errors = _rewards(entries, reward, np.array(ws), np.array(vs))
    retrained = np.array([entry.num_trainings > 1 for entry in entries])
    places = _winning_places(rewards, errors, retrained)
    numbers = np.array([entry.number for entry in entries])
    return SensitivityMap(
        ws=tuple(map(float, ws)), vs=tuple(map(float, vs)), winners=tuple(map(tuple, numbers[places].tolist()))
    )


def exponents(usual: float, own: float) -> tuple[float, ...]:
    """A grid from four times the usual exponent to 0; it reaches and holds the run's own.

    >>> exponents(-0.07, -0.07)[0], exponents(-0.07, -0.07)[-1]
    (-0.28, 0.0)
    """
    low, high = min(MAX_MULTIPLE * usual, own), max(0.0, own)
    grid = {round(float(value), 6) for value in np.linspace(low, high, NUM_STEPS)}
    return tuple(sorted(grid | {own, usual, 0.0}))


def _rewards(
    entries: Sequence[Entry], reward: Reward, ws: NDArray[np.float64], vs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rewards and their standard errors, each of shape (len(ws), len(vs), len(entries)); see `leaderboard._entry`."""
    columns = [(e.accuracy, e.accuracy_se, e.step_time_s, e.step_time_se, e.params) for e in entries]
    accuracy, accuracy_se, step_time, step_time_se, params = np.array(columns, dtype=float).T
    w, v = ws[:, None, None], vs[None, :, None]
    factor = (step_time / reward.step_time_ref_s) ** w * (params / reward.params_ref) ** v
    return accuracy * factor, factor * np.hypot(accuracy_se, accuracy * w * step_time_se / step_time)


def _winning_places(
    rewards: NDArray[np.float64], errors: NDArray[np.float64], retrained: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Index of each cell's winner: the best retrained one, unless another is better beyond the noise."""
    best = rewards.argmax(axis=-1)
    if not retrained.any():
        return best
    held = np.where(retrained, rewards, -np.inf).argmax(axis=-1)
    lead = _pick(rewards, best) - _pick(rewards, held)
    noise = np.hypot(_pick(errors, best), _pick(errors, held))
    return np.where(lead > Z95 * noise, best, held)


def _pick(values: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.take_along_axis(values, places[..., None], axis=-1)[..., 0]


def _ranked(entries: Sequence[Entry]) -> list[Entry]:
    by_reward = sorted(entries, key=lambda entry: (-entry.reward, entry.number))
    leader = next((entry for entry in by_reward if entry.num_trainings > 1), by_reward[0])
    if compare(by_reward[0], leader) == "yes":
        leader = by_reward[0]
    order = [leader, *(entry for entry in by_reward if entry is not leader)]
    return [
        replace(entry, rank=rank, tied=rank > 1 and compare(entry, leader) == "undecided")
        for rank, entry in enumerate(order, start=1)
    ]
