"""A search on a disk that becomes full; run as a script in a folder that is a small file system of its own.

``study``: full while candidates are judged. ``report``: full when the last one has its verdict.
"""

import json
import shutil
import sys
from pathlib import Path

import fake_search

from nas.observer import Observer
from nas.run import read_run
from nas.run_directory import RunDirectory
from nas.storage import load_study
from nas.trials import TrialRecord, read_records

TRIALS = 12


class FillsTheDisk(Observer):
    """Writes a file as large as the disk has room for, when so many candidates are judged."""

    def __init__(self, folder: Path, at: int) -> None:
        self._folder, self._at = folder, at

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        if judged == self._at:
            (self._folder / "photos").write_bytes(b"0" * shutil.disk_usage(self._folder).free)


def main(folder: str, what: str) -> None:
    out = Path(folder) / "run"
    config = fake_search.config(out, trials=TRIALS, finalists=0, timeout_s=3600.0)
    fills = FillsTheDisk(Path(folder), at=5 if what == "study" else TRIALS)
    error = ""
    try:
        fake_search.run(config, observer=fills)
    except OSError as failure:
        error = str(failure)
    before = _told(out)
    (Path(folder) / "photos").unlink()
    _, ending = fake_search.run(config)
    written = [path.name for path in read_run(out).directory.path.iterdir()]
    print(json.dumps({"error": error, "before": before, "after": _told(out), "ending": ending, "written": written}))


def _told(out: Path) -> list[tuple[int, str, str]]:
    records = read_records(load_study(RunDirectory(out)))
    return [(r.number, r.state, r.candidate.architecture) for r in records if r.is_judged and r.candidate]


if __name__ == "__main__":
    main(*sys.argv[1:])
