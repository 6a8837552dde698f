"""What samplers and people are told of pruned candidates."""

import io
import random
import shutil
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import epoch_search
import fake_search
import numpy as np
import optuna
import pytest
from epoch_search import NUM_EPOCHS, EpochExecutor, Script, config
from optuna.trial import TrialState
from rich.console import Console
from scipy import stats

from nas.appraisal import Appraisal
from nas.cli import main
from nas.cli.search_display import SearchDisplay
from nas.comparison import compare_runs
from nas.config import SearchConfig
from nas.doctor.examination import examine
from nas.doctor.salvage import salvage, write_study
from nas.evaluation_tasks import AccuracyRecord
from nas.pricing import reward_of, target_workload
from nas.pruners.together import Together
from nas.pruning import Pruning
from nas.report.page import render
from nas.rerank import pruned_note
from nas.run import Run
from nas.run_directory import RunDirectoryError
from nas.samplers.belief import Belief
from nas.samplers.history import Members, read_known, read_verdicts
from nas.samplers.knowledge import Knowledge
from nas.savings import savings
from nas.search_problem import search_problem
from nas.storage import STUDY_NAME
from nas.trials import (
    Candidate,
    Outcome,
    Partial,
    State,
    TrialRecord,
    distributions,
    flaw_of,
    partial_of,
    read_records,
    tell_pruned,
)
from proxies.costs import CostModel, TableStepTimes
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
MEMBERS = Members(SPACE)


def stopped(*curve: float, reason: str = "too slow", step_time_s: float | None = 0.1) -> Partial:
    accuracy = AccuracyRecord(
        num_correct=round(1000 * curve[-1]), num_images=1000, seed=0, train_seconds=2.0 * len(curve), curve=curve
    ) if curve else None  # fmt: skip
    return Partial(reason=reason, accuracy=accuracy, step_time_s=step_time_s, params=100_000)


class Told:
    """A study to which verdicts are told one after the other."""

    def __init__(self) -> None:
        self.study = optuna.create_study(direction="maximize")
        self.params = [SPACE.to_params(SPACE.sample(random.Random(seed))) for seed in range(6)]
        self.places = [MEMBERS.encode(params) for params in self.params]
        assert len(set(self.places)) == 6

    def ask(self, member: int) -> optuna.Trial:
        self.study.enqueue_trial(self.params[member])
        return self.study.ask(distributions(SPACE))

    def complete(self, member: int, value: float) -> None:
        self.study.tell(self.ask(member), value)

    def prune(self, member: int, partial: Partial, value: float | None = None) -> None:
        tell_pruned(self.study, self.ask(member), partial, value)


def test_a_pruned_trial_is_read_back_and_optuna_sees_its_last_value() -> None:
    told = Told()
    told.prune(0, stopped(0.3, 0.5), 0.45)
    told.prune(1, stopped(), None)
    trial, untrained = told.study.trials
    assert trial.state is untrained.state is TrialState.PRUNED
    assert trial.intermediate_values == {2: 0.45}
    assert not untrained.intermediate_values
    assert not trial.constraints, "it is not infeasible"
    assert partial_of(trial) == stopped(0.3, 0.5)
    assert flaw_of(untrained) == "has a verdict, but no architecture"
    for record, epochs in zip(read_records(told.study), (2, 0), strict=True):
        assert record.state is State.PRUNED
        assert record.reason == "too slow"
        assert record.partial is not None
        assert record.partial.epochs == epochs


