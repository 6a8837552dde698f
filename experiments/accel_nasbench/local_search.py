"""The best member of a space under a reward that costs nothing to ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

Objective = Callable[[Encoded], NDArray[np.float64]]
"""Members (N, number of choices) → what is maximised, (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The best that was found."""

    value: float
    places: tuple[int, ...]
    """The member, see `SearchSpace.encode`."""
    hits: int
    """Restarts that ended there."""
    restarts: int


def find_optimum(objective: Objective, num_values: Sequence[int], *, restarts: int = 40, seed: int = 0) -> Optimum:
    """Climb from random members until no exchange of one or of two choices improves.

    Args:
        objective: What is maximised.
        num_values: Of each choice.
        restarts: Random starts.
        seed: Of the starts.
    """
    rng = np.random.default_rng(seed)
    ends = [_climb(objective, rng.integers(num_values), num_values) for _ in range(restarts)]
    best, places = max(ends, key=lambda end: end[0])
    hits = sum(bool(np.isclose(value, best, rtol=1e-9, atol=0.0)) for value, _ in ends)
    return Optimum(value=best, places=tuple(map(int, places)), hits=hits, restarts=restarts)


def _climb(
    objective: Objective, start: NDArray[np.int64], num_values: Sequence[int]
) -> tuple[float, NDArray[np.int64]]:
    value, member = float(objective(start[None])[0]), start
    while True:
        for neighbours in (one_exchanges, two_exchanges):
            around = neighbours(member, num_values)
            values = objective(around)
            best = int(values.argmax())
            if values[best] > value:
                value, member = float(values[best]), around[best]
                break
        else:
            return value, member


def one_exchanges(member: NDArray[np.int64], num_values: Sequence[int]) -> Encoded:
    """Every member that differs in one choice."""
    changes = _changes(member, num_values)
    around = np.repeat(member[None], len(changes), axis=0)
    for row, (choice, place) in enumerate(changes):
        around[row, choice] = place
    return around


def two_exchanges(member: NDArray[np.int64], num_values: Sequence[int]) -> Encoded:
    """Every member that differs in two choices."""
    changes = np.array(_changes(member, num_values))
    first, second = np.triu_indices(len(changes), k=1)
    differ = changes[first, 0] != changes[second, 0]
    first, second = first[differ], second[differ]
    around = np.repeat(member[None], len(first), axis=0)
    rows = np.arange(len(first))
    around[rows, changes[first, 0]] = changes[first, 1]
    around[rows, changes[second, 0]] = changes[second, 1]
    return around


def _changes(member: NDArray[np.int64], num_values: Sequence[int]) -> list[tuple[int, int]]:
    """Every other place of every choice, as (choice, place)."""
    return [
        (choice, place) for choice, count in enumerate(num_values) for place in range(count) if place != member[choice]
    ]
