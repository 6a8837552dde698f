"""A whole examination, and the repairs that follow from it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..audit.directory import holds_audit
from ..full_training.directory import TrainingDirectory
from ..run_directory import RunDirectory, RunDirectoryError
from ..run_lock import Holder, is_held_here, locked, read_holder
from . import file_checks, study_checks, surroundings, training_checks
from .case import Case
from .findings import Finding, Severity, error

Check = Callable[[Case], Iterator[Finding]]

_SEARCH_CHECKS: tuple[Check, ...] = (
    study_checks.study_is_whole,
    study_checks.journal_is_done,
    study_checks.trials_are_whole,
    file_checks.config_is_whole,
    file_checks.config_asks_the_same,
    file_checks.environment_is_readable,
    study_checks.values_are_rewards,
    study_checks.nothing_runs_without_a_driver,
    study_checks.attempts_are_made,
    file_checks.run_is_readable,
    file_checks.family_is_readable,
    file_checks.views_are_up_to_date,
    file_checks.trial_checkpoints_are_needed,
    file_checks.deaths_are_few,
)  # in the order in which repairs build on one another
_TRAINING_CHECKS = (
    training_checks.training_config_is_whole,
    training_checks.checkpoints_are_whole,
    training_checks.record_is_whole,
    training_checks.weights_are_whole,
)


@dataclass(slots=True)
class Treatment:
    """What repairs came to."""

    done: list[tuple[Finding, str]] = field(default_factory=list)
    """What was found, and what was done about it or why that failed."""
    remaining: list[Finding] = field(default_factory=list)
    """What is found afterwards."""
    backup: Path | None = None
    """Copies of what was changed; None where nothing needed one."""


def is_healthy(findings: list[Finding]) -> bool:
    """Whether nothing is wrong; notes are no illness."""
    return all(finding.severity is Severity.NOTE for finding in findings)


def examine(path: Path) -> list[Finding]:
    """Look at a directory and change nothing.

    Raises:
        RunDirectoryError: If there is no such directory, or an audit.
    """
    _require_directory(path)
    holder = read_holder(path)
    # On a host that cannot be seen from here a run may be under way.
    is_driven = is_held_here(path) or (holder is not None and not holder.is_here)
    with _findings(path, holder, is_driven=is_driven) as found:
        return found


def treat(path: Path) -> Treatment:
    """Repair what can be repaired, one thing after the other, and look again after each.

    Raises:
        RunDirectoryError: If there is no such directory, or an audit, or a run is under way.
        OSError: If something cannot be copied or written; what was mended before stays so.
    """
    _require_directory(path)
    treatment = Treatment()
    tried: set[tuple[str, str]] = set()
    with locked(path):
        while True:
            with _findings(path, None, is_driven=False) as found:
                due = next((each for each in found if each.repair and (each.file, each.what) not in tried), None)
                if due is None or due.repair is None:
                    treatment.remaining = found
                    return treatment
                tried.add((due.file, due.what))
                treatment.backup = _keep(path, due.repair.files, treatment.backup)
                treatment.done.append((due, _mend(due.repair.mend)))


def _mend(mend: Callable[[], str]) -> str:
    try:
        return mend()
    except ValueError as failure:
        return f"could not be repaired: {failure}"


@contextmanager
def _findings(path: Path, holder: Holder | None, *, is_driven: bool) -> Iterator[list[Finding]]:
    """What is found; its repairs hold while the copies do that it was found in.

    Args:
        path: The run directory.
        holder: Another process that holds the lock, or held it when it died.
        is_driven: Whether a run may be under way.
    """
    with tempfile.TemporaryDirectory(prefix="nas-doctor-") as scratch:
        yield [*_of_the_run(path, Path(scratch), is_driven), *_of_the_place(path, holder, is_driven)]


def _of_the_run(path: Path, scratch: Path, is_driven: bool) -> Iterator[Finding]:
    training, search = TrainingDirectory(path), RunDirectory(path)
    if training.record_file.exists() or training.last_checkpoint.exists():
        for look in _TRAINING_CHECKS:
            yield from look(training)
    elif search.study_file.exists() or search.trials_file.exists():
        case = Case(path, scratch, is_driven=is_driven)
        for check in _SEARCH_CHECKS:
            yield from check(case)
    else:
        yield error(".", "holds no run", "a search or a training begins with nas search or nas train and --out")


def _of_the_place(path: Path, holder: Holder | None, is_driven: bool) -> Iterator[Finding]:
    yield from surroundings.lock_is_free(path, holder, is_driven)
    yield from surroundings.leftovers_are_gone(path, is_driven)
    yield from surroundings.disk_has_room(path)
    yield from surroundings.files_are_of_the_past(path)
    yield from surroundings.place_is_fit(path)


def _require_directory(path: Path) -> None:
    if not path.is_dir():
        raise RunDirectoryError(f"no such run directory: {path}")
    if _is_audit(path):
        raise RunDirectoryError(f"{path} holds an audit, which is not examined: nas audit --out {path} goes on with it")


def _is_audit(path: Path) -> bool:
    try:
        return holds_audit(RunDirectory(path))
    except ValueError:
        return False  # what is wrong with its configuration is told by the checks


def _keep(path: Path, files: tuple[Path, ...], backup: Path | None) -> Path | None:
    """Copy files before they are changed; each as it was at first."""
    files = tuple(file for file in files if file.exists())
    if not files:
        return backup
    if backup is None:
        backup = path / f"backup-{datetime.now():%Y%m%d-%H%M%S-%f}"
        backup.mkdir()
    for file in files:
        copy = backup / file.relative_to(path)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
    return backup
