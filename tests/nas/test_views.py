"""trials.csv and best.yaml, read back by other programs' readers."""

import csv
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from nas.run import Run
from nas.storage import load_study
from nas.trials import State
from nas.views import COLUMNS, write_best, write_trials
from search_spaces.architecture import parse


def read_rows(run: Run, path: Path) -> list[dict[str, str]]:
    write_trials(run.records, run.reward(), path)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_for_each_trial(finished_run: Run, tmp_path: Path) -> None:
    rows = read_rows(finished_run, tmp_path / "trials.csv")
    assert [int(row["number"]) for row in rows] == [record.number for record in finished_run.records]
    assert list(rows[0])[: len(COLUMNS)] == list(COLUMNS)
    assert {name.removeprefix("params_") for name in list(rows[0])[len(COLUMNS) :]} == set(
        finished_run.config.search_space().choices
    )


def test_rewards_are_those_that_the_sampler_saw(finished_run: Run, tmp_path: Path) -> None:
    """R is computed again from A, S and P; Optuna's value is the sampler's copy of it."""
    study = load_study(finished_run.directory)
    rows = read_rows(finished_run, tmp_path / "trials.csv")
    complete = [trial for trial in study.trials if trial.value is not None]
    assert len(complete) > 30
    for trial in complete:
        assert float(rows[trial.number]["reward"]) == trial.value


def test_states_reasons_and_links(finished_run: Run, tmp_path: Path) -> None:
    rows = read_rows(finished_run, tmp_path / "trials.csv")
    by_state = {state: [row for row in rows if row["state"] == state] for state in State}
    assert by_state[State.FAILED][0]["reason"] == "its worker died with signal 9"
    assert all(row["reason"].startswith("the loss was not finite") for row in by_state[State.INFEASIBLE])
    assert all(row["accuracy"] == "" for row in by_state[State.INFEASIBLE])
    retries = [row for row in rows if row["retry_of"]]
    assert rows[int(retries[0]["retry_of"])]["state"] == State.FAILED
    duplicates = [row for row in rows if row["duplicate_of"]]
    original = rows[int(duplicates[0]["duplicate_of"])]
    for name in ("architecture", "accuracy", "step_time_s", "params", "reward"):
        assert duplicates[0][name] == original[name]


def test_the_machine_is_told_where_it_is_known(finished_run: Run, tmp_path: Path) -> None:
    judged = [record for record in finished_run.records if record.outcome is not None]
    assert judged
    rows = read_rows(finished_run, tmp_path / "trials.csv")
    assert [rows[record.number]["machine"] for record in judged] == [
        (record.outcome and record.outcome.where) or "" for record in judged
    ]
    elsewhere = replace(judged[0], outcome=replace(judged[0].outcome, where="node7"))
    nobody_knows = replace(judged[1], outcome=replace(judged[1].outcome, where=None))
    write_trials([elsewhere, nobody_knows], finished_run.reward(), tmp_path / "trials.csv")
    frame = pd.read_csv(tmp_path / "trials.csv", keep_default_na=False)
    assert list(frame["machine"]) == ["node7", ""]


def test_whole_numbers_stay_whole(finished_run: Run, tmp_path: Path) -> None:
    read_rows(finished_run, tmp_path / "trials.csv")
    frame = pd.read_csv(tmp_path / "trials.csv")
    assert all(str(value).isdigit() for value in frame["params"].dropna().astype("Int64").astype(str))
    first = (tmp_path / "trials.csv").read_text(encoding="utf-8").splitlines()[1].split(",")
    assert first[COLUMNS.index("params")] == str(finished_run.preparation.params_ref)


def test_no_trial_yet(tmp_path: Path, finished_run: Run) -> None:
    write_trials([], finished_run.reward(), tmp_path / "trials.csv")
    assert (tmp_path / "trials.csv").read_text(encoding="utf-8") == ",".join(COLUMNS) + "\n"


def test_best_holds_all_that_its_figures_depend_on(finished_run: Run, tmp_path: Path) -> None:
    best = finished_run.leaderboard()[0]
    write_best(best, finished_run, tmp_path / "best.yaml")
    values = yaml.safe_load((tmp_path / "best.yaml").read_text(encoding="utf-8"))
    architecture = parse(values["architecture"])
    assert finished_run.config.search_space().contains(architecture)
    assert len(values["accuracies"]) == best.num_trainings == 3
    assert statistics.fmean(training["accuracy"] for training in values["accuracies"]) == pytest.approx(
        values["accuracy"]
    )
    assert values["params"] == best.params
    again = finished_run.reward()(
        accuracy=values["accuracy"], step_time_s=values["step_time_s"], params=values["params"]
    )
    assert again == values["reward"]
    assert values["exponents"] == {"w": -0.07, "v": -0.05}


def test_best_goes_to_the_run_directory(make_run) -> None:  # type: ignore[no-untyped-def]
    run = make_run(trials=2, retrain=False)
    write_best(run.leaderboard()[0], run)
    assert run.directory.best_file.read_text(encoding="utf-8").startswith("architecture: stem8-")
