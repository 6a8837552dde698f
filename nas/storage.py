"""The study's storage: SQLite, one writer.

On file systems that hosts share SQLite needs locks on parts of files, which `run_lock` has tried, and no write-ahead
log, whose index is memory that only one host sees.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from pydantic import BaseModel
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from search_spaces.messages import first_line

from .config import SearchConfig
from .driver_storage import DriverStorage, fits_optuna
from .file_systems import file_system_of
from .run_directory import RunDirectory, RunDirectoryError
from .run_lock import RunLock
from .trials import forget_preparation, read_fingerprint, write_fingerprint

STUDY_NAME = "search"
"""Of the one study in the file."""
# SQLite's own patience with a lock; Optuna's dashboard and our readers may hold one for a moment.
_TIMEOUT_S = 60
_ASK = "nas doctor says what is wrong and what can be repaired"
_WRITING = ("INSERT", "UPDATE", "DELETE")
_DIRECTIONS = {
    "accuracy": StudyDirection.MAXIMIZE,
    "step_time": StudyDirection.MINIMIZE,
    "params": StudyDirection.MINIMIZE,
}


def load_study(directory: RunDirectory) -> optuna.Study:
    """Open the study to read it.

    Raises:
        RunDirectoryError: If there is none or its file is damaged.
    """
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=_open(directory.study_file, to_read=True))
    except (SQLAlchemyError, StorageInternalError, KeyError, AssertionError, RuntimeError) as error:
        cause = error.__cause__ or error
        raise RunDirectoryError(f"cannot read {directory.study_file}: {first_line(cause)} ({_ASK})") from None


def read_only_storage(directory: RunDirectory) -> RDBStorage:
    """The study's storage for a program that is not ours: a write through it is an error, whatever asks for it.

    Raises:
        RunDirectoryError: If the study is damaged.
    """
    load_study(directory)
    storage = _open(directory.study_file, to_read=True)
    sqlalchemy.event.listen(storage.engine, "connect", _refuse_writes)
    storage.engine.dispose()  # of the connection that it was opened with
    return storage


def open_study(directory: RunDirectory, config: SearchConfig, lock: RunLock | None = None) -> optuna.Study:
    """Open the study to write it, or make it.

    Args:
        directory: Of the run; the caller holds its lock.
        config: Of the search.
        lock: Is asked before everything that is written: once another host has taken it over, `LostLockError` is
            raised instead.

    Raises:
        RunDirectoryError: If its file is damaged, or the run was started with another question.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        _leave_write_ahead_log(directory.study_file)
        storage = _open(directory.study_file, to_read=False)
        if lock is not None:
            _fence(storage.engine, lock)
        if file_system_of(directory.path).is_shared:
            # The default, unless SQLite was built otherwise; a server's disk is waited for, too.
            sqlalchemy.event.listen(storage.engine, "connect", _wait_for_disks)
            storage.engine.dispose()
        study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=storage,
            directions=directions_of(config.objectives),
            load_if_exists=True,
        )
    except (sqlite3.Error, SQLAlchemyError, AssertionError, RuntimeError) as error:
        raise RunDirectoryError(f"cannot use {directory.study_file}: {first_line(error)} ({_ASK})") from None
    started_with = read_fingerprint(study)
    if started_with is None or not study.get_trials(deepcopy=False):
        # Nothing has been judged: a mistake in the first attempt, such as a misspelt folder, may be mended.
        if started_with != config.fingerprint():
            write_fingerprint(study, config.fingerprint())
            forget_preparation(study)
    else:
        require_same_question(started_with, config, directory.path)
    return study


def directions_of(objectives: Sequence[str]) -> list[StudyDirection]:
    """Of the values that are told: of each objective, or of the reward where there are none."""
    return [_DIRECTIONS[name] for name in objectives] or [StudyDirection.MAXIMIZE]


def _open(path: Path, *, to_read: bool) -> RDBStorage:
    """Open the file; one that is only read is taken as it is, and opens in half the time."""
    url, engine = f"sqlite:///{path}", {"connect_args": {"timeout": _TIMEOUT_S}}
    if to_read:
        return RDBStorage(url, engine_kwargs=engine, skip_compatibility_check=True, skip_table_creation=True)
    return (DriverStorage if fits_optuna() else RDBStorage)(url, engine_kwargs=engine)


def _fence(engine: Engine, lock: RunLock) -> None:
    """Let nothing be written once another host has the lock."""

    def require_held(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.lstrip().startswith(_WRITING):
            lock.require_held()

    sqlalchemy.event.listen(engine, "before_cursor_execute", require_held)


def is_write_ahead(path: Path) -> bool:
    """Whether a database keeps a write-ahead log, as two bytes of its header say."""
    try:
        with path.open("rb") as file:
            return b"\x02" in file.read(20)[18:]
    except FileNotFoundError:
        return False


def _leave_write_ahead_log(path: Path) -> None:
    """Bring a database that somebody has given a write-ahead log back to a journal, which every file system can do.

    Raises:
        RunDirectoryError: If another process has it open, so that it cannot be done.
    """
    if not is_write_ahead(path):
        return
    with closing(sqlite3.connect(path, timeout=_TIMEOUT_S)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    if mode != "delete":
        raise RunDirectoryError(f"{path} has a write-ahead log and is open elsewhere: close what reads it")


def _wait_for_disks(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA synchronous = FULL")


def _refuse_writes(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA query_only = ON")


def require_same_question(started_with: dict[str, object], config: SearchConfig, path: Path) -> None:
    """Make sure that a configuration asks what a run was started with.

    Raises:
        RunDirectoryError: If it does not, with the key that differs.
    """
    # A field that is younger than the run had its default then.
    defaults = SearchConfig().fingerprint()
    for name, value in config.fingerprint().items():
        before, default = started_with.get(name, defaults[name]), defaults[name]
        if isinstance(getattr(config, name), BaseModel) and isinstance(before, dict) and isinstance(default, dict):
            before = {**default, **before}
        if before != value:
            hint = "; use nas rerank for other exponents" if name in ("w", "v") else ""
            key, old, new = _difference(name, before, value)
            raise RunDirectoryError(
                f"{path} was started with another {key}: {_short(old)}, now {_short(new)} "
                f"(take another --out, or the same {key}{hint})"
            )


def _difference(key: str, old: object, new: object) -> tuple[str, object, object]:
    """The innermost key that differs, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for inner in [*old, *(name for name in new if name not in old)]:
            if old.get(inner) != new.get(inner):
                return _difference(f"{key}.{inner}", old.get(inner), new.get(inner))
    return key, old, new


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