def test_a_sampler_learns_what_a_pruned_member_would_have_come_to() -> None:
    told = Told()
    told.complete(0, 0.8)
    told.prune(1, stopped(0.3), 0.3)
    told.prune(2, stopped(), None)
    told.complete(3, 0.7)

    def expected(partial: Partial) -> float | None:
        return None if partial.accuracy is None else 2 * partial.accuracy.accuracy

    verdicts = read_verdicts(told.study, MEMBERS, expected)
    assert verdicts.members.tolist() == [list(told.places[n] or ()) for n in (0, 1, 3)]
    assert verdicts.scores.tolist() == [0.8, 0.6, 0.7]
    assert verdicts.is_told.tolist() == [True, False, True]
    assert verdicts.is_feasible.all()
    assert verdicts.known.tolist() == [list(told.places[n] or ()) for n in (0, 1, 3, 2)]
    # A sampler that expects nothing does without them, and proposes them no more than the others.
    alone = read_verdicts(told.study, MEMBERS)
    assert alone.scores.tolist() == [0.8, 0.7]
    assert read_known(told.study, MEMBERS) == frozenset(told.places[:4])


def test_the_verdict_of_what_went_on_stands_in_place_of_the_first() -> None:
    told = Told()
    told.prune(0, stopped(0.3), 0.3)
    told.complete(1, 0.5)
    told.prune(0, stopped(0.3, 0.4), 0.4)
    verdicts = read_verdicts(told.study, MEMBERS, lambda partial: 0.1 * partial.epochs)
    assert verdicts.scores.tolist() == [0.5, 0.2]
    assert verdicts.guessed == {1}
    told.complete(0, 0.9)
    verdicts = read_verdicts(told.study, MEMBERS, lambda partial: 0.1 * partial.epochs)
    assert verdicts.scores.tolist() == [0.5, 0.9]
    assert verdicts.is_told.all()
    assert not verdicts.silent


def test_the_model_takes_noise_and_similarity_from_what_was_trained_to_the_end(tmp_path: Path) -> None:
    search, preparation = fake_search.config(tmp_path), fake_search.PREPARATION
    told = Told()
    for member, value in enumerate((0.8, 0.6, 0.7, 0.75)):
        told.complete(member, value)
    before = _belief(search, preparation, told, None)
    told.prune(4, stopped(0.3), 0.3)
    told.prune(5, stopped(), None)
    after = _belief(search, preparation, told, 0.2)
    assert after.model.h.noise == before.model.h.noise
    assert np.array_equal(after.model.h.rates, before.model.h.rates)
    pruned = np.array([told.places[4]])
    assert after.model(pruned)[0] < before.model(pruned)[0] - 0.1, "it is believed to be poor"
    found = {tuple(member) for member in after.most_promising(np.random.default_rng(0)).tolist()}
    assert not found & set(told.places)


def test_what_is_expected_of_pruned_candidates_lies_on_a_line_whoever_pruned_them(tmp_path: Path) -> None:
    search = config(tmp_path, trials=12)
    run, _ = epoch_search.run(search, EpochExecutor(), Script(needless=(3,), stops={1: 1, 5: 2}))
    appraisal = Appraisal(search, fake_search.PREPARATION, _costs(search, fake_search.PREPARATION))
    # No pruner forecasts here.
    pruning = Pruning(Together(()), appraisal, backbone=str(SPACE.backbone), records=run.records)
    outcomes = [each.outcome for each in run.records if each.outcome]
    errors = 1 - np.array([each.accuracy.curve for each in outcomes])
    factors = np.array([entry.reward / entry.accuracy for entry in sorted(run.leaderboard(), key=lambda e: e.number)])
    partials = [each.partial for each in run.records if each.partial]
    assert sorted(partial.epochs for partial in partials) == [0, 1, 2]
    for partial in partials:
        assert partial.step_time_s is not None
        factor = run.reward()(accuracy=1.0, step_time_s=partial.step_time_s, params=partial.params)
        known, at = factors, factor
        if partial.accuracy is not None:
            known, at = errors[:, partial.epochs - 1], 1 - partial.accuracy.accuracy
        slope, start, *_ = stats.linregress(np.log(known), np.log(errors[:, -1]))
        expected = factor * (1 - np.exp(start + slope * np.log(at)))
        assert pruning.expected_reward(partial) == pytest.approx(expected), f"after {partial.epochs} epochs"
    fresh = Pruning(Together(()), appraisal, backbone=str(SPACE.backbone), records=run.records[:4])
    assert [fresh.expected_reward(partial) for partial in partials] == [None] * 3, "too few have finished"


