"""A run directory: its paths, and writes that are whole or not there."""

import os
import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .run_lock import RunLock


class RunDirectoryError(ValueError):
    """The run directory cannot be used; the message says why and what a person can do."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """All a run leaves, and all that is needed to carry on."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The complete configuration, re-runnable."""
        return self.path / "config.yaml"

    @property
    def environment_file(self) -> Path:
        """Versions, git revision and device."""
        return self.path / "environment.json"

    @property
    def study_file(self) -> Path:
        """The single source of truth: SQLite, as Optuna's RDB storage writes it."""
        return self.path / "study.db"

    @property
    def trials_file(self) -> Path:
        """One row for each trial; a view that nobody reads back."""
        return self.path / "trials.csv"

    def table_file(self, place: int) -> Path:
        """A step-time table that predicts S, of the first device (0), the second, …; a view of the study, too."""
        return self.path / ("step_time_table.json" if place == 0 else f"step_time_table_{place + 1}.json")

    @property
    def best_file(self) -> Path:
        return self.path / "best.yaml"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def family_file(self) -> Path:
        """The networks that its best was scaled to."""
        return self.path / "family.yaml"

    @property
    def errors_file(self) -> Path:
        """Tracebacks of evaluations that died."""
        return self.path / "errors.log"

    @property
    def is_started(self) -> bool:
        """Whether there is a study to read; its configuration is written once the study is made."""
        return self.study_file.exists() and self.config_file.exists()

    def create(self) -> None:
        """Make the directory and make sure that it can be written, see `make_folder`."""
        make_folder(self.path)

    def require_started(self) -> None:
        """Make sure that there is a run to read.

        Raises:
            RunDirectoryError: If there is none.
        """
        if not self.path.is_dir():
            raise RunDirectoryError(f"no such run directory: {self.path}")
        if not self.is_started:
            raise RunDirectoryError(f"not a run directory (it holds no {self.study_file.name}): {self.path}")

    def require_free(self) -> None:
        """Make sure that a new run would not settle among somebody's files.

        Raises:
            RunDirectoryError: If the folder holds files but no run, or a run whose study is lost.
        """
        # Of a start that was killed at once an empty study is left, and SQLite's journal beside it.
        ours = (".", self.study_file.name, self.config_file.name)
        strangers = sorted(path.name for path in self.path.iterdir() if not path.name.startswith(ours))
        if strangers and not self.study_file.exists():
            raise RunDirectoryError(f"{self.path} is not empty and holds no run: {', '.join(strangers[:3])}")
        if strangers and not self.study_file.stat().st_size:
            raise RunDirectoryError(f"{self.study_file} is empty, though {strangers[0]} is there: see nas doctor")

    def log_error(self, task: str, reason: str, traceback: str) -> None:
        """Add the end of a task to `errors.log`."""
        with self.errors_file.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {task}: {reason}\n{traceback}\n")

    def locked(self) -> "AbstractContextManager[RunLock]":
        """Hold the directory's lock, see `run_lock.locked`."""
        # The lock is told of in this module's errors.
        from .run_lock import locked

        return locked(self.path)


def make_folder(path: Path) -> None:
    """Make a directory for a run and make sure that it can be written.

    Raises:
        RunDirectoryError: If it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_whole(path / ".writable", "")
        (path / ".writable").unlink()
    except OSError as error:
        raise RunDirectoryError(f"cannot write the run directory {path}: {error.strerror}") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the old content stays.
    """
    # Of containers on several hosts each process may be the first.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
