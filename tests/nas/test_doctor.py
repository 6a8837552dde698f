"""Damages made for real on copies of a finished search: each is named, and after its repair the search goes on."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fake_search
import optuna
import psutil
import pytest
from quick_disk import do_not_wait_for_disks

from nas.cli import main
from nas.config import read_config
from nas.doctor.examination import examine, is_healthy, treat
from nas.doctor.findings import Finding, Severity
from nas.run import Run
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.run_lock import Holder, holder_file, locked
from nas.storage import load_study
from nas.study import Ending
from nas.trial_checkpoints import kept_training
from nas.trials import State, as_damaged, read_records

TRIALS = 20
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that has ended, with duplicates among its trials."""
    do_not_wait_for_disks()
    out = tmp_path_factory.mktemp("finished") / "run"
    fake_search.run(fake_search.config(out, trials=TRIALS))
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def whats(findings: list[Finding]) -> str:
    return "\n".join(f"{each.severity} {each.file}: {each.what} -> {each.advice}" for each in findings)


def serious(findings: list[Finding]) -> list[str]:
    return [each.file for each in findings if each.severity is not Severity.NOTE]


def verdicts(path: Path) -> dict[int, tuple[State, object, object]]:
    """What was told of each trial, by Optuna's own reading."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{path / 'study.db'}")
    told = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return {
        trial.number: (trial.state, trial.values, trial.user_attrs["candidate"])
        for trial in study.get_trials(deepcopy=False)
        if trial.state in told
    }


def judged(path: Path) -> list[str]:
    records = read_records(load_study(RunDirectory(path)))
    return [record.candidate.architecture for record in records if record.is_judged and record.candidate]


def goes_on(path: Path, trials: int = TRIALS, sampler: str = "random") -> Run:
    """The search is resumed, and ends with its exact budget, no architecture judged twice."""
    run, ending = fake_search.run(fake_search.config(path, trials=trials, sampler=sampler))
    assert ending is Ending.COMPLETE
    assert len(judged(path)) == len(set(judged(path))) == trials
    assert is_healthy(found := examine(path)), whats(found)
    return run


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path / "study.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def content(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def test_a_finished_search_is_healthy(run: Path) -> None:
    assert examine(run) == []


def test_a_search_that_was_stopped_is_healthy(tmp_path: Path) -> None:
    fake_search.run(fake_search.config(tmp_path / "run", timeout_s=1e-6))
    assert is_healthy(found := examine(tmp_path / "run")), whats(found)


def cut(share: float) -> Damage:
    def damage(path: Path) -> None:
        with (path / "study.db").open("rb+") as file:
            file.truncate(int(file.seek(0, os.SEEK_END) * share))

    return damage


def write(name: str, content: bytes) -> Damage:
    return lambda path: (path / name).write_bytes(content) and None  # type: ignore[return-value]


def remove(name: str) -> Damage:
    return lambda path: (path / name).unlink()


def sql(*statements: str) -> Damage:
    return lambda path: execute(path, *statements)


def another_seed(path: Path) -> None:
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("seed: 0\n", "seed: 7\n").replace("lr: 0.008", "lr: 0.5"))


def write_ahead(path: Path) -> None:
    execute(path, "PRAGMA journal_mode = WAL")


def leave_unfinished(path: Path) -> None:
    (path / ".best.yaml.host.123.tmp").write_text("stage")


def keep_a_judged_training(path: Path) -> None:
    config = read_config(path / "config.yaml")
    folder = path / "checkpoints" / "trials"
    folder.mkdir(parents=True)
    (folder / kept_training(config, str(config.search_space().backbone)).file_name(config)).write_bytes(b"state")


def keep_a_damaged_training(path: Path) -> None:
    folder = path / "checkpoints" / "trials"
    folder.mkdir(parents=True)
    (folder / "0123456789abcdef.pt").write_bytes(b"state")


RUNNING = "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 15"
OUTCOME_OF = "key = 'outcome' AND trial_id = (SELECT trial_id FROM trials WHERE number = {})"
REPAIRABLE = {
    "config missing": (remove("config.yaml"), "config.yaml", "is missing"),
    "config empty": (write("config.yaml", b""), "config.yaml", ""),
    "config garbage": (write("config.yaml", b"trials: [\x00"), "config.yaml", ""),
    "config asks another question": (another_seed, "config.yaml", "was started with another"),
    "study truncated": (cut(0.9), "study.db", "is truncated"),
    "write-ahead log": (write_ahead, "study.db", "write-ahead log"),
    "a trial runs": (sql(RUNNING), "study.db", "1 trials run there (15), but no search does"),
    "an outcome that is no JSON": (
        sql(f"UPDATE trial_user_attributes SET value_json = '{{\"acc' WHERE {OUTCOME_OF.format(3)}"),
        "study.db", "is damaged",
    ),
    "an outcome of another form": (
        sql(f"UPDATE trial_user_attributes SET value_json = '{{\"seconds\": 1}}' WHERE {OUTCOME_OF.format(3)}"),
        "study.db", "trial 3 cannot be read",
    ),
    "an outcome that is gone": (
        sql(f"DELETE FROM trial_user_attributes WHERE {OUTCOME_OF.format(3)}"),
        "study.db", "trial 3 is complete, but has no outcome",
    ),
    "a candidate that is gone": (
        sql("DELETE FROM trial_user_attributes WHERE key = 'candidate' AND trial_id = 5"),
        "study.db", "trial 4 has a verdict, but no architecture",
    ),
    "another value": (
        sql("UPDATE trial_values SET value = 0.999 WHERE trial_id IN (3, 6)"),
        "study.db", "the values of 2 trials (2, 5) are not the rewards",
    ),
    "trials.csv missing": (remove("trials.csv"), "trials.csv", "is missing"),
    "trials.csv older": (write("trials.csv", b"number\n0\n"), "trials.csv", "does not show"),
    "trials.csv garbage": (write("trials.csv", b"\xff\xfe"), "trials.csv", "does not show"),
    "best.yaml missing": (remove("best.yaml"), "best.yaml", "is missing"),
    "step-time table damaged": (write("step_time_table.json", b"{"), "step_time_table.json", "does not show"),
    "environment damaged": (write("environment.json", b"{"), "environment.json", "cannot read"),
    "a killed writer's leftover": (leave_unfinished, ".best.yaml.host.123.tmp", "1 files that killed writers left"),
    "a checkpoint of a judged trial": (keep_a_judged_training, "checkpoints/trials/", "has its verdict"),
    "a damaged checkpoint": (keep_a_damaged_training, "checkpoints/trials/", "cannot be read"),
}  # fmt: skip

# Verdicts: of the trials themselves and of their duplicates.
MOST_LOST = {"study truncated": TRIALS, "a trial runs": 2} | dict.fromkeys(
    [name for name in REPAIRABLE if name.startswith(("an outcome", "a candidate"))], 3
)


QUICK = (
    "config missing", "config asks another question", "study truncated", "a trial runs", "an outcome of another form",
    "another value", "trials.csv missing", "environment damaged", "a killed writer's leftover",
    "a checkpoint of a judged trial",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in REPAIRABLE]
)
def test_what_can_be_repaired_is_named_and_repaired_and_the_search_goes_on(run: Path, name: str) -> None:
    damage, file, what = REPAIRABLE[name]
    before = verdicts(run)
    damage(run)
    damaged = content(run)
    found = examine(run)
    assert content(run) == damaged, "who looks changes nothing"
    first = found[0]
    assert first.severity is not Severity.NOTE
    assert first.repair is not None
    assert first.file.startswith(file)
    assert what in first.what
    treatment = treat(run)
    print(whats([done for done, _ in treatment.done]), "\n", [outcome for _, outcome in treatment.done])
    assert is_healthy(treatment.remaining), whats(treatment.remaining)
    if treatment.backup is not None:
        for copy, kept in content(treatment.backup).items():
            assert kept[0] == damaged[copy][0], "the backup is as it was before"
    after = verdicts(run)
    assert after.items() <= before.items(), "nothing that was told is another"
    assert len(after) >= len(before) - MOST_LOST.get(name, 0)
    if "study.db" in file or "config" in name:
        goes_on(run)
    assert after.items() <= verdicts(run).items()


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (remove("study.db"), "is missing, and with it every verdict"),
        (write("study.db", b""), "is empty; trials.csv knows of"),
        (write("study.db", b"no database at all " * 1000), "is no SQLite database; trials.csv knows of"),
        (cut(0.001), "is truncated"),
        (sql("DROP TABLE trials", "DROP TABLE studies"), "holds no study, but"),
        (sql("UPDATE studies SET study_name = 'mine'"), "holds no study of a search"),
    ],
)
def test_what_cannot_be_repaired_is_said_and_left_as_it_is(run: Path, damage: Damage, what: str) -> None:
    damage(run)
    before = content(run)
    for findings in (examine(run), treat(run).remaining):
        assert findings[0].severity is Severity.ERROR
        assert what in findings[0].what
        assert "put a copy back" in findings[0].advice
    after = {name: file for name, file in content(run).items() if not name.startswith(("backup-", ".lock"))}
    assert after == {name: file for name, file in before.items() if not name.startswith(".lock")}


def rows(connection: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    """Rows of a damaged table, asked for one by one without an index, whose pages may be lost while rows are not."""
    found = []
    for row in range(1, 1000):
        try:
            found += connection.execute(f"SELECT * FROM {table} NOT INDEXED WHERE rowid = ?", (row,)).fetchall()
        except sqlite3.Error:
            continue
    return found


def json_of(text: object) -> Any:
    """None for the beginning of one, which the page that a file ends with may hold."""
    try:
        return json.loads(str(text))
    except ValueError:
        return None


def whole_trials(path: Path) -> set[int]:
    """Trials of which everything is readable, from the tables themselves."""
    with closing(sqlite3.connect(path / "study.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        tables = {name: rows(connection, name) for name in ("trials", "trial_user_attributes", "trial_params")}
        valued = {row[1] for row in rows(connection, "trial_values")}
    texts = {(row[1], row[2]): parsed for row in tables["trial_user_attributes"] if (parsed := json_of(row[3]))}
    params = Counter(row[1] for row in tables["trial_params"])
    whole: set[int] = set()
    for trial_id, number, _, state, *_ in sorted(tables["trials"]):
        candidate = texts.get((trial_id, "candidate"))
        has_all_params = params[trial_id] == max(params.values())
        if state != "COMPLETE" or candidate is None or trial_id not in valued or not has_all_params:
            continue
        if (trial_id, "outcome") in texts or candidate["duplicate_of"] in whole:
            whole.add(number)  # type: ignore[arg-type]
    return whole


def damaged_somewhere(path: Path, rng: random.Random) -> str:
    """Cut the study at a random place, or overwrite some bytes of it."""
    with (path / "study.db").open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        place = rng.randrange(100, size)
        if rng.random() < 0.5:
            file.truncate(place)
            return f"cut to {place} of {size} bytes"
        file.seek(place)
        length = rng.choice([1, 16, 512, 4096])
        file.write(rng.randbytes(length))
        return f"{length} bytes at {place} of {size} overwritten"


def survives_damage(finished: Path, folder: Path, seed: int) -> None:
    run = folder / f"run-{seed}"
    shutil.copytree(finished, run)
    before = verdicts(run)
    what = damaged_somewhere(run, random.Random(seed))
    print(f"seed {seed}: {what}")
    treatment = treat(run)
    print(whats([done for done, _ in treatment.done]), [outcome for _, outcome in treatment.done])
    if not is_healthy(treatment.remaining):
        assert "put a copy back" in whats(treatment.remaining), whats(treatment.remaining)
        return
    after = verdicts(run)
    assert after.items() <= before.items(), "nothing that was told is another"
    goes_on(run)
    assert after.items() <= verdicts(run).items(), "nothing is told twice"


def test_a_study_damaged_at_random_places(finished: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        survives_damage(finished, tmp_path, seed)


@pytest.mark.slow
def test_a_study_damaged_at_many_random_places(finished: Path, tmp_path: Path) -> None:
    first = random.SystemRandom().randrange(10**6)
    for seed in range(first, first + 15):
        survives_damage(finished, tmp_path, seed)


@pytest.mark.parametrize("share", [pytest.param(0.98, marks=pytest.mark.slow), 0.93, 0.88])
def test_what_is_readable_after_a_truncation_is_saved(run: Path, share: float) -> None:
    before = verdicts(run)
    cut(share)(run)
    whole = whole_trials(run)
    treat(run)
    saved = set(verdicts(run))
    print(f"{len(saved)} of {len(before)} saved")
    assert saved == whole


@pytest.mark.parametrize("lost", ["", " WHERE objective = 1"])
def test_verdicts_on_several_objectives_outlive_the_study_s_directions(tmp_path: Path, lost: str) -> None:
    path, objectives = tmp_path / "run", ("accuracy", "step_time")
    fake_search.run(fake_search.config(path, trials=6, objectives=objectives))
    before = verdicts(path)
    assert all(len(values) == 2 for _, values, _ in before.values() if values)  # type: ignore[arg-type]
    broken = f"UPDATE trial_user_attributes SET value_json = '{{' WHERE {OUTCOME_OF.format(0)}"
    execute(path, f"DELETE FROM study_directions{lost}", broken)
    (path / "config.yaml").unlink()  # which would tell them, too
    treatment = treat(path)
    assert is_healthy(treatment.remaining), whats(treatment.remaining)
    after = verdicts(path)
    assert after.items() <= before.items()
    again = {number for number, (*_, candidate) in before.items() if candidate["duplicate_of"] == 0}  # type: ignore[index]
    assert before.keys() - after.keys() == {0} | again
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{path / 'study.db'}")
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    _, ending = fake_search.run(fake_search.config(path, trials=6, objectives=objectives))
    assert ending is Ending.COMPLETE


@pytest.mark.parametrize("lost", ["", " WHERE objective = 1"])
def test_lost_directions_alone_are_found(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "run"
    fake_search.run(fake_search.config(path, trials=3, finalists=0, objectives=("accuracy", "step_time")))
    before = verdicts(path)
    execute(path, f"DELETE FROM study_directions{lost}")
    assert "study.db" in serious(examine(path))
    assert is_healthy(treat(path).remaining)
    assert verdicts(path) == before


def test_values_are_left_alone_while_the_configuration_asks_another_question(run: Path) -> None:
    """By exponents that were edited they would be computed to be others."""
    before = verdicts(run)
    # The study is older than one of its fields, which therefore cannot be put back.
    execute(
        run, "UPDATE study_user_attributes SET value_json = json_remove(value_json, '$.w') WHERE key = 'fingerprint'"
    )
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("\nw: -0.07\n", "\nw: -0.5\n"))
    (run / "trials.csv").unlink()
    treatment = treat(run)
    assert "was started with another w" in whats(treatment.remaining)
    assert serious(treatment.remaining) == ["config.yaml"]
    assert verdicts(run) == before
    assert not (run / "trials.csv").exists(), "it would show other rewards"


def test_a_transaction_that_was_cut_short_is_taken_back(run: Path) -> None:
    """A real hot journal: its writer is killed while pages are spilled to the study."""
    before = verdicts(run)
    script = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("PRAGMA cache_spill = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE trial_user_attributes SET value_json = value_json || ' '")
connection.execute("UPDATE trial_values SET value = 0")
connection.execute("UPDATE trial_params SET param_value = 0")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(run / "study.db")], check=False)
    journal = run / "study.db-journal"
    assert journal.exists()
    damaged = content(run)
    found = examine(run)
    assert content(run) == damaged
    assert "study.db-journal" in serious(found), whats(found)
    assert "keep it beside study.db" in whats(found)
    treatment = treat(run)
    assert is_healthy(treatment.remaining), whats(treatment.remaining)
    assert not journal.exists()
    assert treatment.backup is not None
    assert (treatment.backup / "study.db-journal").read_bytes() == damaged["study.db-journal"][0]
    assert verdicts(run) == before


def test_a_study_that_was_copied_without_its_transaction_is_found(run: Path) -> None:
    (run / "study.db-journal").write_bytes(b"\x00" * 512)  # one that has ended: SQLite ignores it
    assert examine(run) == []


def test_a_running_search_is_looked_at_and_not_touched(run: Path) -> None:
    execute(run, RUNNING)
    process = hold(run)
    try:
        found = examine(run)
        assert serious(found) == [], whats(found)
        assert f"in use by process {process.pid}" in whats(found)
        with pytest.raises(RunDirectoryError, match=f"in use by process {process.pid}"):
            treat(run)
    finally:
        process.kill()
        process.wait()
    found = examine(run)
    assert "left behind by process" in whats(found)
    assert serious(found) == ["study.db", "trials.csv"]
    assert is_healthy(treat(run).remaining)
    assert not holder_file(run).exists()


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["our own number", "another"])
def test_a_run_in_another_container_of_this_host_is_under_way(run: Path, pid: int) -> None:
    """Its process has a number there that here is nobody's, or somebody else's."""
    execute(run, RUNNING)
    process = hold(run)
    try:
        holder = json.loads(holder_file(run).read_text())
        holder_file(run).write_text(json.dumps(holder | {"pid": pid}))
        found = examine(run)
    finally:
        process.kill()
        process.wait()
    assert serious(found) == [], whats(found)
    assert f"in use by process {pid}" in whats(found)
    assert "a run is under way" in whats(found)


def hold(path: Path) -> "subprocess.Popen[str]":
    script = (
        "import sys, time, pathlib, nas.run_lock as l\n"
        "with l.locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_hosts_run_is_left_alone(run: Path) -> None:
    execute(run, RUNNING)
    holder = Holder(host="node7", pid=1, since="now", kernel="another", token="theirs")
    holder_file(run).write_text(json.dumps(asdict(holder)))
    found = examine(run)
    assert serious(found) == [], whats(found)
    assert "process 1 on node7" in whats(found)
    assert "--take-over" in whats(found)
    with pytest.raises(RunDirectoryError, match="its lease lapses in"):
        treat(run)


@pytest.mark.slow
def test_a_killed_search_is_brought_in_order(tmp_path: Path) -> None:
    """Killed for real between a trial's start and its verdict."""
    out = tmp_path / "run"
    process = subprocess.run(
        [sys.executable, fake_search.__file__, str(out), "kill", "24", "tpe", "8"], capture_output=True, check=False
    )
    assert process.returncode == -9, process.stderr.decode()
    before = verdicts(out)
    treatment = treat(out)
    assert is_healthy(treatment.remaining), whats(treatment.remaining)
    assert verdicts(out) == before
    states = {record.state for record in read_records(load_study(RunDirectory(out)))}
    assert State.RUNNING not in states
    goes_on(out, trials=8, sampler="tpe")


