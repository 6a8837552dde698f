"""Checks of what surrounds the files of a run, be it a search or a training: lock, leftovers, disk, clock."""

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from ..file_systems import file_system_of
from ..run_lock import LEASE_S, Holder, holder_file
from .findings import Finding, Repair, note, warning

_LEAST_FREE_BYTES = 256 * 2**20
_AHEAD_S = 60.0
"""By so much clocks of hosts may differ."""


def lock_is_free(path: Path, holder: Holder | None, is_driven: bool) -> Iterator[Finding]:
    """Who holds the lock, or held it when it died."""
    name = holder_file(path).name
    if holder is None:
        return
    if not holder.is_here:
        age_s = time.time() - holder_file(path).stat().st_mtime
        yield note(
            name,
            f"in use by {holder}, another host, last heard of {max(0.0, age_s):.0f} s ago by the clock of this one",
            f"its lease is {LEASE_S:.0f} s; if that run is certainly gone: nas search or nas train --take-over",
        )
    elif is_driven:
        yield note(name, f"in use by {holder}: a run is under way")
    else:
        yield note(name, f"left behind by {holder}, which was killed", "the next run takes its place")


def leftovers_are_gone(path: Path, is_driven: bool) -> Iterator[Finding]:
    """What killed writers began."""
    if is_driven:
        return
    leftovers = [file for file in sorted(path.rglob(".*.tmp")) if not _is_backup(file, path)]
    if leftovers:
        size = sum(file.stat().st_size for file in leftovers)
        yield warning(
            str(leftovers[0].relative_to(path)),
            f"{len(leftovers)} files that killed writers left unfinished, {size / 2**20:.1f} MiB",
            "remove them",
            Repair(mend=partial(_remove_all, leftovers)),
        )


def disk_has_room(path: Path) -> Iterator[Finding]:
    """A disk that is nearly full, or a quota of files that is used up."""
    free = psutil.disk_usage(str(path)).free
    if free < _LEAST_FREE_BYTES:
        yield warning(
            ".",
            f"{free / 2**20:.0f} MiB are free on {file_system_of(path).mount}",
            "make room: a run ends where it cannot write, and goes on from there when started again",
        )


def files_are_of_the_past(path: Path) -> Iterator[Finding]:
    """Files from the future: a clock was, or is, wrong."""
    now = time.time()
    files = [file for file in path.iterdir() if file.is_file() and file.stat().st_mtime > now + _AHEAD_S]
    if files:
        newest = max(files, key=lambda file: file.stat().st_mtime)
        ahead_s = newest.stat().st_mtime - now
        yield warning(
            newest.name,
            f"{len(files)} files are from the future, by up to {ahead_s:,.0f} s: a clock is wrong, or was",
            "set the clock of this host or of the file server right; no run depends on it, times in reports do",
        )


def place_is_fit(path: Path) -> Iterator[Finding]:
    """A file system that hosts share, or a folder of somebody else."""
    file_system = file_system_of(path)
    if file_system.is_shared:
        what = f"lies on a file system that hosts share ({file_system.kind})"
        yield note(".", what, "what is safe there: docs/run_directories.md")
    if not os.access(path, os.W_OK):
        yield warning(".", "cannot be written by this user", "a run cannot go on here, and nothing can be repaired")


def _is_backup(file: Path, path: Path) -> bool:
    return file.relative_to(path).parts[0].startswith("backup-")


def _remove_all(files: list[Path]) -> str:
    for file in files:
        file.unlink(missing_ok=True)
    return "removed"
