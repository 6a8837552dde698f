"""A search's directory under examination: what can be read of it, read from a copy, so that nothing in it changes."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from search_spaces.messages import first_line

from ..config import SearchConfig, read_config
from ..run import Run, read_run
from ..run_directory import RunDirectory, RunDirectoryError
from ..storage import STUDY_NAME, load_study, require_same_question
from ..trials import TrialRecord, flaw_of, read_fingerprint, read_records
from .salvage import directions_asked_for

_BUSY_S = 10
_DAMAGES = (sqlite3.Error, SQLAlchemyError, StorageInternalError, RuntimeError, ValueError, KeyError)
"""What reading a damaged study may end with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Of a study's file."""

    what: str
    has_rows: bool = True
    """Whether there may be something in it that can be saved."""


class Case:
    """What checks look at; each part is read when the first of them asks."""

    def __init__(self, path: Path, scratch: Path, *, is_driven: bool) -> None:
        """
        Args:
            path: The run directory.
            scratch: An empty folder for copies.
            is_driven: Whether a run may be under way.
        """
        self.directory = RunDirectory(path)
        self.is_driven = is_driven
        self._copy = RunDirectory(scratch)

    @cached_property
    def config(self) -> SearchConfig | str:
        """The configuration, or why it cannot be read."""
        try:
            return read_config(self.directory.config_file)
        except (OSError, ValueError) as error:
            return first_line(error)

    @cached_property
    def difference(self) -> str | None:
        """How the configuration asks another question than the study was started with; None where nobody can tell."""
        started_with = read_fingerprint(self.study) if self.study is not None else None
        if started_with is None or isinstance(self.config, str):
            return None
        try:
            require_same_question(started_with, self.config, self.directory.path)
        except RunDirectoryError as difference:
            return str(difference).removeprefix(f"{self.directory.path} ")
        return None

    @cached_property
    def study_copy(self) -> Path:
        """A copy of the study with its journal: to open the original would roll back what a killed writer left.

        Raises:
            OSError: If it cannot be copied.
        """
        if self.is_driven:
            _snapshot(self.directory.study_file, self._copy.study_file)
        else:
            for file in study_files(self.directory):
                shutil.copyfile(file, self._copy.path / file.name)
        return self._copy.study_file

    @cached_property
    def _opened(self) -> optuna.Study | Damage:
        try:
            return _open(self.study_copy)
        except sqlite3.Error as error:
            return Damage(what=f"cannot be read: {first_line(error)}")

    @property
    def damage(self) -> Damage | None:
        """What is wrong with the study's file itself."""
        return self._opened if isinstance(self._opened, Damage) else None

    @property
    def study(self) -> optuna.Study | None:
        """The copy, opened; None where there is none that can be opened and read."""
        if not self.directory.study_file.exists() or isinstance(self._opened, Damage):
            return None
        return self._opened

    @cached_property
    def trials(self) -> list[FrozenTrial] | None:
        """All trials; None where there is no study."""
        return None if self.study is None else self.study.get_trials(deepcopy=False)

    @cached_property
    def flaws(self) -> dict[int, str]:
        """What is wrong with single trials, by number."""
        found = {trial.number: flaw_of(trial) for trial in self.trials or []}
        return {number: flaw for number, flaw in found.items() if flaw is not None}

    @cached_property
    def records(self) -> list[TrialRecord] | None:
        """The trials as a search reads them; None where it cannot."""
        if self.study is None or self.trials is None or self.flaws:
            return None
        return read_records(self.study)

    @cached_property
    def run(self) -> Run | str:
        """The run as reports read it, or why they cannot."""
        if self.records is None or isinstance(self.config, str):
            return "study or configuration cannot be read"
        for file in (self.directory.config_file, self.directory.environment_file, self.directory.family_file):
            if file.exists():
                shutil.copyfile(file, self._copy.path / file.name)
        try:
            return replace(read_run(self._copy.path), directory=self.directory)
        except ValueError as error:
            return first_line(error).replace(str(self._copy.path), str(self.directory.path))


def study_files(directory: RunDirectory) -> list[Path]:
    """The study and what SQLite may keep beside it."""
    study = directory.study_file
    beside = [study.with_name(study.name + end) for end in ("", "-journal", "-wal")]
    return [file for file in beside if file.exists()]


def _open(file: Path) -> optuna.Study | Damage:
    """Open a study and read all of it; or what is wrong with its file, from its size to its tables."""
    with file.open("rb") as opened:
        head = opened.read(100)
    if not head:
        return Damage(what="is empty", has_rows=False)
    if not head.startswith(b"SQLite format 3\x00"):
        return Damage(what="is no SQLite database", has_rows=False)
    try:
        damage = _damage_of_tables(file)
        return damage if damage is not None else _read_all(file)
    except _DAMAGES as error:
        held, whole = file.stat().st_size, int.from_bytes(head[16:18]) * int.from_bytes(head[28:32])
        if held < whole:
            return Damage(what=f"is truncated: {held:,} of {whole:,} bytes")
        return Damage(what=f"is damaged: {first_line(error.__cause__ or error)}")


def _damage_of_tables(file: Path) -> Damage | None:
    with closing(sqlite3.connect(file, timeout=_BUSY_S)) as connection:
        answers = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if answers != ["ok"]:
            raise sqlite3.DatabaseError(answers[0].splitlines()[-1])  # below a heading, where there is one
        if not {"studies", "trials", "version_info"} <= tables:
            return Damage(what=f"holds no study, but {', '.join(sorted(tables)) or 'nothing'}", has_rows=False)
        if (STUDY_NAME,) not in connection.execute("SELECT study_name FROM studies").fetchall():
            return Damage(what="holds no study of a search", has_rows=False)
    return None


def _read_all(file: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what cannot be read is told once, by us
    study = load_study(RunDirectory(file.parent))
    study.get_trials(deepcopy=False)
    directions = tuple(study.directions)
    if directions != (directions_asked_for(study) or directions) or not directions:
        raise ValueError("the directions of its values are lost")
    return study


def _snapshot(file: Path, target: Path) -> None:
    """Copy a database that is being written, between two of its transactions."""
    reading = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=_BUSY_S)
    with closing(reading) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
