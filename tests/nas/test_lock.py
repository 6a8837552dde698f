"""The lock of a run directory, between processes of this host and against hosts that share its file system."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fake_search
import pytest

import nas.run_lock
from nas.cli import main
from nas.evaluation_tasks import Judge
from nas.file_systems import FileSystem
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.run_lock import (
    LEASE_S,
    Holder,
    LostLockError,
    RunLock,
    holder_file,
    is_held_here,
    lock_file,
    locked,
    read_holder,
    take_over,
)
from nas.storage import load_study, open_study
from nas.study import Ending
from nas.trials import State, read_records

ELSEWHERE = Holder(host="node7", pid=4242, since="2026-01-01T00:00:00+00:00", kernel="another boot", token="theirs")
FORK_AND_HOLD = """
import os, sys, time
from pathlib import Path
from nas.run_lock import locked
with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(600)
"""
HOLD = """
import sys, time
from pathlib import Path
from nas.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(path: Path, holder: Holder = ELSEWHERE, age_s: float = 0.0) -> None:
    """Let another host hold the lock, who was last heard of so many seconds ago."""
    holder_file(path).write_text(json.dumps(asdict(holder)))
    then = lock_file_time(path) - age_s
    os.utime(holder_file(path), (then, then))


def lock_file_time(path: Path) -> float:
    lock_file(path).touch()
    return lock_file(path).stat().st_mtime


