"""Two runs side by side: where they differ, and whether their rewards may be compared at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .leaderboard import Entry, Verdict, compare
from .run import Run
from .trials import State

# Fields of the configuration that decide what A, S and P mean; any difference makes rewards incomparable.
_MEANING = ("data", "train", "fidelity", "step_time", "w", "v")
# Fields that say nothing about a result.
_IRRELEVANT = ("out",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A key of the configuration with its two values."""

    key: str
    """As an override reaches it: ``train.lr``."""
    left: object
    right: object
    """None where the key is absent or set to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What a comparison says of one run."""

    path: Path
    num_judged: int
    """Candidates with a verdict."""
    num_pruned: int
    num_infeasible: int
    num_planned: int
    device: str
    best: Entry | None
    """None where nothing was judged to the end."""
    backbone: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedArchitecture:
    """An architecture that both runs have judged."""

    architecture: str
    left: Entry
    right: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs side by side."""

    left: Side
    right: Side
    differences: tuple[Difference, ...]
    """Of the configurations, in the order of their keys; the output directory is left out."""
    obstacles: tuple[str, ...]
    """Why the rewards must not be compared, one sentence each; empty where they may."""
    verdict: Verdict | None
    """Whether the left run's best has the higher reward at 95 %; None where rewards are not comparable."""
    shared: tuple[SharedArchitecture, ...]
    """In the order of the left run's leaderboard."""

    @property
    def rewards_comparable(self) -> bool:
        return not self.obstacles


def compare_runs(left: Run, right: Run) -> Comparison:
    """Put two runs side by side; neither needs to be finished."""
    boards = left.leaderboard(), right.leaderboard()
    sides = _side(left, boards[0]), _side(right, boards[1])
    obstacles = tuple(_obstacles(left, right))
    bests = sides[0].best, sides[1].best
    return Comparison(
        left=sides[0],
        right=sides[1],
        differences=tuple(_differences(left, right)),
        obstacles=obstacles,
        verdict=None if obstacles or bests[0] is None or bests[1] is None else compare(bests[0], bests[1]),
        shared=tuple(_shared(*boards)),
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """A configuration as one level of dotted keys; lists stay whole.

    >>> flatten({"train": {"lr": 0.1}, "seed": 0})
    {'train.lr': 0.1, 'seed': 0}
    """
    flat: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def _side(run: Run, board: list[Entry]) -> Side:
    judged = [record for record in run.records if record.is_judged]
    return Side(
        path=run.directory.path,
        num_judged=len(judged),
        num_pruned=sum(record.state is State.PRUNED for record in judged),
        num_infeasible=sum(record.state is State.INFEASIBLE for record in judged),
        num_planned=run.config.trials,
        device=run.preparation.device,
        best=board[0] if board else None,
        backbone=next((entry for entry in board if entry.is_backbone), None),
    )


def _differences(left: Run, right: Run) -> Iterator[Difference]:
    values, others = (flatten(run.config.model_dump(mode="json", exclude=set(_IRRELEVANT))) for run in (left, right))
    for key in dict.fromkeys([*values, *others]):
        if values.get(key) != others.get(key):
            yield Difference(key=key, left=values.get(key), right=others.get(key))


def _obstacles(left: Run, right: Run) -> Iterator[str]:
    """Each circumstance under which the same network would get another reward."""
    meanings = left.config.fingerprint(), right.config.fingerprint()
    for name in _MEANING:
        if meanings[0][name] != meanings[1][name]:
            yield f"{name} differs"
    facts, others = left.preparation, right.preparation
    if left.config.search_space().backbone != right.config.search_space().backbone:
        yield "the backbones differ, to which S and P are related"
    elif facts.params_ref != others.params_ref:
        yield f"the backbone's parameters differ: {facts.params_ref} and {others.params_ref}"
    if facts.data.digest != others.data.digest:
        yield "the images, their labels or their split differ"
    if facts.device != others.device:
        yield f"the devices differ: {facts.device} and {others.device}"
    if facts.step_mode != others.step_mode:
        yield f"the execution modes of the timed step differ: {facts.step_mode} and {others.step_mode}"


def _shared(left: list[Entry], right: list[Entry]) -> Iterator[SharedArchitecture]:
    others = {entry.architecture: entry for entry in right}
    for entry in left:
        if entry.architecture in others:
            yield SharedArchitecture(architecture=entry.architecture, left=entry, right=others[entry.architecture])
