"""Real kills of a real driver process: nothing that was told is lost or told twice, and the sequence is the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_search
import psutil
import pytest

from nas.config import make_config
from nas.run import Run, read_run
from nas.run_directory import RunDirectory
from nas.storage import load_study
from nas.trials import State, read_records

TRIALS = 8
# Writes to the study from the start of each process until its death: preparation, table, trials, measurements and
# further trainings are hit.
MOMENTS = (4, 2, 7, 6, 9, 12, 2, 2, 2, 1)


def start(out: Path, what: str, count: int = 0, sampler: str = "tpe") -> subprocess.Popen[bytes]:
    script = Path(fake_search.__file__)
    command = [sys.executable, str(script), str(out), what, str(count), sampler, str(TRIALS)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def told(run: Run) -> list[tuple[str, float]]:
    reward = run.reward()
    return [
        (
            record.candidate.architecture,
            reward(
                accuracy=record.outcome.accuracy.accuracy,
                step_time_s=record.outcome.step_time_s,
                params=record.outcome.params,
            ),
        )
        for record in run.records
        if record.is_judged and record.candidate and record.outcome
    ]


def survives(tmp_path: Path, moments: tuple[int, ...]) -> None:
    out = tmp_path / "killed"
    known: dict[int, State] = {}
    hit: list[str] = []
    for moment in moments:
        process = start(out, "kill", moment)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, f"the search ended before it could be killed: {errors.decode()}"
        hit.append(errors.decode().splitlines()[-1])
        if RunDirectory(out).is_started:
            # What is told before the kill stays as it is for ever.
            records = read_records(load_study(RunDirectory(out)))
            now = {record.number: record.state for record in records if record.is_judged}
            assert known.items() <= now.items()
            known = now
    print("killed at", hit)
    process = start(out, "kill", 0)
    assert process.wait(timeout=120) == 0
    killed = read_run(out)
    whole, _ = fake_search.run(fake_search.config(tmp_path / "whole", sampler="tpe", trials=TRIALS))
    assert len(told(killed)) == TRIALS
    assert told(killed) == told(whole)
    assert killed.tables == whole.tables
    assert (
        killed.measurements.keys()
        == killed.replicates.keys()
        == {
            record.number
            for record in killed.records
            if record.candidate and record.candidate.architecture in retrained(whole) and record.is_judged
        }
    )
    assert {record.state for record in killed.records} <= {State.COMPLETE, State.FAILED}


def retrained(run: Run) -> set[str]:
    return {entry.architecture for entry in run.leaderboard() if entry.num_trainings > 1}


def test_kills_lose_nothing(tmp_path: Path) -> None:
    survives(tmp_path, MOMENTS[3:6])


@pytest.mark.slow
def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    survives(tmp_path, MOMENTS)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_stops_within_ten_seconds_and_the_search_can_go_on(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    process = start(out, "slow")
    until(lambda: running(out) == 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    asked = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert time.monotonic() - asked < 10
    until(lambda: not [worker for worker in workers if is_alive(worker)])
    records = read_records(load_study(RunDirectory(out)))
    assert {record.state for record in records} <= {State.COMPLETE, State.FAILED, State.WAITING}
    run, _ = fake_search.run(fake_search.config(out, trials=TRIALS, sampler="tpe", workers=2))
    assert len(told(run)) == TRIALS


def test_no_worker_outlives_a_killed_driver(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "slow")
    until(lambda: running(tmp_path / "run") == 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    until(lambda: not [worker for worker in workers if is_alive(worker)])


def test_a_killed_worker_is_replaced_and_its_candidate_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out, "slow")
    until(lambda: running(out) == 2)
    time.sleep(1.0)  # a trial runs in the study before its worker has it; there it takes five seconds
    victim = next(
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    )
    victim.kill()
    until(lambda: any(record.reason == "worker killed by SIGKILL (out of memory?)" for record in records_of(out)))
    until(lambda: any(r.candidate and r.candidate.retry_of is not None for r in records_of(out)))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def running(out: Path) -> int:
    return sum(record.state is State.RUNNING for record in records_of(out))


def records_of(out: Path) -> list:  # type: ignore[type-arg]
    if not RunDirectory(out).is_started:
        return []
    try:
        return read_records(load_study(RunDirectory(out)))
    except ValueError:
        return []  # the study is being made this very moment


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def until(condition, seconds: float = 90) -> None:  # type: ignore[no-untyped-def]
    """Wait for a condition; the limit only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.1)


def test_the_whole_configuration_is_re_runnable(tmp_path: Path) -> None:
    from nas.config import read_config

    config = fake_search.config(tmp_path / "run", trials=2, finalists=0)
    fake_search.run(config)
    assert read_config(tmp_path / "run" / "config.yaml") == config
    assert make_config({}, {"out": str(tmp_path)}).out == tmp_path
