"""What the known-cost sampler's model believes of a run, whichever sampler proposed its candidates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded
from proxies.ranking import Ranking, rank

from .leaderboard import Z95, variance_between_trainings
from .pricing import make_cost_model
from .run import Run
from .samplers.belief import Belief
from .samplers.exchanges import Exchange, exchanges
from .samplers.history import Verdicts
from .samplers.knowledge import Knowledge
from .search_problem import search_problem
from .trials import Outcome, State, TrialRecord
from .warm_start import earlier_runs

Array = NDArray[np.float64]

MIN_TRIALS = 8
NUM_NEXT = 5
_SEED = 0
"""Of the search for what would be trained next, so that a report can be written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A member that was not trained, with what is known and what is believed of it."""

    architecture: str
    accuracy: float
    """Expected A; times step time's factor of the reward where step times are measured."""
    accuracy_se: float
    step_time_s: float | None
    """None where step times are measured."""
    step_time_se: float
    params: int
    macs: int
    factor: float
    """What accuracy is multiplied by in the reward, as far as it is known."""
    chance: float
    """That it beats the yardstick, see `Opinion.yardstick`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Trained candidates as the model would have predicted them, had each alone not been trained."""

    records: Sequence[TrialRecord]
    predicted: Array
    """(N,), fractions."""
    predicted_se: Array
    """(N,), of what would be the mean of many trainings."""
    measured: Array
    """(N,), fractions."""
    noise: float
    """Standard deviation between trainings of one architecture, as the model believes, a fraction."""
    measured_noise: float | None
    """The same as trainings of one architecture show it; None where none was trained twice."""
    ranking: Ranking

    @property
    def error(self) -> float:
        """Root mean square of measured minus predicted, a fraction."""
        return float(np.sqrt(np.mean((self.measured - self.predicted) ** 2)))

    @property
    def spread(self) -> float:
        """What the error would be if the mean were predicted for all, a fraction."""
        return float(np.std(self.measured))

    @property
    def coverage(self) -> float:
        """Share of measurements within the 95 % interval that was predicted for them, a training's noise included."""
        reach = Z95 * np.hypot(self.predicted_se, self.noise)
        return float(np.mean(abs(self.measured - self.predicted) <= reach))