def _belief(search: SearchConfig, preparation: Any, told: Told, expected: float | None) -> Belief:
    problem = search_problem(search, preparation, reward_of(search, preparation), _costs(search, preparation))
    verdicts = read_verdicts(told.study, MEMBERS, lambda partial: expected if partial.accuracy else None)
    return Belief(Knowledge(problem), verdicts)


def _costs(search: SearchConfig, preparation: Any) -> CostModel:
    return CostModel(
        workload=target_workload(search, preparation),
        device_kind="cpu",
        step_times=TableStepTimes([fake_search.TABLE], [1.0], SPACE.backbone),
    )


def record(number: int, state: State, **facts: Any) -> TrialRecord:
    candidate = Candidate(architecture=f"a{number}", proposal=number, continues=3 if number == 5 else None)
    return TrialRecord(number=number, state=state, candidate=candidate, started=datetime(2026, 1, 1), **facts)


def whole(seconds: float) -> Outcome:
    curve = (0.5, 0.6, 0.8, 0.9)
    return Outcome(
        accuracy=AccuracyRecord(num_correct=9, num_images=10, seed=0, train_seconds=seconds, curve=curve),
        step_time_s=0.1, step_time_rse=0.0, params=1, macs=1, peak_memory_bytes=1, seconds=seconds,
    )  # fmt: skip


def test_what_was_saved_is_counted_in_epochs_and_seconds() -> None:
    records = [
        record(0, State.COMPLETE, outcome=whole(8.0)),
        record(1, State.PRUNED, partial=stopped(0.3, 0.5)),  # 2 s an epoch, two left
        record(2, State.PRUNED, partial=stopped()),  # as long as the others: 2, 2 s an epoch, four left
        record(3, State.PRUNED, partial=stopped(0.2), continued_by=5),
        record(4, State.INFEASIBLE),
        record(5, State.COMPLETE, outcome=whole(8.0)),
    ]
    found = savings(records, 4)
    assert found is not None
    assert (found.num_pruned, found.num_untrained, found.num_promoted) == (2, 1, 1)
    assert (found.saved_epochs, found.whole_epochs) == (6, 16)
    assert found.saved_s == pytest.approx(2 * 2 + 4 * 2)
    assert found.whole_s == pytest.approx(12 + 8 + 8 + 4)
    assert found.text == "2 pruned, 1 of them untrained; 1 went on later: 6 of 16 epochs (38%) of training saved"
    assert savings(records[:1], 4) is None


def test_people_are_told_and_nobody_is_confused(tmp_path: Path) -> None:
    search, shown = config(tmp_path / "run", trials=10), io.StringIO()
    script = Script(needless=(1,), stops={0: 2, 3: 1, 4: 1}, promotes={3: 7})
    console = Console(file=shown, width=200)
    with SearchDisplay(search, console) as display, mock.patch("nas.search.make_pruner", return_value=script):
        run, _ = fake_search.run(search, EpochExecutor(), display)
    said = shown.getvalue()
    assert "pruned: too slow" in said
    assert "pruned: needless" in said
    assert "; 1 went on later" in said
    saved = savings(run.records, NUM_EPOCHS)
    assert saved is not None
    assert (saved.num_pruned, saved.saved_epochs) == (3, 2 + 4 + 3)
    assert f"{saved.saved_epochs} of 40 epochs" in said
    page = render(run)
    assert "3 pruned" in page
    assert "of training saved" in page
    assert "too slow" in page
    assert len(run.leaderboard()) == 7
    assert {entry.number for entry in run.leaderboard()} == {
        record.number for record in run.records if record.state is State.COMPLETE
    }
    side = compare_runs(run, run).left
    assert (side.num_judged, side.num_pruned, side.num_infeasible) == (10, 3, 0)
    assert not [finding for finding in examine(tmp_path / "run") if finding.severity != "note"]


