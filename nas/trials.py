"""How a candidate and its evaluation are written in an Optuna trial: the only file that knows.

Optuna's SQLite file is the single source of truth. A trial's value is the sampler's copy of the reward; A, S and P are
what is stored, so that the reward can be computed again for other exponents.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from proxies.step_time import StepTime
from proxies.step_time_table import StepTimeTable, dump_table, load_table
from search_spaces.architecture import parse
from search_spaces.messages import first_line
from search_spaces.space import SearchSpace

from .evaluation_tasks import AccuracyRecord, Evaluation, Measurement, Preparation
from .survey import Machine

# Keys of user attributes of a trial.
_CANDIDATE = "candidate"
_OUTCOME = "outcome"
_PARTIAL = "partial"
_REASON = "reason"
# Name of the constraint.
_INFEASIBLE = "infeasible"
# Keys of user attributes of the study.
_FINGERPRINT = "fingerprint"
_PREPARATION = "preparation"
_REPLICATE = "replicate"
_MEASUREMENT = "measurement"
_TABLES = "step_time_tables"
_EARLIER = "earlier_results"
_FIT = "fit"
_MACHINES = "machines"

DRIVER_DIED = "the driver died while it ran"
DAMAGED = "what was stored of it was damaged"


class State(StrEnum):
    """What became of a trial."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    """Its training was stopped early, or never begun, because it would not have led; the sampler learns from it."""
    INFEASIBLE = "infeasible"
    """The candidate cannot be judged here; the sampler learns from it."""
    FAILED = "failed"
    """The attempt died; it says nothing about the candidate."""

    @property
    def is_verdict(self) -> bool:
        """Whether it says something about the candidate."""
        return self in (State.COMPLETE, State.PRUNED, State.INFEASIBLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What an attempt is about."""

    architecture: str
    """Text form."""
    proposal: int | None
    """0, 1, 2 … for what the sampler proposed, 0 being the backbone; None for a further attempt."""
    retry_of: int | None = None
    """Number of the trial that died before this one."""
    duplicate_of: int | None = None
    """Number of the trial that judged the same architecture."""
    continues: int | None = None
    """Number of the pruned trial that this one goes on from, because it deserves to by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is stored of a judged candidate."""

    accuracy: AccuracyRecord
    step_time_s: float
    """S of the reward: predicted, or measured where `step_time` is there."""
    step_time_rse: float
    """Relative standard error of S."""
    params: int
    macs: int
    peak_memory_bytes: int
    """Of a step of the target training, predicted."""
    micro_batches: int = 1
    """Parts of a batch in that step; more than one where memory does not suffice for a whole batch."""
    seconds: float
    """Wall time of the evaluation."""
    where: str | None = None
    """The machine that trained it."""
    step_time: StepTime | None = None
    """The measurement behind S; None where S is predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """What is stored of a candidate that was pruned."""

    reason: str
    accuracy: AccuracyRecord | None
    """After its last epoch; None where it was not trained at all."""
    step_time_s: float | None
    """S; None where it would have been measured."""
    params: int
    where: str | None = None
    """The machine that trained it."""

    @property
    def epochs(self) -> int:
        """That were trained."""
        return len(self.accuracy.curve) if self.accuracy else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResults:
    """What another run on the same space found out."""

    source: str
    """Its directory."""
    members: tuple[tuple[int, ...], ...]
    """As `SearchSpace.encode` writes them."""
    accuracies: tuple[float, ...]
    """One for each, fractions."""
    num_left_out: int = 0
    """Results of architectures that are no members of this space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial read back."""

    number: int
    state: State
    candidate: Candidate | None
    """None where the driver died before it had written down what it proposed."""
    outcome: Outcome | None = None
    partial: Partial | None = None
    """Where it was pruned."""
    reason: str | None = None
    """Why it is pruned, infeasible or failed."""
    started: datetime | None = None
    finished: datetime | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """The space's parameters."""
    continued_by: int | None = None
    """Number of the trial that went on from this pruned one and has a verdict, which stands in place of this."""

    @property
    def is_judged(self) -> bool:
        """Whether it counts against the budget: a verdict of its own on an architecture, and the last one."""
        if self.candidate is None or self.candidate.duplicate_of is not None:
            return False
        return self.state.is_verdict and self.continued_by is None