class Opinion:
    """The model, fitted to every verdict of a run's own trainings, as the sampler sees them."""

    def __init__(self, run: Run) -> None:
        """
        Args:
            run: With at least `MIN_TRIALS` judged architectures.
        """
        costs = make_cost_model(run.config, run.preparation, run.tables)
        if costs is None:
            raise ValueError("a model takes a run whose step-time table is there, got one without")
        self._run, self._costs = run, costs
        earlier = earlier_runs(run.earlier)
        self._knowledge = Knowledge(search_problem(run.config, run.preparation, run.reward(), costs, earlier))
        # What was pruned came to no accuracy of its own.
        judged = sorted(
            (record for record in run.records if record.is_judged and record.state is not State.PRUNED),
            key=lambda record: (record.finished, record.number),
        )
        self.records = [record for record in judged if record.state is State.COMPLETE]
        """Those that were trained to the end, as the members that the model knows, in their order."""
        self._verdicts = self._verdicts_of(judged)
        self._belief = Belief(self._knowledge, self._verdicts)
        self.model = self._belief.model

    @property
    def is_of_accuracy(self) -> bool:
        """Whether accuracy alone is compared: several objectives have no reward."""
        return bool(self._run.config.objectives)

    @property
    def is_step_time_believed(self) -> bool:
        """Whether step time's factor is part of what is modelled, because it is measured."""
        return not self.is_of_accuracy and self._knowledge.problem.costs(self._belief.trained[:1]).step_time_s is None

    @cached_property
    def favourite(self) -> int:
        """Place among the records of the candidate that is believed best."""
        return int(np.argmax(self._goals(self._belief.trained)))

    @cached_property
    def rewards(self) -> dict[int, float]:
        """Of each candidate that was trained to the end, by its trial's number, as it is believed to be."""
        believed = np.exp(self._belief.log_rewards(self._belief.trained)[0])
        return {record.number: float(reward) for record, reward in zip(self.records, believed, strict=True)}

    @cached_property
    def exchanges(self) -> list[Exchange]:
        """Around the favourite."""
        return exchanges(self._knowledge, self.model, self._belief.trained[self.favourite])

    @cached_property
    def upcoming(self) -> list[Promise]:
        """What would be trained next, the most promising first."""
        found = self._belief.most_promising(np.random.default_rng(_SEED))
        running = self._encode([record for record in self._run.records if record.state is State.RUNNING])
        is_new = ~(found[:, None] == running[None]).all(axis=2).any(axis=1)
        return [self._promise(member) for member in found[is_new][:NUM_NEXT]]

    @cached_property
    def held_out(self) -> HeldOut:
        """How well the model tells what it has not seen."""
        logs, deviations = self.model.left_out()
        values = self._verdicts.values[self._verdicts.is_feasible]
        measured = np.exp(self._knowledge.log_accuracies(self._belief.trained, values))
        return HeldOut(
            records=self.records,
            predicted=np.exp(logs),
            predicted_se=np.exp(logs) * deviations,
            measured=measured,
            noise=float(np.median(measured)) * self.model.noise,
            measured_noise=self._measured_noise(),
            ranking=rank(logs, measured),
        )

    def yardstick(self, member: Encoded) -> int | None:
        """Place among the records of what a member is to beat; None if it need not beat any.

        It is the favourite; with several objectives, the most accurate of those that are no dearer.
        """
        if not self.is_of_accuracy:
            return self.favourite
        trained = self._belief.trained
        own, others = self._knowledge.log_costs(member[None]), self._knowledge.log_costs(trained)
        cheaper = np.flatnonzero((others <= own).all(axis=1))
        return int(cheaper[np.argmax(self._goals(trained[cheaper]))]) if len(cheaper) else None

    def _encode(self, records: Sequence[TrialRecord]) -> NDArray[np.int64]:
        """Members of trials, (N, number of choices); those that were not proposed to the end are left out."""
        members = self._knowledge.members
        found = [places for record in records if (places := members.encode(record.params)) is not None]
        return np.array(found, dtype=np.int64).reshape(len(found), len(members.sizes))

    def _verdicts_of(self, judged: Sequence[TrialRecord]) -> Verdicts:
        """What a sampler is told of these, in its order."""
        names = self._run.config.objectives or ("reward",)
        return Verdicts(
            members=self._encode(judged),
            values=np.array([self._values(record.outcome) for record in judged]),
            signs=np.array([1.0 if name in ("reward", "accuracy") else -1.0 for name in names]),
        )

    def _values(self, outcome: Outcome | None) -> list[float]:
        names, reward = self._run.config.objectives, self._knowledge.problem.reward
        if outcome is None:
            return [math.nan] * max(len(names), 1)
        accuracy, step_time_s, params = outcome.accuracy.accuracy, outcome.step_time_s, outcome.params
        if not names:
            return [reward(accuracy=accuracy, step_time_s=step_time_s, params=params)]
        figures = {"accuracy": accuracy, "step_time": step_time_s, "params": float(params)}
        return [figures[name] for name in names]

    def _measured_noise(self) -> float | None:
        trainings = (
            [record.outcome.accuracy, *self._run.replicates.get(record.number, {}).values()]
            for record in self.records
            if record.outcome is not None
        )
        return math.sqrt(variance_between_trainings(trainings)) or None

    def _goals(self, members: Encoded) -> Array:
        """What is to be as high as possible, as it is believed to be: logarithms, (N,)."""
        return self.model(members)[0] if self.is_of_accuracy else self._belief.log_rewards(members)[0]

    def _promise(self, member: Encoded) -> Promise:
        mean, deviation = (float(each[0]) for each in self.model(member[None]))
        architecture = self._knowledge.problem.space.decode(member.tolist())
        priced = self._costs(architecture)
        return Promise(
            architecture=str(architecture),
            accuracy=math.exp(mean),
            accuracy_se=math.exp(mean) * deviation,
            step_time_s=priced.step_time_s,
            step_time_se=(priced.step_time_s or 0.0) * priced.step_time_rse,
            params=priced.params,
            macs=priced.macs,
            factor=math.exp(float(self._knowledge.log_factor(member[None])[0])),
            chance=self._chance(member),
        )

    def _chance(self, member: Encoded) -> float:
        place = self.yardstick(member)
        if place is None:
            return 1.0
        other = self._belief.trained[place]
        gain, deviation = (float(each[0]) for each in self.model.gains(member[None], other))
        if not self.is_of_accuracy:
            gain += float(np.diff(self._knowledge.log_factor(np.stack([other, member])))[0])
        return 0.5 * math.erfc(-gain / (math.sqrt(2.0) * deviation)) if deviation else float(gain > 0)
