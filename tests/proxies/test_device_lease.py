"""Leases of a device among threads and processes: who shares, who is alone, who gets in next, and who dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from proxies.device_lease import DeviceLease

PROCESS = """
import os, sys, threading, time
from pathlib import Path
from proxies.device_lease import DeviceLease

lease = DeviceLease('cpu', Path(sys.argv[1]))
print('ready', flush=True)
"""
HOLD = """
with lease.{kind}():
    print('in', flush=True)
    sys.stdin.read()
"""
TRAIN_ON = """
# A worker of a search has a thread besides, that watches its driver.
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
while True:
    with lease.shared():
        print(time.monotonic(), flush=True)
        time.sleep({hold_s})
"""
FORK_AND_DIE = """
with lease.exclusive():
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print('out', flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lease(tmp_path: Path) -> DeviceLease:
    return DeviceLease("cpu", tmp_path)


@contextmanager
def process(lease: DeviceLease, code: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that uses the lease; killed in the end."""
    command = [sys.executable, "-c", PROCESS + code, str(lease.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert next_line(started) == "ready"
        try:
            yield started
        finally:
            started.kill()


def next_line(started: "subprocess.Popen[str]") -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


class Waiting:
    """A thread of ours that asks for a lease and keeps it until it is told to let go."""

    def __init__(self, hold: Callable[[], AbstractContextManager[None]]) -> None:
        self._hold = hold
        self._has_it, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._hold():
            self._has_it.set()
            self._let_go.wait(timeout=60)

    def has_it(self, within_s: float = 30) -> bool:
        return self._has_it.wait(timeout=within_s)

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join(timeout=60)


def test_who_shares_shares_with_threads_and_processes(lease: DeviceLease) -> None:
    beside = Waiting(lease.shared)
    with lease.shared(), process(lease, HOLD.format(kind="shared")) as other:
        assert next_line(other) == "in"
        assert beside.has_it()
        beside.let_go()


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_one_who_measures_waits_for_every_holder(lease: DeviceLease, kind: str) -> None:
    with process(lease, HOLD.format(kind=kind)) as holder:
        assert next_line(holder) == "in"
        measuring = Waiting(lease.exclusive)
        assert not measuring.has_it(within_s=0.3)
        holder.communicate("")
        assert measuring.has_it()
        measuring.let_go()


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_nobody_gets_in_beside_one_who_measures(lease: DeviceLease, kind: str) -> None:
    with lease.exclusive():
        waiting = Waiting(getattr(lease, kind))
        with process(lease, HOLD.format(kind=kind)):
            assert not waiting.has_it(within_s=0.3)
    assert waiting.has_it()
    waiting.let_go()


def test_threads_of_one_process_are_told_apart(lease: DeviceLease) -> None:
    """Eight threads count a number up in two halves, each beside a pause: nobody gets in between."""
    count = 0

    def count_up() -> None:
        nonlocal count
        for _ in range(5):
            with lease.exclusive():
                seen = count
                time.sleep(0.002)
                count = seen + 1

    threads = [threading.Thread(target=count_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert count == 40


def test_trainings_that_follow_one_another_do_not_keep_a_measurement_out(lease: DeviceLease) -> None:
    """The device is never free: six trainings of different lengths begin again at once, in processes of their own.

    Those that train when the measurement asks may end; none begins before it.
    """
    begun: list[float] = []
    done = threading.Event()

    def train(hold_s: float) -> None:
        with process(lease, TRAIN_ON.format(hold_s=hold_s)) as trainer:
            while not done.is_set():
                begun.append(float(next_line(trainer)))

    trainings = [threading.Thread(target=train, args=(0.4 + 0.13 * n,)) for n in range(6)]
    for training in trainings:
        training.start()
    measured: list[tuple[float, float]] = []
    while len(measured) < 5:
        time.sleep(0.7)
        asked = time.monotonic()
        measuring = Waiting(lease.exclusive)
        if not measuring.has_it(within_s=20):
            break
        measured.append((asked, time.monotonic()))
        measuring.let_go()
    done.set()
    for training in trainings:
        training.join(timeout=30)
    assert len(measured) == 5
    assert len(begun) > 8, "between two measurements they train"
    # Our thread may lose a moment between its asking and its waiting.
    assert [when for asked, got in measured for when in begun if asked + 0.2 < when < got] == []


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_killed_holder_lets_go(lease: DeviceLease, kind: str) -> None:
    with process(lease, HOLD.format(kind=kind)) as holder:
        assert next_line(holder) == "in"
        measuring = Waiting(lease.exclusive)
        assert not measuring.has_it(within_s=0.1)
        holder.send_signal(signal.SIGKILL)
        assert measuring.has_it()
        measuring.let_go()


def test_one_who_is_killed_while_waiting_keeps_nobody_out(lease: DeviceLease) -> None:
    with lease.shared():
        with process(lease, HOLD.format(kind="exclusive")) as waiting:
            time.sleep(0.3)  # it has said that it is ready, and asks in a moment
            other = Waiting(lease.shared)
            assert not other.has_it(within_s=0.3), "it waits behind the measurement"
            waiting.send_signal(signal.SIGKILL)
            assert other.has_it()
        other.let_go()


def test_waiting_can_be_interrupted(lease: DeviceLease) -> None:
    with lease.shared(), process(lease, HOLD.format(kind="exclusive")) as waiting:
        time.sleep(0.2)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(timeout=30) == -signal.SIGINT


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lease(lease: DeviceLease) -> None:
    """Processes that read images outlive the training that started them."""
    with process(lease, FORK_AND_DIE) as holder:
        assert next_line(holder) == "out"
        measuring = Waiting(lease.exclusive)
        assert measuring.has_it()
        measuring.let_go()


def test_an_error_inside_lets_go(lease: DeviceLease) -> None:
    with pytest.raises(ZeroDivisionError), lease.exclusive():
        raise ZeroDivisionError
    with lease.exclusive():
        pass


def test_a_lease_belongs_to_one_device(tmp_path: Path) -> None:
    with DeviceLease("cuda:0", tmp_path).exclusive(), DeviceLease("cuda:1", tmp_path).exclusive():
        assert {path.name for path in tmp_path.glob("*.lock")} == {"lease-cuda-0.lock", "lease-cuda-1.lock"}


def test_files_of_a_lease_are_too_young_to_be_tidied_up(lease: DeviceLease) -> None:
    with lease.shared():
        pass
    for path in tmp_files(lease):
        os.utime(path, (0, 0))
    with lease.shared():
        assert all(time.time() - path.stat().st_mtime < 3600 for path in tmp_files(lease))


def tmp_files(lease: DeviceLease) -> list[Path]:
    return [path for path in lease.path.parent.iterdir() if path.is_file()]


def test_other_users_cannot_reach_the_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = DeviceLease("cpu").path
    assert path.parent.parent == tmp_path
    assert path.parent.stat().st_mode & 0o077 == 0