def test_a_nearly_full_disk_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = psutil.disk_usage(str(run))
    monkeypatch.setattr(psutil, "disk_usage", lambda path: usage._replace(free=10 * 2**20))
    assert "10 MiB are free" in whats(examine(run))


def test_files_from_the_future_are_told(run: Path) -> None:
    ahead = time.time() + 7200
    os.utime(run / "study.db", (ahead, ahead))
    found = examine(run)
    assert serious(found) == ["study.db"]
    assert "from the future" in found[0].what


def test_deaths_are_summed_up(run: Path) -> None:
    directory = RunDirectory(run)
    for trial, reason in ((3, "worker killed by SIGKILL"), (7, "KeyError: 'a'"), (3, "worker killed by SIGKILL")):
        directory.log_error(f"trial {trial}", reason, "Traceback …\n  2026: nothing\n")
    found = examine(run)
    assert is_healthy(found)
    assert "3 deaths; most often of trial 3 (2); most often: worker killed by SIGKILL (2)" in whats(found)


def test_somebodys_folder_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    found = examine(tmp_path)
    assert [each.what for each in found] == ["holds no run"]
    with pytest.raises(RunDirectoryError, match="no such run directory"):
        examine(tmp_path / "nothing")


def test_the_place_of_a_lost_trial_is_kept() -> None:
    """Numbers are names: what is told of trial 7 must stay trial 7's."""
    lost = as_damaged(None)
    assert lost.state is optuna.trial.TrialState.FAIL
    assert "candidate" not in lost.user_attrs


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_line(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(monkeypatch, "doctor", run) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    (run / "best.yaml").unlink()
    (run / "trials.csv").unlink()
    assert nas(monkeypatch, "doctor", run) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:3] for line in lines[:2]] == [
        ["warning", "trials.csv", "is missing"],
        ["warning", "best.yaml", "is missing"],
    ]
    assert lines[2] == f"to repair what can be repaired: nas doctor {run} --repair"
    assert nas(monkeypatch, "doctor", run, "--repair") == 0
    assert "best.yaml: is missing → written again" in capsys.readouterr().out
    assert nas(monkeypatch, "doctor", run / "nothing") == 2
    assert "no such run directory" in capsys.readouterr().err
    (run / "study.db").write_bytes(b"")
    assert nas(monkeypatch, "doctor", run, "--repair") == 1
    with locked(run):
        assert nas(monkeypatch, "doctor", run, "--repair") == 2
    assert "in use by process" in capsys.readouterr().err