_CANDIDATES: TypeAdapter[Candidate] = TypeAdapter(Candidate)
_OUTCOMES: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_PARTIALS: TypeAdapter[Partial] = TypeAdapter(Partial)
_PREPARATIONS: TypeAdapter[Preparation] = TypeAdapter(Preparation)
_ACCURACIES: TypeAdapter[AccuracyRecord] = TypeAdapter(AccuracyRecord)
_MEASUREMENTS: TypeAdapter[Measurement] = TypeAdapter(Measurement)
_EVALUATIONS: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)
_MACHINE_LISTS: TypeAdapter[list[Machine]] = TypeAdapter(list[Machine])
_EARLIER_RESULTS: TypeAdapter[list[EarlierResults]] = TypeAdapter(list[EarlierResults])


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it: every choice categorical."""
    return {name: CategoricalDistribution(values) for name, values in space.choices.items()}


def enqueue(study: optuna.Study, params: Mapping[str, Any], candidate: Candidate) -> None:
    """Let the next `ask` return these parameters, already marked with what they are about."""
    study.enqueue_trial(dict(params), user_attrs={_CANDIDATE: _CANDIDATES.dump_python(candidate, mode="json")})


def candidate_of(trial: optuna.Trial | FrozenTrial) -> Candidate | None:
    """What an asked trial is about, if it was enqueued with it."""
    written = trial.user_attrs.get(_CANDIDATE)
    return None if written is None else _CANDIDATES.validate_python(written)


def write_candidate(trial: optuna.Trial, candidate: Candidate) -> None:
    """Mark a proposal. Until this is written the proposal does not exist, and is made again on resume."""
    trial.set_user_attr(_CANDIDATE, _CANDIDATES.dump_python(candidate, mode="json"))


def tell_complete(study: optuna.Study, trial: optuna.Trial, outcome: Outcome, values: Sequence[float]) -> None:
    """Finish a judged trial. The attribute comes first, so that a COMPLETE trial has its outcome."""
    trial.set_user_attr(_OUTCOME, _OUTCOMES.dump_python(outcome, mode="json"))
    study.tell(trial, list(values))


def tell_duplicate(study: optuna.Study, trial: optuna.Trial, values: Sequence[float] | None) -> None:
    """Finish a trial with the verdict that its architecture has already; None means infeasible."""
    if values is not None:
        study.tell(trial, list(values))
        return
    trial.set_constraint(_INFEASIBLE, 1.0)
    study.tell(trial, state=TrialState.PRUNED)


def tell_infeasible(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    """Finish a trial whose candidate cannot be judged here: PRUNED, with a violated constraint, so that TPE learns."""
    trial.set_user_attr(_REASON, reason)
    trial.set_constraint(_INFEASIBLE, 1.0)
    study.tell(trial, state=TrialState.PRUNED)


def tell_pruned(study: optuna.Study, trial: optuna.Trial, partial: Partial, value: float | None) -> None:
    """Finish a trial that was stopped early: PRUNED, without a violated constraint.

    Args:
        study: Of one objective.
        trial: Runs.
        partial: What it had come to, and why it was stopped.
        value: The reward with the accuracy it had come to; None where nothing is known of it.
    """
    trial.set_user_attr(_PARTIAL, _PARTIALS.dump_python(partial, mode="json"))
    if value is not None:
        trial.report(value, partial.epochs)  # samplers of Optuna's read no more of a pruned trial than its last
    study.tell(trial, state=TrialState.PRUNED)


def partial_of(trial: FrozenTrial) -> Partial | None:
    """What a pruned trial had come to; None for every other."""
    written = trial.user_attrs.get(_PARTIAL) if trial.state is TrialState.PRUNED else None
    return None if written is None else _PARTIALS.validate_python(written)


def tell_failed(study: optuna.Study, trial: optuna.Trial, reason: str) -> None:
    """Finish an attempt that died."""
    trial.set_user_attr(_REASON, reason)
    study.tell(trial, state=TrialState.FAIL)


def fail_orphan(study: optuna.Study, number: int) -> None:
    """Finish an attempt whose driver died; without a reason of its own it reads as `DRIVER_DIED`."""
    study.tell(number, state=TrialState.FAIL)


def read_records(study: optuna.Study) -> list[TrialRecord]:
    """Every trial, in the order of their numbers; a duplicate has the outcome of its original."""
    records = [_read(trial) for trial in study.get_trials(deepcopy=False)]
    continued = {
        record.candidate.continues: record.number
        for record in records
        if record.candidate is not None and record.candidate.continues is not None and record.state.is_verdict
    }
    for number, later in continued.items():
        records[number] = replace(records[number], continued_by=later)
    return [_with_original(record, records) for record in records]


def flaw_of(trial: FrozenTrial) -> str | None:
    """What is wrong with how a trial is written down; None for one that can be read and relied on."""
    try:
        record = _read(trial)
        architecture = record.candidate and parse(record.candidate.architecture)
    except ValueError as error:
        return f"cannot be read: {first_line(error)}"
    if not record.state.is_verdict:
        return None
    if record.candidate is None or architecture is None:
        return "has a verdict, but no architecture"
    if record.state is State.PRUNED:
        return None
    if record.state is State.INFEASIBLE:
        return None if trial.constraints.get(_INFEASIBLE) == 1.0 else "is infeasible, but not marked as such"
    if trial.values is None or not all(map(math.isfinite, trial.values)):
        return f"is complete, but its value is {trial.values}"
    if record.candidate.duplicate_of is None and record.outcome is None:
        return "is complete, but has no outcome"
    return None


def as_damaged(trial: FrozenTrial | None) -> FrozenTrial:
    """In place of a trial that cannot be relied on: an attempt that failed, of its architecture if that is known."""
    try:
        candidate = None if trial is None else candidate_of(trial)
    except ValueError:
        candidate = None
    attributes: dict[str, Any] = {_REASON: DAMAGED}
    if candidate is not None:
        attributes[_CANDIDATE] = _CANDIDATES.dump_python(candidate, mode="json")
    return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs=attributes)


def numbers_mentioned(study: optuna.Study) -> set[int]:
    """Numbers of trials that the study itself, not a trial, says something about."""
    measured = {int(key.split(":")[1]) for key in study.user_attrs if key.startswith(f"{_MEASUREMENT}:")}
    return measured | {number for number, _ in known_replicates(study)}


def write_fingerprint(study: optuna.Study, fingerprint: Mapping[str, object]) -> None:
    study.set_user_attr(_FINGERPRINT, dict(fingerprint))


def read_fingerprint(study: optuna.Study) -> dict[str, object] | None:
    """What the run was started with; None where its driver died before it was written."""
    return study.user_attrs.get(_FINGERPRINT)


def write_preparation(study: optuna.Study, preparation: Preparation) -> None:
    study.set_user_attr(_PREPARATION, _PREPARATIONS.dump_python(preparation, mode="json"))


def forget_preparation(study: optuna.Study) -> None:
    """Let it be prepared anew, because another question is asked; Optuna can change an attribute, not remove it."""
    study.set_user_attr(_PREPARATION, None)
    study.set_user_attr(_TABLES, None)


def read_preparation(study: optuna.Study) -> Preparation | None:
    written = study.user_attrs.get(_PREPARATION)
    return None if written is None else _PREPARATIONS.validate_python(written)


def write_tables(study: optuna.Study, tables: Sequence[StepTimeTable]) -> None:
    """Record the step-time tables that price every candidate of this run."""
    study.set_user_attr(_TABLES, [dump_table(table) for table in tables])


def read_tables_of(study: optuna.Study) -> list[StepTimeTable]:
    """The run's step-time tables; none before they are calibrated, and where S is not predicted."""
    return [load_table(text, "the study") for text in study.user_attrs.get(_TABLES) or ()]


