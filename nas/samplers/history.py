"""What a study says of the members of its space: all that a sampler may learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.architecture import FUSED_MBCONV
from search_spaces.space import SearchSpace, Value

Places = tuple[int, ...]
"""A member as the places of its values among their choices, see `SearchSpace.encode`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Every judged member once, in the order of the verdicts."""

    members: NDArray[np.int64]
    """(N, number of choices)"""
    scores: NDArray[np.float64]
    """Higher is better, (N,); -inf for what is infeasible."""


def read_verdicts(study: Study, members: Members) -> Verdicts:
    """What was judged in a study with one objective, whichever its direction; attempts that died say nothing."""
    sign = -1.0 if study.direction is StudyDirection.MINIMIZE else 1.0
    scores: dict[Places, float] = {}
    for trial in sorted(study.get_trials(deepcopy=False, states=_FINISHED), key=_finished):
        places = members.encode(trial.params)
        # What is proposed again gets the verdict it has already.
        if places is not None and places not in scores:
            scores[places] = -np.inf if trial.state is TrialState.PRUNED else sign * trial.values[0]
    rows = np.array(list(scores), dtype=np.int64).reshape(len(scores), len(members.sizes))
    return Verdicts(members=rows, scores=np.array(list(scores.values()), dtype=np.float64))


def _finished(trial: FrozenTrial) -> tuple[object, int]:
    """By number where two verdicts fell into the same tick of the clock."""
    return trial.datetime_complete, trial.number


def read_known(study: Study, members: Members) -> frozenset[Places]:
    """The members that are judged or running, of a study with any number of objectives."""
    states = (*_FINISHED, TrialState.RUNNING)
    # The trial that is being proposed runs, too, but has no parameters yet.
    encoded = (members.encode(trial.params) for trial in study.get_trials(deepcopy=False, states=states))
    return frozenset(places for places in encoded if places is not None)
