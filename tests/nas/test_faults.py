"""Faults of a machine, done to real searches on it: what is told stays told, once, and the budget is reached exactly.

Where else faults are tested, so that nothing is done twice here:

=====================================================  ================================================================
Fault                                                  Tested in
=====================================================  ================================================================
driver SIGKILL at counted moments                      test_kills (ten), proxies/test_trial_checkpoint (a training)
a worker that another process kills                    test_kills
orphans of a killed driver, SIGTERM and SIGINT         test_kills, with workers that keep nothing
a candidate that raises, or is not finite              test_search, test_evaluation
disk full at a trial's checkpoint                      proxies/test_trial_checkpoint
disk full at a full training                           test_full_training
clock jumps and the lock                               test_lock
damaged studies                                        test_storage, test_search
a whole cluster's faults                               test_ray_faults
=====================================================  ================================================================
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import fake_search
import faulty_worker
import psutil
import pytest
import slow_search
from waiting import is_gone, until

from nas.config import SearchConfig, read_config
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.recovery import INTERRUPTED
from nas.run import Run, read_run
from nas.study import Ending
from nas.trials import DRIVER_DIED, State, TrialRecord

SUPPORT = Path(fake_search.__file__).parent
TRIALS = 6
ANSWERS = (fake_search.INSPECTION, fake_search.PREPARATION, fake_search.TABLE)


def judged(run: Run) -> list[str]:
    return [record.candidate.architecture for record in run.records if record.is_judged and record.candidate]


def run_on_processes(out: Path, log: Path, fault: str = "", victim: str = "", **changes: Any) -> tuple[Run, Ending]:
    factory = partial(faulty_worker.make_faulty_worker, ANSWERS, log, fault, victim)
    config = fake_search.config(out, trials=TRIALS, finalists=0, workers=2, **changes)
    return fake_search.run(config, LocalExecutor(factory, workers=2))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same search where nothing happens."""
    run, _ = fake_search.run(
        fake_search.config(tmp_path_factory.mktemp("whole") / "run", trials=TRIALS, finalists=0, workers=2)
    )
    return run


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("kill", "worker killed by SIGKILL (out of memory?)"),
        ("exit", "worker exited with code 1"),
        pytest.param("hang", "no verdict within 15 s (trial_timeout_s)", marks=pytest.mark.slow),
        pytest.param("stuck", "no verdict within 15 s (trial_timeout_s)", marks=pytest.mark.slow),
    ],
)
def test_a_candidate_that_always_fails_is_tried_so_often_and_told_infeasible(
    tmp_path: Path, whole: Run, fault: str, reason: str
) -> None:
    victim, log = judged(whole)[2], tmp_path / "log"
    timeout_s = 15.0 if "trial_timeout_s" in reason else None
    run, ending = run_on_processes(tmp_path / "run", log, fault, victim, max_retries=1, trial_timeout_s=timeout_s)
    assert ending is Ending.COMPLETE
    assert sorted(judged(run)) == sorted(judged(whole))
    assert faulty_worker.evaluations(log) == dict.fromkeys(judged(whole), 1) | {victim: 2}
    attempts = [record for record in run.records if record.candidate and record.candidate.architecture == victim]
    assert [(attempt.state, attempt.reason) for attempt in attempts] == [
        (State.FAILED, reason), (State.INFEASIBLE, f"died 2 times, last: {reason}"),
    ]  # fmt: skip
    assert {record.state for record in run.records if record not in attempts} == {State.COMPLETE}
    assert reason in run.directory.errors_file.read_text()
    until(lambda: all(map(is_gone, faulty_worker.readers(log))))
    assert len(faulty_worker.readers(log)) == (2 if timeout_s else 0)


