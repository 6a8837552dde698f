"""What a finished search of the pruning benchmark came to."""

from collections.abc import Iterable

from nas.evaluation_tasks import AccuracyRecord
from nas.run import Run
from nas.trials import Outcome, Partial, TrialRecord

from .pruning_cells import Cell, Completed


def complete_of(run: Run) -> dict[int, Outcome]:
    """What was trained to the end, by trial number."""
    return {r.number: r.outcome for r in run.records if r.is_judged and r.outcome is not None}


def pruned_of(run: Run) -> dict[int, Partial]:
    """What was pruned, and did not go on later, by trial number."""
    return {r.number: r.partial for r in run.records if r.is_judged and r.partial is not None}


def cell_of(setting: str, variant: str, run: Run) -> Cell:
    """Its candidates, their costs, and its best."""
    complete, pruned, num_epochs = complete_of(run), pruned_of(run), run.config.fidelity.epochs
    stopped = [partial.accuracy for partial in pruned.values() if partial.accuracy is not None]
    trainings = [*stopped, *(outcome.accuracy for outcome in complete.values())]
    whole, partly = sum(map(_step_time, complete.values())), sum(map(_step_time, pruned.values()))
    best, best_reward = _best_retrained(run)
    return Cell(
        setting=setting,
        variant=variant,
        seed=run.config.seed,
        num_complete=len(complete),
        num_untrained=len(pruned) - len(stopped),
        num_stopped=len(stopped),
        epochs=sum(len(training.curve) for training in trainings),
        train_seconds=sum(training.train_seconds for training in trainings),
        cost=num_epochs * whole + sum(partial.epochs * _step_time(partial) for partial in pruned.values()),
        full_cost=num_epochs * (whole + partly),
        final_cost=num_epochs * sum(len(found) * _step_time(complete[n]) for n, found in run.replicates.items()),
        best=best,
        best_reward=best_reward,
        best_observed=_best_reward(run, run.records),
    )


def completed_of(setting: str, run: Run, record: TrialRecord, accuracy: AccuracyRecord) -> Completed:
    """What a pruned candidate would have come to, beside what led when it was pruned."""
    partial, then = record.partial, record.finished
    if partial is None or then is None:
        raise ValueError(f"only a pruned trial can be completed, got trial {record.number}")
    before = [other for other in run.records if other.finished is not None and other.finished <= then]
    return Completed(
        setting=setting,
        seed=run.config.seed,
        number=record.number,
        epochs=partial.epochs,
        reward=_reward(run, partial, accuracy.accuracy),
        best_then=_best_reward(run, before),
        is_same=partial.accuracy is None or accuracy.curve[: partial.epochs] == partial.accuracy.curve,
    )


def _best_retrained(run: Run) -> tuple[str, float]:
    """What the search hands over, by the step time that the search knew: a clock has its luck, too."""
    complete, entries = complete_of(run), run.leaderboard()
    retrained = [entry for entry in entries if entry.num_trainings > 1] or entries
    found = [(entry.architecture, _reward(run, complete[entry.number], entry.accuracy)) for entry in retrained]
    return max(found, key=lambda best: best[1])


def _best_reward(run: Run, records: Iterable[TrialRecord]) -> float:
    """The highest reward of a single complete training."""
    complete = complete_of(run)
    own = (complete[record.number] for record in records if record.number in complete)
    return max(_reward(run, outcome, outcome.accuracy.accuracy) for outcome in own)


def _reward(run: Run, found: Outcome | Partial, accuracy: float) -> float:
    return run.reward()(accuracy=accuracy, step_time_s=_step_time(found), params=found.params)


def _step_time(found: Outcome | Partial) -> float:
    if found.step_time_s is None:
        raise ValueError("step times must be known beforehand where candidates are pruned")
    return found.step_time_s
