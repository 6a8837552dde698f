"""What a report says of a run, worked out once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from proxies.complexity import count_macs, count_params
from search_spaces import catalog
from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace

from ..leaderboard import Entry
from ..opinion import MIN_TRIALS, Opinion
from ..reward import Reward
from ..run import Run
from ..savings import Savings, savings
from ..trials import State, TrialRecord

NUM_LEADERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A published network that the space admits: its costs are known, its accuracy only if the run judged it."""

    name: str
    architecture: Architecture
    params: int
    macs: int
    entry: Entry | None


@dataclass(frozen=True)
class Findings:
    """A run with what follows from it."""

    run: Run

    @cached_property
    def reward(self) -> Reward:
        return self.run.reward()

    @cached_property
    def board(self) -> list[Entry]:
        return self.run.leaderboard()

    @cached_property
    def space(self) -> SearchSpace:
        return self.run.config.search_space()

    @property
    def best(self) -> Entry | None:
        return self.board[0] if self.board else None

    @cached_property
    def backbone(self) -> Entry | None:
        return next((entry for entry in self.board if entry.is_backbone), None)

    @cached_property
    def leaders(self) -> list[Entry]:
        """The first few and the backbone."""
        first = self.board[:NUM_LEADERS]
        return first if self.backbone is None or self.backbone in first else [*first, self.backbone]

    @cached_property
    def judged(self) -> list[TrialRecord]:
        """Trials with a verdict of their own, in their order."""
        return [record for record in self.run.records if record.is_judged]

    @cached_property
    def complete(self) -> list[TrialRecord]:
        """Judged trials with an outcome, in their order."""
        return [record for record in self.judged if record.state is State.COMPLETE]

    @cached_property
    def unjudged(self) -> list[TrialRecord]:
        """Infeasible and failed trials, in their order."""
        kinds = (State.INFEASIBLE, State.FAILED)
        return [record for record in self.run.records if record.state in kinds]

    @cached_property
    def pruned(self) -> list[TrialRecord]:
        """Candidates that were pruned and did not go on, in their order."""
        return [record for record in self.judged if record.state is State.PRUNED]

    @cached_property
    def savings(self) -> Savings | None:
        """What pruning saved; None where nothing was pruned."""
        return savings(self.run.records, self.run.config.fidelity.epochs)

    @property
    def is_complete(self) -> bool:
        return len(self.judged) >= min(self.run.config.trials, self.space.size)

    @property
    def elapsed_s(self) -> float:
        """Seconds from the first start to the last verdict, pauses included."""
        starts = [record.started for record in self.run.records if record.started]
        ends = [record.finished for record in self.run.records if record.finished]
        return (max(ends) - min(starts)).total_seconds() if starts and ends else 0.0

    @cached_property
    def front(self) -> list[Entry]:
        """Entries that no other beats in every objective; without objectives, in accuracy and step time."""
        return pareto_front(self.board, self.run.config.objectives or ("accuracy", "step_time"))

    @cached_property
    def opinion(self) -> Opinion | None:
        """What the model believes; None where it has seen too little."""
        return Opinion(self.run) if len(self.complete) >= MIN_TRIALS else None

    @cached_property
    def references(self) -> list[Reference]:
        """Published networks that lie in the space."""
        facts = self.run.preparation.data
        entries = {entry.architecture: entry for entry in self.board}
        return [
            Reference(
                name=published.name,
                architecture=published.architecture,
                params=count_params(published.architecture, facts.num_classes, facts.in_channels),
                macs=count_macs(published.architecture, num_classes=facts.num_classes, in_channels=facts.in_channels),
                entry=entries.get(str(published.architecture)),
            )
            for published in map(catalog.get, catalog.names())
            if self.space.contains(published.architecture)
        ]

    def first_reward(self, record: TrialRecord) -> float:
        """The reward of a complete trial's own training, as the sampler saw it."""
        outcome = record.outcome
        if outcome is None:
            raise ValueError(f"only a complete trial has a reward, got trial {record.number}")
        accuracy = outcome.accuracy.accuracy
        return self.reward(accuracy=accuracy, step_time_s=outcome.step_time_s, params=outcome.params)


def pareto_front(entries: Sequence[Entry], objectives: Sequence[str]) -> list[Entry]:
    """Entries that no other beats or equals in every objective while beating it in one, fastest first."""
    costs = [(_costs(entry, objectives), entry) for entry in entries]
    front = [entry for cost, entry in costs if not any(_dominates(other, cost) for other, _ in costs)]
    return sorted(front, key=lambda entry: entry.step_time_s)


def _costs(entry: Entry, objectives: Sequence[str]) -> tuple[float, ...]:
    costs = {"accuracy": -entry.accuracy, "step_time": entry.step_time_s, "params": float(entry.params)}
    return tuple(costs[name] for name in objectives)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
