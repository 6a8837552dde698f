"""Whether freed memory stays with the process: minor page faults of a loop that allocates and frees like a step."""

import ctypes.util
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from proxies import allocator

HAS_MALLOPT = sys.platform.startswith("linux") and hasattr(
    ctypes.CDLL(ctypes.util.find_library("c") if sys.platform.startswith("linux") else None), "mallopt"
)

# Three tensors live at once, as activations do, of 40 MiB: up to 32 MiB glibc learns to keep by itself. A page fault
# brings 4 KiB unless pages are huge.
LOOP = """
import json, resource, sys
import torch
from proxies.allocator import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
torch.set_num_threads(1)

def step():
    tensors = [torch.ones(10 * 2**20) for _ in range(3)]
    del tensors

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps({"kept": kept, "faults": faults}))
"""


def in_a_fresh_process(mode: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", LOOP, mode], check=True, timeout=120, capture_output=True, text=True
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_MALLOPT, reason="needs glibc")
def test_a_step_finds_the_memory_that_the_last_one_freed() -> None:
    given_back, kept = in_a_fresh_process("leave"), in_a_fresh_process("keep")
    print(given_back, kept)
    assert kept["kept"] is True
    assert given_back["faults"] > 500, "without it, each step pays for fresh pages"
    assert kept["faults"] < given_back["faults"] / 20


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """What a C library was told that refuses a threshold beyond 32 MiB, as glibc did before version 2.35."""
    settings: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        if parameter == -3 and value > 2**25:
            return 0
        settings[parameter] = value
        return 1

    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    return settings


def test_an_older_c_library_keeps_what_it_can(settings: dict[int, int]) -> None:
    assert allocator.keep_freed_memory.__wrapped__()
    assert settings == {-3: 2**25, -1: -1, -8: 1}


def test_other_c_libraries_are_left_alone(settings: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not allocator.keep_freed_memory.__wrapped__()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory.__wrapped__()
    assert not settings