def test_who_was_pruned_for_one_reward_is_missing_in_another_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(needless=(1,), stops={0: 2, 2: 1}, promotes={2: 4})
    run, _ = epoch_search.run(config(tmp_path, trials=5), EpochExecutor(), script)
    note = "2 candidates were pruned for w = -0.07, v = -0.05 and are not ranked"
    assert f"{note}." in render(run)
    monkeypatch.setattr(sys, "argv", ["nas", "rerank", str(tmp_path), "--w", "0"])
    with pytest.raises(SystemExit):
        main()
    assert note in capsys.readouterr().out.splitlines()
    assert pruned_note(replace(run, records=run.records[:2])) == note.replace("2 ", "1 ").replace(
        "candidates were", "candidate was"
    ).replace("are not", "is not")
    assert pruned_note(replace(run, records=run.records[:1])) is None


def test_a_run_goes_on_by_the_pruners_it_was_started_with(tmp_path: Path) -> None:
    epoch_search.run(config(tmp_path, trials=3), EpochExecutor())
    with pytest.raises(RunDirectoryError, match="another pruners"):
        epoch_search.run(config(tmp_path, trials=4, pruners=[]), EpochExecutor())
    with pytest.raises(RunDirectoryError, match=r"another rungs\.factor: 3, now 2"):
        epoch_search.run(config(tmp_path, trials=4, rungs={"factor": 2}), EpochExecutor())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pruners": ["luck"]}, "pruners.0"),
        ({"pruners": ["halving", "halving"]}, "must be different ones"),
        ({"pruners": ["halving", "hyperband"]}, "of halving and hyperband one, got halving, hyperband"),
        ({"objectives": ["accuracy", "params"], "sampler": "nsga2"}, "pruners need one objective, the reward"),
        ({"step_time": "measured"}, "pruners need known step times, got halving with step_time.method measured"),
        ({"rungs": {"first": 4}}, "rungs.first must be below fidelity.epochs 4 for halving, got 4"),
        ({"rungs": {"factor": 1}}, "rungs.factor"),
        ({"pruning_confidence": 1.0}, "pruning_confidence"),
    ],
)  # fmt: skip
def test_pruners_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        config(tmp_path, **changes)


def test_the_command_line_names_pruners(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["search", "quickstart", "--pruner", "known-cost", "--pruner", "luck", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["nas", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "pruners.1: Input should be 'known-cost', 'halving' or 'hyperband', got 'luck'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_pruner_may_stand_without_a_list(tmp_path: Path) -> None:
    assert config(tmp_path, pruners="halving").pruners == ("halving",)


def test_what_is_saved_of_a_damaged_study_keeps_what_was_pruned(tmp_path: Path) -> None:
    script = Script(needless=(1,), stops={0: 2}, promotes={0: 3})
    run, _ = epoch_search.run(config(tmp_path / "run", trials=5), EpochExecutor(), script)
    copy, fresh = tmp_path / "copy.db", tmp_path / "fresh.db"
    shutil.copy(run.directory.study_file, copy)
    salvaged = salvage(copy)
    assert not salvaged.lost
    write_study(salvaged, fresh)
    study = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{fresh}")
    assert read_records(study) == list(run.records)
    assert [trial.intermediate_values for trial in study.trials if trial.number == 1] == [
        {2: pytest.approx(_value(run, 1))}
    ]


def _value(run: Run, number: int) -> float:
    partial = run.records[number].partial
    assert partial is not None
    assert partial.accuracy is not None
    assert partial.step_time_s is not None
    return run.reward()(accuracy=partial.accuracy.accuracy, step_time_s=partial.step_time_s, params=partial.params)