def start(what: str, out: Path, log: Path, count: int = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SUPPORT / "faulty_search.py"), what, str(out), str(log), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_with_a_verdict_in_its_hands_a_driver_tells_it_later_and_once(tmp_path: Path, whole: Run) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    for count in (1, 3):
        process = start("tell", out, log, count)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
    run, ending = run_on_processes(out, log)
    assert ending is Ending.COMPLETE
    assert sorted(judged(run)) == sorted(judged(whole))
    assert {(r.state, r.reason) for r in run.records} == {(State.COMPLETE, None), (State.FAILED, DRIVER_DIED)}
    lost = [r.candidate.architecture for r in run.records if r.state is State.FAILED and r.candidate]
    # What was lost on its way was done again: one whose verdict was there, and at most the other worker's.
    again = [architecture for architecture, count in faulty_worker.evaluations(log).items() if count > 1]
    assert 2 <= len(lost) <= 4
    assert set(again) <= set(lost)
    assert max(faulty_worker.evaluations(log).values()) <= 3


def test_jumps_of_the_clock_change_nothing(tmp_path: Path, whole: Run) -> None:
    out = tmp_path / "run"
    process = start("clock", out, tmp_path / "log")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert int(output.split()[-1]) > 20, "somebody looked at it"
    run = read_run(out)
    assert {record.state for record in run.records} == {State.COMPLETE}
    assert sorted(judged(run)) == sorted(judged(whole))
    times = [record.started for record in run.records]
    assert times != sorted(times, key=lambda time: time or datetime.min), "it did jump"


def test_an_orphan_that_wakes_up_under_a_new_driver_tells_nothing(tmp_path: Path, whole: Run) -> None:
    """As after a machine was suspended."""
    out, log = tmp_path / "run", tmp_path / "log"
    process = start("wait", out, log)
    until(lambda: log.exists() and len(faulty_worker.evaluations(log)) == 2)
    orphans = [pid for pid in descendants(process.pid) if "spawn_main" in " ".join(psutil.Process(pid).cmdline())]
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.wait(timeout=60)
    assert len(orphans) == 2
    begun = faulty_worker.evaluations(log)
    woken = []

    class Waking(Observer):
        def finished(self, record: TrialRecord, reward: float | None, judged: int) -> None:
            while orphans:
                woken.append(orphans.pop())
                os.kill(woken[-1], signal.SIGCONT)

    factory = partial(faulty_worker.make_faulty_worker, ANSWERS, log, "", "")
    config = fake_search.config(out, trials=TRIALS, finalists=0, workers=2)
    run, ending = fake_search.run(config, LocalExecutor(factory, workers=2), Waking())
    until(lambda: all(map(is_gone, woken)))
    assert ending is Ending.COMPLETE
    assert sorted(judged(run)) == sorted(judged(whole))
    assert faulty_worker.evaluations(log) == begun + Counter(judged(whole))


@pytest.mark.parametrize("what", ["study", "report"])
def test_a_full_disk_ends_the_search_and_loses_nothing(tmp_path: Path, whole: Run, what: str) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs unshare, and user namespaces")
    mount = f"mount -t tmpfs -o size=16m tmpfs {tmp_path} && exec "
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} {sys.executable} {SUPPORT / 'full_disk.py'} {tmp_path} {what}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert {"study": "study.db", "report": "No space left on device"}[what] in found["error"]
    assert "\n" not in found["error"]
    assert 5 <= len(found["before"]) <= 12
    assert found["after"][: len(found["before"])] == found["before"]
    assert len({architecture for _, _, architecture in found["after"]}) == len(found["after"]) == 12
    assert [architecture for _, _, architecture in found["after"]][:TRIALS] == judged(whole)
    assert found["ending"] == "complete"
    assert {"report.html", "trials.csv", "best.yaml"} <= set(found["written"])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(SearchConfig.model_validate(slow_search.SETTING | {"out": tmp_path / "run"}).to_yaml())
    return path


