"""A real network is timed on a core that a busy process wants too: the measurement holds, or says that it is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxies.device_load import read_cpu_meters

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.skipif(
        read_cpu_meters().waiting_s is None or not hasattr(os, "sched_setaffinity"),
        reason="this system does not tell how long a thread waited for a core",
    ),
]

PIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\n"
BUSY = "print(flush=True)\nwhile True:\n    pass\n"
MEASURE = """
import json
import torch
from proxies.execution import ExecutionMode
from proxies.step_time import StepTimeSetting
from proxies.step_time_measurement import measure_step_time
from search_spaces.architecture import parse

torch.set_num_threads(1)
network = parse("stem16-ir_r2_k3_s2_e4_c24_se0.25-ir_r2_k5_s2_e4_c40_se0.25-head128@64")
setting = StepTimeSetting(device="cpu", batch_size=16, threads=1, num_pairs=20, visits=1, budget_s=0)
for line in sys.stdin:
    measured = measure_step_time(network, setting=setting, mode=ExecutionMode(channels_last=True), num_classes=10)
    print(json.dumps([measured.ratio, measured.verdict, measured.disturbance]), flush=True)
"""


@contextmanager
def pinned(code: str) -> Iterator["subprocess.Popen[str]"]:
    """A process on our last core, so that pytest itself is not pinned; killed in the end."""
    core = str(max(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", PIN + code, core]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def busy_neighbour() -> Iterator[None]:
    with pinned(BUSY) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is pinned and runs from here on
        yield


def measure(process: "subprocess.Popen[str]") -> tuple[float, str, str | None]:
    """Ratio to the canary, verdict, and what disturbed."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(file=process.stdin, flush=True)
    ratio, verdict, disturbance = json.loads(process.stdout.readline())
    return ratio, verdict, disturbance


def test_a_busy_process_on_our_core_is_told_or_does_no_harm() -> None:
    """Off by at most 5 % from what was measured without it, right before and after, or contaminated."""
    with pinned(MEASURE) as process:
        before = clean(process)
        with busy_neighbour():
            ratio, verdict, disturbance = measure(process)
        after = clean(process)
    print(f"{before=} {after=} {ratio=} {verdict=} {disturbance=}")
    assert verdict == "contaminated" or abs(ratio / ((before + after) / 2) - 1) <= 0.05
    assert disturbance is not None
    assert "of its time for a core" in disturbance


def clean(process: "subprocess.Popen[str]") -> float:
    """The first ratio that is not called contaminated: others may use this core too, though hardly all the time."""
    for _ in range(6):
        ratio, verdict, disturbance = measure(process)
        if verdict != "contaminated":
            return ratio
    pytest.fail(f"contaminated six times, at last because {disturbance}")
