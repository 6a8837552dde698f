"""Seconds of members as sums over their stages, fitted to measured seconds."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace

RIDGE = 0.1
"""Of cross-validation among the training rows; anything from 0.1 to 1 does as well."""


class StageTimes:
    """Predicts seconds: one entry for each combination of a stage's choices, and a constant."""

    def __init__(self, space: SearchSpace, entries: NDArray[np.float64]) -> None:
        """
        Args:
            space: Whose members.
            entries: The constant, then the stages' entries one after the other.
        """
        self.entries = entries
        self._space, self._cells = space, StageCells(space)

    def over(self, space: SearchSpace) -> Callable[[Encoded], NDArray[np.float64]]:
        """Predicts many members of the space this was fitted in.

        Raises:
            ValueError: If it is another space.
        """
        if space != self._space:
            raise ValueError(f"seconds were fitted in the space {self._space.name!r}, got {space.name!r}")
        return lambda encoded: self.entries[0] + self.entries[1 + self._cells(encoded)].sum(axis=1)

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        """Seconds; their error is not known and taken as none."""
        encoded = np.array([self._space.encode(architecture)])
        return float(self.over(self._space)(encoded)[0]), 0.0


class StageCells:
    """Numbers every combination of every stage's choices: (N, number of choices) → (N, number of stages)."""

    def __init__(self, space: SearchSpace) -> None:
        names, sizes = list(space.choices), [len(values) for values in space.choices.values()]
        self._strides = np.zeros((len(names), len(space.stages)), dtype=np.int64)
        first = [0]
        for number, _ in enumerate(space.stages, start=1):
            combinations = 1
            for column, name in enumerate(names):
                if name.startswith(f"stage{number}_"):
                    self._strides[column, number - 1] = combinations
                    combinations *= sizes[column]
            first.append(first[-1] + combinations)
        self._first = np.array(first[:-1])
        self.count = first[-1]

    def __call__(self, encoded: Encoded) -> NDArray[np.int64]:
        return np.asarray(encoded @ self._strides + self._first)


def fit_stage_times(space: SearchSpace, encoded: Encoded, seconds: NDArray[np.float64]) -> StageTimes:
    """Fit entries by ridge regression on relative errors.

    Args:
        space: Whose members.
        encoded: Members as rows of choices, (N, number of choices).
        seconds: Measured, (N,).
    """
    cells = StageCells(space)
    scale = float(np.median(seconds))
    design = np.zeros((len(seconds), 1 + cells.count))
    design[:, 0] = 1.0
    np.put_along_axis(design, 1 + cells(encoded), 1.0, axis=1)
    design *= (scale / seconds)[:, None]
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0] = 1e-9  # the constant is not shrunk
    entries = np.linalg.solve(design.T @ design + np.diag(penalty), design.T @ np.ones(len(seconds)))
    return StageTimes(space, (scale * entries).astype(np.float64))
