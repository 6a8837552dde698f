"""Beds without a surrogate: only what was really trained can be chosen."""

import numpy as np
from numpy.typing import NDArray

from proxies.costs import CostArrays, Encoded, MemberCosts
from search_spaces.space import SearchSpace

from .bed import Bed, cost_factors, reference_reward
from .surrogates import Predict


def make_row_bed(
    name: str,
    title: str,
    space: SearchSpace,
    *,
    rows: Encoded,
    accuracy: NDArray[np.float64],
    step_time_s: NDArray[np.float64] | None,
    costs: MemberCosts,
) -> Bed:
    """A bed of given rows.

    Args:
        name: Of the bed.
        title: In headings.
        space: Whose members the rows are.
        rows: Different members, (M, number of choices).
        accuracy: Of the rows, fractions, (M,).
        step_time_s: Measured of the rows, (M,); None where `costs` is to be believed for them as well.
        costs: Of any member.
    """
    place_of = {tuple(map(int, row)): place for place, row in enumerate(rows)}
    if len(place_of) != len(rows):
        raise ValueError(f"rows must be different architectures, got {len(rows) - len(place_of)} repeated")
    known = costs if step_time_s is None else _with_rows(costs, place_of, step_time_s)
    reward = reference_reward(space, known)
    rewards = accuracy * cost_factors(reward, known(rows))
    best = int(rewards.argmax())
    return Bed(
        name=name,
        title=title,
        space=space,
        accuracy=_looked_up(place_of, accuracy),
        costs=known,
        reward=reward,
        optimum=float(rewards[best]),
        best=tuple(map(int, rows[best])),
        pool=rows,
    )


def _looked_up(place_of: dict[tuple[int, ...], int], values: NDArray[np.float64]) -> Predict:
    def look_up(encoded: Encoded) -> NDArray[np.float64]:
        try:
            return values[[place_of[tuple(map(int, row))] for row in encoded]]
        except KeyError as error:
            raise ValueError(f"accuracy is known of the bed's rows alone, got {error}") from None

    return look_up


def _with_rows(
    costs: MemberCosts, place_of: dict[tuple[int, ...], int], step_time_s: NDArray[np.float64]
) -> MemberCosts:
    """Measured step times where they are known, modelled ones elsewhere."""

    def known(encoded: Encoded) -> CostArrays:
        modelled = costs(encoded)
        places = np.array([place_of.get(tuple(map(int, row)), -1) for row in encoded], dtype=np.int64)
        seconds = step_time_s[places]
        if modelled.step_time_s is not None:
            seconds = np.where(places < 0, modelled.step_time_s, seconds)
        return CostArrays(step_time_s=seconds, params=modelled.params, macs=modelled.macs)

    return known


class NearestRow:
    """Maps a proposal to the nearest row that nobody has tried, by the number of choices that differ."""

    def __init__(self, rows: Encoded, seed: int) -> None:
        """
        Args:
            rows: (M, number of choices).
            seed: Of the order in which equally near ones are taken.
        """
        self._rows = rows[np.random.default_rng(seed).permutation(len(rows))]
        self._is_free = np.ones(len(rows), dtype=bool)

    def take(self, proposal: Encoded) -> tuple[int, ...] | None:
        """The row that is trained in place of a proposal (number of choices,); None when all are tried."""
        if not self._is_free.any():
            return None
        distances = np.where(self._is_free, (self._rows != proposal).sum(axis=1), self._rows.shape[1] + 1)
        nearest = int(distances.argmin())
        self._is_free[nearest] = False
        return tuple(map(int, self._rows[nearest]))
