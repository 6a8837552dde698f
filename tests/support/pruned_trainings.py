"""A real search of short trainings in which one is pruned after its first epoch and goes on later."""

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import slow_search
import torch
from epoch_search import Script

from nas.config import SearchConfig
from nas.evaluation import Evaluator
from nas.evaluation_tasks import AccuracyRecord, Evaluation, Judge
from nas.run import Run
from nas.study import Ending
from nas.trials import State

NUM_EPOCHS = 3
STEP_S = 0.05
"""Longer than a halt takes by far, times the steps of an epoch."""


def require_the_very_training(out: Path, **changes: Any) -> None:
    """The promoted training goes on in another place of the queue, to what one that nobody stopped comes to."""
    setting = slow_search.SETTING | {"out": out, "trials": 3, "pruners": ["halving"]} | changes
    setting["fidelity"] = setting["fidelity"] | {"epochs": NUM_EPOCHS, "data_share": 0.25}
    config, script = SearchConfig.model_validate(setting), Script(stops={0: 1}, promotes={0: 2})
    log, notes = out.with_name("log"), slow_search.Notes()
    with mock.patch("nas.search.make_pruner", return_value=script):
        run, ending = slow_search.search(config, partial(slow_search.make_slow_evaluator, config, log, STEP_S), notes)
    assert ending is Ending.COMPLETE
    pruned, promoted = (r for r in run.records if r.candidate and r.candidate.architecture == script.seen[0])
    assert (pruned.state, promoted.state) == (State.PRUNED, State.COMPLETE)
    assert pruned.partial is not None
    assert promoted.outcome is not None
    found = promoted.outcome.accuracy
    assert pruned.partial.epochs == 1
    assert found.curve[:1] == (pruned.partial.accuracy.curve if pruned.partial.accuracy else None)
    assert any("goes on after step" in note for note in notes.notes)
    steps = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert [step for _, step, _ in steps].count(1) == 3, "no training began anew"
    assert len({pid for pid, *_ in steps}) == (config.workers or 1), "the halted worker stayed"
    _require_same(found, _alone(run, script.seen[0]))
    assert not list((out / "checkpoints" / "trials").iterdir())


def _alone(run: Run, architecture: str) -> AccuracyRecord:
    """As one uninterrupted training that keeps nothing."""
    config = run.config.model_copy(update={"checkpoint_every_s": 0.0, "executor": "local"})
    seed = next(
        r.outcome.accuracy.seed
        for r in run.records
        if r.outcome and r.candidate and r.candidate.architecture == architecture
    )
    threads = torch.get_num_threads()
    try:
        work = Judge(architecture=architecture, seed=seed, preparation=run.preparation, measure=False)
        evaluation = Evaluator(config, 0)(work, lambda fraction, doing, found=None: None)
    finally:
        torch.set_num_threads(threads)
    assert isinstance(evaluation, Evaluation)
    return evaluation.accuracy


def _require_same(found: AccuracyRecord, alone: AccuracyRecord) -> None:
    assert found.num_correct == alone.num_correct
    assert found.curve == alone.curve
    assert found.losses == alone.losses