def write_machines(study: optuna.Study, machines: Sequence[Machine]) -> None:
    """Record the machines of the cluster as this start of the search found them."""
    study.set_user_attr(_MACHINES, _MACHINE_LISTS.dump_python(list(machines), mode="json"))


def read_machines(study: optuna.Study) -> list[Machine]:
    """The machines of the cluster at the last start; none where one machine does everything."""
    return _MACHINE_LISTS.validate_python(study.user_attrs.get(_MACHINES) or [])


def write_earlier(study: optuna.Study, results: Sequence[EarlierResults]) -> None:
    """Record what the search starts from."""
    study.set_user_attr(_EARLIER, _EARLIER_RESULTS.dump_python(list(results), mode="json"))


def read_earlier(study: optuna.Study) -> list[EarlierResults]:
    """What the search starts from, by earlier run; none where it starts from nothing."""
    return _EARLIER_RESULTS.validate_python(study.user_attrs.get(_EARLIER) or [])


def write_measurement(study: optuna.Study, number: int, measurement: Measurement) -> None:
    """Record what isolated visits to a finished trial's architecture showed."""
    study.set_user_attr(f"{_MEASUREMENT}:{number}", _MEASUREMENTS.dump_python(measurement, mode="json"))


def write_failed_measurement(study: optuna.Study, number: int, reason: str) -> None:
    """Record that measuring came to nothing, so that it is not tried at every start."""
    study.set_user_attr(f"{_MEASUREMENT}:{number}", {_REASON: reason})