def start_slow(recipe: Path, step_s: float = 0.0, deadly_verdict: int = 0) -> "subprocess.Popen[str]":
    arguments = [str(recipe), str(recipe.with_name("log")), str(step_s), str(deadly_verdict)]
    return subprocess.Popen(
        [sys.executable, str(SUPPORT / "slow_search.py"), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def steps(recipe: Path) -> list[int]:
    """Numbers of the training steps that were done in all attempts, but for the last one of each training."""
    log = recipe.with_name("log")
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def go_on(recipe: Path) -> tuple[Run, list[str]]:
    config, notes = read_config(recipe), slow_search.Notes()
    factory = partial(slow_search.make_slow_evaluator, config, recipe.with_name("log"), 0.0)
    run, ending = slow_search.search(config, factory, notes)
    assert ending is Ending.COMPLETE
    num_steps = int(recipe.with_name("log").read_text().split()[2])
    print(f"{num_steps} steps each")
    assert sorted(steps(recipe)) == sorted(2 * [*range(1, num_steps)]), "no step was done twice, and none left out"
    return run, notes.notes


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["driver", "group"])
def test_a_scheduler_that_ends_the_job_loses_no_step(recipe: Path, whom: str) -> None:
    """Slurm tells the whole group, Kubernetes the first process; each gives half a minute."""
    process = start_slow(recipe, step_s=0.1)
    until(lambda: len(steps(recipe)) >= 5)
    workers = descendants(process.pid)
    (os.kill if whom == "driver" else os.killpg)(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    until(lambda: all(map(is_gone, workers)), seconds=5)
    done = len(steps(recipe))
    assert {(r.state, r.reason) for r in read_run(recipe.with_name("run")).records} == {
        (State.FAILED, INTERRUPTED), (State.WAITING, None),
    }  # fmt: skip
    run, notes = go_on(recipe)
    assert next(note for note in notes if note.startswith("goes on")).startswith(f"goes on after step {done} of ")
    assert len(judged(run)) == 2
    assert not [file for file in (recipe.with_name("run") / "checkpoints").rglob("*") if file.is_file()]


@pytest.mark.slow
def test_a_training_whose_verdict_was_lost_on_its_way_is_not_done_again(recipe: Path) -> None:
    process = start_slow(recipe, deadly_verdict=1)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert len(steps(recipe)) >= 5
    run, _ = go_on(recipe)
    assert [record.state for record in run.records if record.candidate][:1] == [State.FAILED]
    assert len(judged(run)) == 2


@pytest.mark.slow
def test_a_candidate_that_gets_no_memory_is_infeasible_and_the_next_one_fine(tmp_path: Path) -> None:
    large = {"train": {"batch_size": 1024}, "fidelity": {"epochs": 1, "resolution": 96}, "out": tmp_path / "run"}
    config = SearchConfig.model_validate(slow_search.SETTING | large)
    run, ending = slow_search.search(config, partial(slow_search.make_cramped_evaluator, config))
    assert ending is Ending.COMPLETE
    first, second = run.records
    assert (first.state, second.state) == (State.INFEASIBLE, State.COMPLETE)
    assert first.reason is not None
    assert first.reason.startswith("out of memory on cpu: ")


@pytest.mark.parametrize("damage", [b"", b"not a database " * 1000, None])
def test_a_damaged_study_is_refused_in_a_line_that_names_the_doctor(tmp_path: Path, damage: bytes | None) -> None:
    out = tmp_path / "run"
    run, _ = fake_search.run(fake_search.config(out, trials=2, finalists=0))
    whole = run.directory.study_file.read_bytes()
    run.directory.study_file.write_bytes(whole[: len(whole) // 3] if damage is None else damage)
    before = run.directory.study_file.read_bytes()
    result = subprocess.run(
        [sys.executable, "-m", "nas", "search", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") <= 2, result.stderr
    assert "nas doctor" in result.stderr
    assert "Traceback" not in result.stderr
    assert run.directory.study_file.read_bytes() == before
