"""Whether something else used a device while a step was timed: made-up meters and the real ones."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from proxies import device_load
from proxies.device import find_device
from proxies.device_load import AcceleratorReading, Load, Reading, load_between, read_cpu_meters

IDLE = Reading(wall_s=100.0, cpu_s=7.0, waiting_s=1.0, machine_busy_s=500.0, cores=4)
COOL = AcceleratorReading(
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
    power_w=300.0,
    temperature_c=50,
    utilisation=0.9,
    slowdowns=(),
    thermal_slowdown_ns=5,
    foreign_pids=(),
)


def later(
    seconds: float, *, cpu: float, waiting: float | None, others: float, gpu: AcceleratorReading | None = None
) -> Reading:
    """The reading `seconds` after IDLE, in which this process used `cpu`, waited `waiting` and others used `others`."""
    return Reading(
        wall_s=IDLE.wall_s + seconds,
        cpu_s=IDLE.cpu_s + cpu,
        waiting_s=None if waiting is None else IDLE.waiting_s + waiting,
        machine_busy_s=IDLE.machine_busy_s + cpu + others,
        cores=IDLE.cores,
        accelerator=gpu,
    )


def load_on_gpu(before: AcceleratorReading, gpu: AcceleratorReading) -> Load:
    quiet = later(2.0, cpu=2.0, waiting=0.0, others=0.0, gpu=gpu)
    return load_between(replace(IDLE, accelerator=before), quiet, threads=1)


def test_shares_are_of_the_steps_threads_and_of_the_machines_cores() -> None:
    load = load_between(IDLE, later(2.0, cpu=3.0, waiting=1.0, others=1.6), threads=2)
    assert load.waiting_share == pytest.approx(1.0 / (2.0 * 2))
    assert load.foreign_share == pytest.approx(1.6 / (2.0 * 4))
    assert load.foreign_cores == pytest.approx(0.8)
    assert load.disturbance == "the step waited 25% of its time for a core, other processes kept 0.8 of 4 cores busy"


def test_a_process_alone_is_not_disturbed() -> None:
    assert load_between(IDLE, later(2.0, cpu=1.99, waiting=0.004, others=0.02), threads=1).disturbance is None


def test_a_neighbour_on_another_core_is_recorded_and_does_not_disturb() -> None:
    load = load_between(IDLE, later(2.0, cpu=2.0, waiting=0.01, others=2.0), threads=1)
    assert load.foreign_cores == pytest.approx(1.0)
    assert load.disturbance is None


@pytest.mark.parametrize(
    ("others", "threads", "disturbed"), [(2.0, 2, False), (2.0, 4, True), (8.0, 1, True), (0.0, 4, False)]
)
def test_where_nobody_tells_who_waited_a_full_machine_disturbs(others: float, threads: int, disturbed: bool) -> None:
    load = load_between(IDLE, later(2.0, cpu=2.0, waiting=None, others=others), threads=threads)
    assert load.waiting_share is None
    assert (load.disturbance is not None) == disturbed
    if load.disturbance:
        assert "cores busy" in load.disturbance


def test_counters_that_fall_behind_by_rounding_or_ended_threads_count_as_nothing() -> None:
    load = load_between(IDLE, later(0.05, cpu=0.05, waiting=-0.5, others=-0.01), threads=1)
    assert (load.waiting_share, load.foreign_share, load.disturbance) == (0.0, 0.0, None)


def test_readings_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="the second reading must be later than the first, got -2 s"):
        load_between(later(2.0, cpu=1.0, waiting=0.0, others=0.0), IDLE, threads=1)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        load_between(IDLE, later(2.0, cpu=1.0, waiting=0.0, others=0.0), threads=0)


def test_a_foreign_process_on_the_gpu_is_named() -> None:
    load = load_on_gpu(COOL, replace(COOL, foreign_pids=(12, 1234)))
    assert load.disturbance == "pid 12, 1234 computed on the accelerator too"


def test_a_process_that_left_the_gpu_before_the_timing_does_not_disturb_it() -> None:
    assert load_on_gpu(replace(COOL, foreign_pids=(12,)), COOL).disturbance is None


@pytest.mark.parametrize("reason", ["HwSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown", "SwThermalSlowdown"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_heat_and_failing_power_make_a_timing_worthless(reason: str, first: bool) -> None:
    slow = replace(COOL, slowdowns=(reason, "SwPowerCap"))
    load = load_on_gpu(slow, COOL) if first else load_on_gpu(COOL, slow)
    assert load.disturbance == f"the accelerator slowed down for {reason}"


@pytest.mark.parametrize("reason", ["SwPowerCap", "ApplicationsClocksSetting", "GpuIdle", "SyncBoost", "Reliability"])
def test_how_many_gpus_always_work_is_recorded_and_does_not_disturb(reason: str) -> None:
    load = load_on_gpu(COOL, replace(COOL, slowdowns=(reason,)))
    assert load.slowdowns == (reason,)
    assert load.disturbance is None


def test_heat_between_the_readings_is_seen_by_its_counter() -> None:
    load = load_on_gpu(COOL, replace(COOL, thermal_slowdown_ns=25))
    assert load.thermal_slowdown_ns == 20
    assert load.disturbance == "the accelerator slowed down for heat"


def test_every_disturbance_is_told_in_one_line() -> None:
    gpu = replace(COOL, foreign_pids=(9,), slowdowns=("HwSlowdown",))
    contended = later(2.0, cpu=1.0, waiting=1.0, others=1.0, gpu=gpu)
    text = load_between(replace(IDLE, accelerator=COOL), contended, threads=1).disturbance
    assert text is not None
    assert all(part in text for part in ("pid 9", "HwSlowdown", "50% of its time for a core"))
    assert "\n" not in text


def test_the_gpus_worst_reading_is_kept() -> None:
    hot = replace(COOL, sm_clock_mhz=1200, memory_clock_mhz=2700, power_w=250.0, temperature_c=80, utilisation=0.1)
    load = load_on_gpu(COOL, hot)
    assert (load.sm_clock_mhz, load.memory_clock_mhz) == (1200, 2619)
    assert (load.power_w, load.temperature_c, load.utilisation) == (300.0, 80, 0.9)


def test_what_one_reading_does_not_tell_is_taken_from_the_other() -> None:
    load = load_on_gpu(AcceleratorReading(), COOL)
    assert (load.sm_clock_mhz, load.temperature_c, load.slowdowns) == (1980, 50, ())
    assert load.thermal_slowdown_ns is None


def test_a_gpu_that_tells_nothing_is_not_disturbed() -> None:
    load = load_on_gpu(AcceleratorReading(), AcceleratorReading())
    assert (load.sm_clock_mhz, load.slowdowns, load.foreign_pids, load.disturbance) == (None, None, None, None)


def test_the_cpus_reading_agrees_with_psutil() -> None:
    before = psutil.Process().cpu_times()
    reading = find_device("cpu").read_meters()
    behind = psutil.Process().cpu_times()
    assert reading.accelerator is None
    assert reading.cores == len(psutil.cpu_times(percpu=True))
    # psutil counts in ticks of a hundredth of a second
    assert before.user + before.system - 0.02 <= reading.cpu_s <= behind.user + behind.system + 0.02


needs_schedstat = pytest.mark.skipif(
    read_cpu_meters().waiting_s is None or not hasattr(os, "sched_setaffinity"),
    reason="this system does not tell how long a thread waited for a core",
)

PINNED = """
import hashlib, os, sys, threading, time
from proxies.device_load import load_between, read_cpu_meters