def read_measurements(study: optuna.Study) -> dict[int, Measurement | str]:
    """Finalists' measurements by trial number, or the reasons why there are none."""
    return {
        int(number): value[_REASON] if _REASON in value else _MEASUREMENTS.validate_python(value)
        for key, value in study.user_attrs.items()
        for kind, _, number in [key.partition(":")]
        if kind == _MEASUREMENT
    }


def write_replicate(study: optuna.Study, number: int, replicate: int, accuracy: AccuracyRecord) -> None:
    """Record a further training of a finished trial; Optuna refuses to change the trial itself."""
    study.set_user_attr(f"{_REPLICATE}:{number}:{replicate}", _ACCURACIES.dump_python(accuracy, mode="json"))


def write_failed_replicate(study: optuna.Study, number: int, replicate: int, reason: str) -> None:
    """Record that a further training came to nothing, so that it is not tried at every start."""
    study.set_user_attr(f"{_REPLICATE}:{number}:{replicate}", {_REASON: reason})


def known_replicates(study: optuna.Study) -> set[tuple[int, int]]:
    """Trial number and replicate of every further training that was dealt with, whatever became of it."""
    return {place for place, _ in _replicates(study)}


def read_replicates(study: optuna.Study) -> dict[int, dict[int, AccuracyRecord]]:
    """Further trainings by trial number and replicate (1, 2 …)."""
    found: dict[int, dict[int, AccuracyRecord]] = {}
    for (number, replicate), value in _replicates(study):
        if _REASON not in value:
            found.setdefault(number, {})[replicate] = _ACCURACIES.validate_python(value)
    return found


def write_fit_evaluation(study: optuna.Study, architecture: str, replicate: int, evaluation: Evaluation) -> None:
    """Record a training of a scaled network, which is no member of the space and so no trial."""
    study.set_user_attr(f"{_FIT}:{architecture}:{replicate}", _EVALUATIONS.dump_python(evaluation, mode="json"))


def write_failed_fit(study: optuna.Study, architecture: str, replicate: int, reason: str) -> None:
    """Record that such a training came to nothing, so that it is not tried at every start."""
    study.set_user_attr(f"{_FIT}:{architecture}:{replicate}", {_REASON: reason})


def read_fit_evaluations(study: optuna.Study) -> dict[tuple[str, int], Evaluation | str]:
    """Trainings of scaled networks by architecture and replicate (0, 1 …), or the reasons why there are none."""
    found: dict[tuple[str, int], Evaluation | str] = {}
    for key, value in study.user_attrs.items():
        kind, _, place = key.partition(":")
        if kind == _FIT:
            architecture, replicate = place.rsplit(":", 1)
            result = value[_REASON] if _REASON in value else _EVALUATIONS.validate_python(value)
            found[architecture, int(replicate)] = result
    return found


def _replicates(study: optuna.Study) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
    for key, value in study.user_attrs.items():
        kind, _, place = key.partition(":")
        if kind == _REPLICATE:
            number, replicate = map(int, place.split(":"))
            yield (number, replicate), value


def _read(trial: FrozenTrial) -> TrialRecord:
    candidate, outcome = trial.user_attrs.get(_CANDIDATE), trial.user_attrs.get(_OUTCOME)
    partial = partial_of(trial)
    state = _STATES[trial.state] if partial is None else State.PRUNED
    died = DRIVER_DIED if state is State.FAILED else None
    return TrialRecord(
        number=trial.number,
        state=state,
        candidate=None if candidate is None else _CANDIDATES.validate_python(candidate),
        outcome=_OUTCOMES.validate_python(outcome) if outcome and state is State.COMPLETE else None,
        partial=partial,
        reason=partial.reason if partial else trial.user_attrs.get(_REASON, died),
        started=trial.datetime_start,
        finished=trial.datetime_complete,
        params=trial.params,
    )


def _with_original(record: TrialRecord, records: list[TrialRecord]) -> TrialRecord:
    if record.candidate is None or record.candidate.duplicate_of is None:
        return record
    original = records[record.candidate.duplicate_of]
    return replace(record, outcome=original.outcome, reason=original.reason)


_STATES = {
    TrialState.WAITING: State.WAITING,
    TrialState.RUNNING: State.RUNNING,
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.INFEASIBLE,
    TrialState.FAIL: State.FAILED,
}
