"""What a study says of the members of its space: all that a sampler may learn from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.architecture import FUSED_MBCONV
from search_spaces.space import SearchSpace, Value

from ..trials import Partial, partial_of

Places = tuple[int, ...]
"""A member as the places of its values among their choices, see `SearchSpace.encode`."""

Expectation = Callable[[Partial], float | None]
"""The value that a pruned member would probably have come to; None where that cannot be said."""

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Members:
    """The way between a study's parameters and the places of their values, a few microseconds a trial."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.sizes = [len(values) for values in space.choices.values()]
        """Number of values of each choice."""
        self._places = [
            (name, {value: place for place, value in enumerate(values)}) for name, values in space.choices.items()
        ]
        self._open_ratios = list(_open_ratios(space))

    def encode(self, params: Mapping[str, Any]) -> Places | None:
        """The member that these parameters describe; None if they describe none."""
        try:
            return self.canonical([places[params[name]] for name, places in self._places])
        except KeyError:
            return None

    def canonical(self, places: Sequence[int]) -> Places:
        """One writing for each architecture: Fused-MBConv leaves the SE ratio open, so it is the first one there."""
        chosen = list(places)
        for ratio, block, fused in self._open_ratios:
            if block is None or chosen[block] == fused:
                chosen[ratio] = 0
        return tuple(chosen)

    def canonical_rows(self, encoded: NDArray[np.integer]) -> NDArray[np.integer]:
        """As `canonical`, of many members at once, (N, number of choices)."""
        rows = encoded.copy()
        for ratio, block, fused in self._open_ratios:
            if block is None:
                rows[:, ratio] = 0
            else:
                rows[rows[:, block] == fused, ratio] = 0
        return rows

    def params(self, places: Sequence[int]) -> dict[str, Value]:
        """The parameters at these places."""
        chosen = zip(self.space.choices.items(), places, strict=True)
        return {name: values[place] for (name, values), place in chosen}

    def random(self, rng: np.random.Generator) -> Places:
        """Each choice drawn uniformly and independently, as `SearchSpace.sample` does."""
        return self.canonical(rng.integers(self.sizes).tolist())

    def neighbour(self, places: Places, rng: np.random.Generator) -> Places:
        """The member with another value in one choice; the same one where the choice means nothing."""
        changed, column = list(places), int(rng.integers(len(places)))
        size = self.sizes[column]
        changed[column] = (changed[column] + int(rng.integers(1, size))) % size
        return self.canonical(changed)


def _open_ratios(space: SearchSpace) -> Iterator[tuple[int, int | None, int]]:
    """Where a choice may mean nothing: columns of an SE ratio and of its block, and the block's place that ignores it.

    No column of the block where it is Fused-MBConv in any case.
    """
    columns = {name: column for column, name in enumerate(space.choices)}
    for number, choices in enumerate(space.stages, start=1):
        ratio = columns.get(f"stage{number}_se_ratio")
        if ratio is not None and FUSED_MBCONV in choices.block:
            yield ratio, columns.get(f"stage{number}_block"), choices.block.index(FUSED_MBCONV)


def nothing_expected(partial: Partial) -> None:
    """Of no pruned member anything can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Every judged member once, in the order of the verdicts."""

    members: NDArray[np.int64]
    """(N, number of choices)"""
    values: NDArray[np.float64]
    """As told, in the order of the objectives, (N, number of objectives); nan for what is infeasible."""
    signs: NDArray[np.float64]
    """1 for each objective that is maximised, -1 for each that is minimised."""
    guessed: frozenset[int] = frozenset()
    """Places among these of pruned members, whose values are what they would probably have come to."""
    silent: tuple[Places, ...] = ()
    """Pruned members beside these, of which nothing is expected."""

    @property
    def is_told(self) -> NDArray[np.bool_]:
        """Whether the value is a verdict, (N,)."""
        return ~np.isin(np.arange(len(self.members)), list(self.guessed))

    @property
    def known(self) -> NDArray[np.int64]:
        """All members that need not be judged, (N or more, number of choices)."""
        silent = np.array(self.silent, dtype=np.int64).reshape(len(self.silent), self.members.shape[1])
        return np.concatenate([self.members, silent])

    @property
    def is_feasible(self) -> NDArray[np.bool_]:
        """(N,)"""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @property
    def scores(self) -> NDArray[np.float64]:
        """Of the first objective: higher is better, (N,); -inf for what is infeasible."""
        return np.nan_to_num(self.signs[0] * self.values[:, 0], nan=-np.inf)


def read_verdicts(study: Study, members: Members, expected: Expectation = nothing_expected) -> Verdicts:
    """What was judged in a study; attempts that died say nothing.

    Args:
        study: Of the search.
        members: Of its space.
        expected: Of pruned members; where that cannot be said, they are left out.
    """
    signs = np.array([-1.0 if direction is StudyDirection.MINIMIZE else 1.0 for direction in study.directions])
    values: dict[Places, Sequence[float]] = {}
    guessed, silent = set[Places](), list[Places]()
    for trial in sorted(study.get_trials(deepcopy=False, states=_FINISHED), key=_finished):
        places, partial = members.encode(trial.params), partial_of(trial)
        # What is proposed again gets the verdict it has already; only a pruned one may go on to another.
        if places is None or (places in values and places not in guessed):
            continue
        value = None if partial is None else expected(partial)
        if partial is not None and value is None:
            silent.append(places)
            continue
        if places in guessed:
            guessed.remove(places)
            del values[places]  # the new verdict takes its place in the order, too
        if value is not None:
            guessed.add(places)
            values[places] = [value]
        else:
            values[places] = [np.nan] * len(signs) if trial.state is TrialState.PRUNED else trial.values
    rows = np.array(list(values), dtype=np.int64).reshape(len(values), len(members.sizes))
    told = np.array(list(values.values()), dtype=np.float64).reshape(len(values), len(signs))
    at = frozenset(place for place, member in enumerate(values) if member in guessed)
    unknown = tuple(member for member in silent if member not in values)
    return Verdicts(members=rows, values=told, signs=signs, guessed=at, silent=unknown)


def _finished(trial: FrozenTrial) -> tuple[object, int]:
    """By number where two verdicts fell into the same tick of the clock."""
    return trial.datetime_complete, trial.number


def read_running(study: Study, members: Members) -> NDArray[np.int64]:
    """The members that are being judged, (N, number of choices)."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    found = {places for trial in running if (places := members.encode(trial.params)) is not None}
    return np.array(sorted(found), dtype=np.int64).reshape(len(found), len(members.sizes))


def read_known(study: Study, members: Members) -> frozenset[Places]:
    """The members that are judged or running, of a study with any number of objectives."""
    states = (*_FINISHED, TrialState.RUNNING)
    # The trial that is being proposed runs, too, but has no parameters yet.
    encoded = (members.encode(trial.params) for trial in study.get_trials(deepcopy=False, states=states))
    return frozenset(places for places in encoded if places is not None)
