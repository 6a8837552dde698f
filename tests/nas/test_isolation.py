"""Two real searches side by side on one machine: nothing is timed while anything trains, or is timed, beside it."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_search
import pytest
import recorded_search
from recorded_search import Deed, read_deeds

from nas.config import SearchConfig

pytestmark = pytest.mark.slow

QUICK_STEP = {"batch_size": 8, "threads": 1, "num_pairs": 6, "visits": 2, "budget_s": 0.0, "calibration_s": 1.0}
SEARCH = {
    "space": fake_search.TINY_SPACE | {"resolution": 16},
    "device": "cpu",
    "threads": 1,
    "trials": 4,
    "sampler": "random",
    "finalists": 1,
    "finalist_seeds": 1,
    "fidelity": {"epochs": 1, "data_share": 0.5},
}


def side_by_side(folder: Path, leases: str) -> dict[str, list[Deed]]:
    """Start a search that measures its candidates and one that predicts them at once; what each of them did."""
    processes = [_start(folder, method, leases) for method in ("measured", "predicted")]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return {method: read_deeds(folder / f"{method}.log") for method in ("measured", "predicted")}


def _start(folder: Path, method: str, leases: str) -> "subprocess.Popen[str]":
    changes: dict[str, Any] = {"step_time": QUICK_STEP | {"method": method}, "out": folder / method}
    recipe = folder / f"{method}.yaml"
    recipe.write_text(SearchConfig.model_validate(SEARCH | changes).to_yaml())
    command = [sys.executable, recorded_search.__file__, str(recipe), str(folder / f"{method}.log"), leases]
    # Leases lie among the temporary files: these two searches have theirs for themselves.
    environment = os.environ | {"TMPDIR": str(folder)}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def overlaps(deeds: dict[str, list[Deed]]) -> dict[tuple[str, str], int]:
    """How often a timing overlapped something else, by what the two were."""
    found: dict[tuple[str, str], int] = {}
    for one, other in itertools.combinations(sorted(itertools.chain(*deeds.values()), key=lambda d: d.what), 2):
        if "timing" in (one.what, other.what) and one.overlaps(other):
            found[one.what, other.what] = found.get((one.what, other.what), 0) + 1
    return found


def span(deeds: list[Deed]) -> tuple[float, float]:
    return min(deed.start_s for deed in deeds), max(deed.end_s for deed in deeds)


def side_by_side_s(deeds: dict[str, list[Deed]]) -> float:
    """Seconds from when both searches had begun to when the first was done."""
    (start, end), (other_start, other_end) = map(span, deeds.values())
    return min(end, other_end) - max(start, other_start)


def test_no_timing_overlaps_a_training_or_another_timing(tmp_path: Path) -> None:
    deeds = side_by_side(tmp_path, "leases")
    assert {(deed.what, deed.task) for deed in deeds["measured"]} == {
        ("timing", "Prepare"), ("timing", "Judge"), ("training", "Judge"), ("timing", "Measure"),
        ("training", "Retrain"),
    }  # fmt: skip
    assert {(deed.what, deed.task) for deed in deeds["predicted"]} == {
        ("timing", "Prepare"), ("timing", "Calibrate"), ("training", "Judge"), ("timing", "Measure"),
        ("training", "Retrain"),
    }  # fmt: skip
    assert len({deed.pid for deed in itertools.chain(*deeds.values())}) == 2
    assert [path.name for path in tmp_path.rglob("lease-*.lock")] == ["lease-cpu.lock"]
    print({name: len(done) for name, done in deeds.items()}, f"{side_by_side_s(deeds):.1f} s side by side")
    assert side_by_side_s(deeds) > 0
    assert overlaps(deeds) == {}


def test_without_leases_they_do_overlap(tmp_path: Path) -> None:
    """So that the test above can fail."""
    deeds = side_by_side(tmp_path, "none")
    found = overlaps(deeds)
    print(found)
    assert found.get(("timing", "training"), 0) > 0
    assert found.get(("timing", "timing"), 0) > 0
