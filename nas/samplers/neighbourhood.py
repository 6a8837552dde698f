"""The best member by some score: from a good start, through members that differ in one or two choices."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded

from .history import Members

Array = NDArray[np.float64]
Score = Callable[[Encoded], Array]
"""Higher is better, (N,)."""

_KEPT = 200
"""Members that stay in view from round to round."""
_EXPANDED = 6
"""Members whose neighbours are looked at in a round."""
_DOUBLE = 25
"""Random members around each that differ in up to two choices."""
_ROUNDS = 8


def keys(encoded: Encoded) -> list[bytes]:
    """Something to tell members by."""
    return [row.tobytes() for row in np.ascontiguousarray(encoded, dtype=np.int16)]


def distinct(encoded: Encoded, known: Iterable[bytes] = ()) -> Encoded:
    """The rows without repetition, and without those that are known, in their order."""
    seen, places = set(known), []
    for place, key in enumerate(keys(encoded)):
        if key not in seen:
            seen.add(key)
            places.append(place)
    return encoded[places]


class Neighbourhood:
    """Moves from member to member."""

    def __init__(self, members: Members) -> None:
        self._members, self._sizes = members, np.array(members.sizes, dtype=np.int64)
        moves = [(column, step) for column, size in enumerate(members.sizes) for step in range(1, size)]
        self._columns, self._steps = np.array(moves, dtype=np.int64).reshape(len(moves), 2).T

    def random(self, count: int, rng: np.random.Generator) -> Encoded:
        """So many members, each choice drawn uniformly and independently."""
        return self._members.canonical_rows(rng.integers(0, self._sizes, (count, len(self._sizes))))

    def exchanges(self, encoded: Encoded) -> Encoded:
        """Every member that differs from one of these in one choice."""
        moved = np.repeat(encoded, len(self._columns), axis=0)
        self._move(moved, np.tile(np.arange(len(self._columns)), len(encoded)))
        return self._members.canonical_rows(moved)

    def double_exchanges(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        """Random members around each of these that differ in up to two choices."""
        return self.random_step(np.repeat(encoded, _DOUBLE, axis=0), rng)

    def random_step(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        """For each of these a random member that differs in up to two choices."""
        moved = encoded.copy()
        for _ in range(2 if len(self._columns) else 0):
            self._move(moved, rng.integers(0, len(self._columns), len(moved)))
        return self._members.canonical_rows(moved)

    def climb(self, start: Encoded, score: Score, rng: np.random.Generator, known: Sequence[bytes] = ()) -> Encoded:
        """Members of high score, the best one first, found from a start by looking around the best again and again.

        Args:
            start: Members, (N, number of choices).
            score: Of members.
            rng: Draws members that differ in two choices.
            known: Members that are never looked at.

        Returns:
            At most 200 different members; none if the start holds known ones only.
        """
        seen, expanded = set(known), set[bytes]()
        found = distinct(start, seen)
        seen.update(keys(found))
        scores = score(found)
        for _ in range(_ROUNDS):
            order = np.argsort(-scores, kind="stable")[:_KEPT]
            found, scores = found[order], scores[order]
            fresh = [(place, key) for place, key in enumerate(keys(found)) if key not in expanded][:_EXPANDED]
            if not fresh:
                break
            expanded.update(key for _, key in fresh)
            centres = found[[place for place, _ in fresh]]
            around = distinct(np.concatenate([self.exchanges(centres), self.double_exchanges(centres, rng)]), seen)
            seen.update(keys(around))
            found, scores = np.concatenate([found, around]), np.concatenate([scores, score(around)])
        return found[np.argsort(-scores, kind="stable")[:_KEPT]]

    def _move(self, encoded: Encoded, moves: NDArray[np.int64]) -> None:
        rows, columns = np.arange(len(encoded)), self._columns[moves]
        encoded[rows, columns] = (encoded[rows, columns] + self._steps[moves]) % self._sizes[columns]