def another_process(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refused(path: Path, reason: str) -> None:
    """The lock is refused at once, for this reason."""
    with pytest.raises(RunDirectoryError, match=reason), locked(path, sleep=pytest.fail):
        pass


def no_wait(seconds: float) -> None:
    pass


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if other hosts had the file system, too; a real one is not to be had here."""
    monkeypatch.setattr(nas.run_lock, "file_system_of", lambda path: FileSystem(kind="nfs4", mount=Path("/")))


def test_a_living_process_is_named_and_a_dead_ones_lock_is_free_at_once(tmp_path: Path) -> None:
    process = another_process(tmp_path)
    try:
        refused(tmp_path, rf"in use by process {process.pid} on .+ since \d+")
        with pytest.raises(RunDirectoryError, match="on this very host: end that process"):
            take_over(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert holder_file(tmp_path).exists(), "a killed process leaves its holder file"
    with locked(tmp_path, sleep=pytest.fail) as lock:
        assert not lock.is_lost()
    assert not holder_file(tmp_path).exists()


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with locked(tmp_path):
        refused(tmp_path, f"in use by process {os.getpid()}")


@pytest.mark.parametrize("age_s", [0.0, 30.0, 59.0])
def test_another_hosts_lease_is_respected(tmp_path: Path, age_s: float) -> None:
    hold(tmp_path, age_s=age_s)
    with pytest.raises(RunDirectoryError) as refusal, locked(tmp_path, sleep=pytest.fail):
        pass
    left_s = int(str(refusal.value).split("lapses in ")[1].split(" s")[0])
    assert abs(left_s - (LEASE_S - age_s)) <= 1
    assert "process 4242 on node7" in str(refusal.value)
    assert "--take-over" in str(refusal.value)
    assert read_holder(tmp_path) == ELSEWHERE


@pytest.mark.parametrize("age_s", [61.0, 1e6, -1000.0])
def test_a_lapsed_lease_is_watched_and_taken_over(tmp_path: Path, age_s: float) -> None:
    """Also one from the future: a clock has jumped."""
    hold(tmp_path, age_s=age_s)
    waits: list[float] = []
    with locked(tmp_path, sleep=waits.append) as lock:
        assert not lock.is_lost()
        holder = read_holder(tmp_path)
        assert holder is not None
        assert (holder.pid, holder.is_here) == (os.getpid(), True)
    assert sum(waits) >= LEASE_S / 4, "at least one renewal would have been seen"


@pytest.mark.parametrize("age_s", [3600.0, -3600.0])
def test_a_living_host_whose_clock_is_wrong_keeps_its_lock(tmp_path: Path, age_s: float) -> None:
    """Some file systems take times from their clients: what counts is that the holder is heard of."""
    hold(tmp_path, age_s=age_s)
    waited = 0.0

    def renew_meanwhile(seconds: float) -> None:
        nonlocal waited
        waited += seconds
        if waited >= LEASE_S / 4:
            hold(tmp_path, age_s=age_s - 1)

    with (
        pytest.raises(RunDirectoryError, match="clock and this one's disagree"),
        locked(tmp_path, sleep=renew_meanwhile),
    ):
        pass
    assert read_holder(tmp_path) == ELSEWHERE


def test_jumps_of_this_hosts_clock_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path, age_s=30)
    for jump in (1e6, -1e6):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.8e9 + jump)
        refused(tmp_path, r"lapses in (29|30) s")


def test_take_over_frees_another_hosts_lock(tmp_path: Path) -> None:
    hold(tmp_path)
    take_over(tmp_path)
    with locked(tmp_path, sleep=pytest.fail) as lock:
        assert not lock.is_lost()


def test_a_living_process_of_another_container_is_not_taken_over(tmp_path: Path) -> None:
    """Its number is of another namespace, so that no process here has it."""
    process = another_process(tmp_path)
    try:
        holder = read_holder(tmp_path)
        assert holder is not None
        holder_file(tmp_path).write_text(json.dumps(asdict(replace(holder, pid=2**22 + 1))))
        with pytest.raises(RunDirectoryError, match="on this very host"):
            take_over(tmp_path)
        assert is_held_here(tmp_path)
    finally:
        process.kill()
        process.wait()
    assert not is_held_here(tmp_path)
    take_over(tmp_path)
    with locked(tmp_path, sleep=pytest.fail):
        assert is_held_here(tmp_path)


def test_a_holder_file_with_more_in_it_is_read(tmp_path: Path) -> None:
    """Of another version."""
    holder_file(tmp_path).write_text(json.dumps(asdict(ELSEWHERE) | {"started_s": 1.5}))
    assert read_holder(tmp_path) == ELSEWHERE


def test_take_over_of_a_free_directory_changes_nothing(tmp_path: Path) -> None:
    take_over(tmp_path)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("age_s", [0.0, 61.0])
def test_a_file_lock_that_outlives_its_host_is_no_obstacle(tmp_path: Path, shared: None, age_s: float) -> None:
    """A server may keep the locks of a host that lost its power."""
    process = another_process(tmp_path)
    try:
        hold(tmp_path, age_s=age_s)
        if age_s < LEASE_S:
            refused(tmp_path, "another host")
            take_over(tmp_path)
        with locked(tmp_path, sleep=no_wait):
            refused(tmp_path, f"process {os.getpid()}")
    finally:
        process.kill()
        process.wait()


def test_without_a_shared_file_system_a_locked_file_is_a_living_process(tmp_path: Path) -> None:
    process = another_process(tmp_path)
    try:
        hold(tmp_path, age_s=61)
        refused(tmp_path, "in use")
    finally:
        process.kill()
        process.wait()


def test_a_damaged_holder_file_is_as_good_as_its_age(tmp_path: Path) -> None:
    hold(tmp_path)
    holder_file(tmp_path).write_text("")
    refused(tmp_path, "in use by another process, another host; its lease")
    os.utime(holder_file(tmp_path), (0, 0))
    with locked(tmp_path, sleep=no_wait):
        pass


def test_a_host_that_was_started_anew_has_its_own_lock(tmp_path: Path) -> None:
    hold(tmp_path, replace(ELSEWHERE, host=socket.gethostname()))
    with locked(tmp_path, sleep=pytest.fail):
        pass


def test_who_is_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path, trials=4, finalists=0)
    with locked(tmp_path):
        own = RunLock(tmp_path, read_holder(tmp_path) or ELSEWHERE, clock=iter(range(10**9)).__next__)
        study = open_study(RunDirectory(tmp_path), config, own)
        before = study.ask()
        hold(tmp_path)
        with pytest.raises(LostLockError, match="was taken over by process 4242 on node7"):
            study.tell(before, 1.0)
        assert own.is_lost()
        holder_file(tmp_path).unlink()
        assert own.is_lost(), "for ever, also when the other one has ended"
    assert [record.state for record in read_records(load_study(RunDirectory(tmp_path)))] == [State.RUNNING]


def test_a_search_that_is_taken_over_ends_and_tells_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nas.run_lock, "CHECK_S", 0.0)
    judged = 0

    def evaluate(work: object, report: Any) -> object:
        nonlocal judged
        judged += isinstance(work, Judge)
        if judged == 3:
            hold(tmp_path)
        return fake_search.evaluate(work, report)

    with pytest.raises(LostLockError, match="taken over by process 4242 on node7"):
        fake_search.run(fake_search.config(tmp_path, trials=6), fake_search.InlineExecutor(evaluate))
    states = [record.state for record in read_records(load_study(RunDirectory(tmp_path)))]
    assert states == [State.COMPLETE, State.COMPLETE, State.RUNNING]
    assert read_holder(tmp_path) == ELSEWHERE


def test_another_ones_holder_file_is_left_alone(tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        hold(tmp_path)
        age_before = holder_file(tmp_path).stat().st_mtime
        lock.renew()
        assert holder_file(tmp_path).stat().st_mtime == age_before
    assert read_holder(tmp_path) == ELSEWHERE


def test_a_lease_is_renewed(tmp_path: Path) -> None:
    with locked(tmp_path, lease_s=0.2):
        os.utime(holder_file(tmp_path), (0, 0))
        until(lambda: holder_file(tmp_path).stat().st_mtime > 0)


def test_a_renewal_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with locked(tmp_path, lease_s=0.1) as lock:
        monkeypatch.setattr(nas.run_lock.os, "utime", full)
        time.sleep(0.3)
        monkeypatch.undo()
        assert not lock.is_lost()
        refused(tmp_path, "in use")


@pytest.mark.parametrize("call", ["flock", "lockf"])
def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def unsupported(*args: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(f"fcntl.{call}", unsupported)
    refused(tmp_path, r"where file locks do not work .* Function not implemented")
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_gives_one_lock_to_two_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *args: None)
    refused(tmp_path, "one lock is given to two at once")


@pytest.mark.parametrize("command", ["search", "train"])
def test_the_command_line_takes_over_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    def run(config: Any, *rest: object, **named: object) -> tuple[None, Ending]:
        with locked(config.out, sleep=pytest.fail):
            return None, Ending.COMPLETE

    monkeypatch.setattr("nas.search.run_search", run)
    monkeypatch.setattr("nas.full_training.run.train", run)
    what = ["quickstart"] if command == "search" else ["efficientnetv2-b0", "--data", "digits"]
    arguments = ["nas", command, *what, "--out", str(tmp_path)]
    hold(tmp_path)
    assert nas_exit(monkeypatch, arguments) == 75  # EX_TEMPFAIL
    assert "nas: " in (said := capsys.readouterr().err)
    assert re.search(r"another host; its lease lapses in \d+ s", said)
    assert nas_exit(monkeypatch, [*arguments, "--take-over"]) == 0
    process = another_process(tmp_path)
    try:
        assert nas_exit(monkeypatch, [*arguments, "--take-over"]) == 2
        assert f"process {process.pid}" in capsys.readouterr().err
    finally:
        process.kill()
        process.wait()


def nas_exit(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition; the limit only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.02)


def test_a_killed_holder_is_gone_though_a_process_that_it_forked_lives(tmp_path: Path) -> None:
    """Those who read images for a training end seconds after it was killed."""
    with subprocess.Popen([sys.executable, "-c", FORK_AND_HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(RunDirectoryError, match="is in use"), locked(tmp_path):
                pass
            holder.kill()
            holder.wait()
            os.kill(child, 0)  # lives
            with locked(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