os.sched_setaffinity(0, {int(sys.argv[1])})
"""
BUSY = """
print(flush=True)
while True:
    pass
"""
WORK = """
before = read_cpu_meters()
while time.process_time() < 1.5:
    pass
load = load_between(before, read_cpu_meters(), threads=1)
print(load.waiting_share, load.foreign_cores, load.disturbance)
"""
SLEEP = """
before = read_cpu_meters()
time.sleep(0.3)
load = load_between(before, read_cpu_meters(), threads=1)
print(load.waiting_share, load.foreign_cores, load.disturbance)
"""
TWO_THREADS = """
done = threading.Event()

def work():
    while not done.is_set():
        hashlib.sha256(bytes(2**20)).digest()  # lets go of the interpreter's lock

threads = [threading.Thread(target=work) for _ in range(2)]
before = read_cpu_meters()
for thread in threads:
    thread.start()
time.sleep(0.3)
load = load_between(before, read_cpu_meters(), threads=2)
done.set()
print(load.waiting_share, load.foreign_cores, load.disturbance)
"""


def pinned(code: str) -> subprocess.Popen[str]:
    """A process of its own on our last core, so that pytest itself is not pinned."""
    core = str(max(os.sched_getaffinity(0)))
    return subprocess.Popen([sys.executable, "-c", PINNED + code, core], stdout=subprocess.PIPE, text=True)


def measured(code: str) -> tuple[float, float, str]:
    """Waiting share, foreign cores and verdict that such a process prints."""
    printed, _ = pinned(code).communicate(timeout=60)
    waiting_share, foreign_cores, disturbance = printed.strip().split(" ", 2)
    return float(waiting_share), float(foreign_cores), disturbance


@pytest.fixture
def busy_neighbour() -> Iterator[None]:
    """An always busy process on the same core."""
    neighbour = pinned(BUSY)
    assert neighbour.stdout is not None
    neighbour.stdout.readline()  # it is pinned and runs from here on
    yield
    neighbour.kill()
    neighbour.communicate()


@needs_schedstat
@pytest.mark.alone
@pytest.mark.usefixtures("busy_neighbour")
def test_a_busy_process_on_our_core_is_found() -> None:
    waiting_share, foreign_cores, disturbance = measured(WORK)
    # Two busy processes share a core by halves; whatever else runs here takes its part too.
    assert waiting_share > 0.3
    assert foreign_cores > 0.3
    assert "of its time for a core" in disturbance


@needs_schedstat
@pytest.mark.alone
@pytest.mark.usefixtures("busy_neighbour")
def test_a_process_that_only_sleeps_waits_for_no_core() -> None:
    # It wants the core for its readings alone, which a busy machine may delay by some milliseconds: the calmest counts.
    waiting_share, foreign_cores, disturbance = min(measured(SLEEP) for _ in range(5))
    assert waiting_share < 0.02
    assert foreign_cores > 0.5
    assert disturbance == "None"


@needs_schedstat
@pytest.mark.alone
def test_waiting_of_every_thread_counts() -> None:
    """Two threads that both want the one core each wait half of the time, though nobody else need run there."""
    waiting_share, _, disturbance = measured(TWO_THREADS)
    assert waiting_share > 0.3
    assert "of its time for a core" in disturbance


def test_a_kernel_without_statistics_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(device_load, "_OWN_THREADS", tmp_path / "missing")
    assert read_cpu_meters().waiting_s is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("0 0 0\n")
    monkeypatch.setattr(device_load, "_OWN_THREADS", tmp_path)
    assert read_cpu_meters().waiting_s is None
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "schedstat").write_text("5000 1500000000 3\n")
    assert read_cpu_meters().waiting_s == pytest.approx(1.5)
