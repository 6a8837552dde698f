"""What can still be read of a damaged study, put into a new file; trials that cannot be relied on become owed attempts.

Rows are read table by table, and where that ends in an error one by one, so that a damaged page costs its own rows
only. SQLite keeps no checksums: a row counts if its JSON can be read, and a trial if everything it needs is there.
"""

import itertools
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from ..storage import STUDY_NAME, directions_of
from ..trials import as_damaged, candidate_of, flaw_of, numbers_mentioned, read_fingerprint

_MOST_MISSES = 5_000
"""Rows one after the other that cannot be found before a table counts as ended whose end is lost."""
_UNREADABLE = (SQLAlchemyError, StorageInternalError, ValueError, KeyError, IndexError)
_TOLD = (TrialState.COMPLETE, TrialState.PRUNED)

Correct = Callable[[FrozenTrial], FrozenTrial]
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvage:
    """What a damaged study still tells."""

    directions: tuple[StudyDirection, ...]
    attributes: Mapping[str, object]
    """Of the study."""
    trials: tuple[FrozenTrial, ...]
    """By their numbers, without gaps."""
    saved: frozenset[int]
    """Numbers of trials with a verdict that can be relied on."""
    lost: frozenset[int]
    """Numbers of trials that had one, or may have had."""

    @property
    def summary(self) -> str:
        """One line."""
        told = len(self.saved) + len(self.lost)
        text = f"{len(self.saved)} of {told} verdicts saved"
        return f"{text}, lost: those of trials {_ranges(sorted(self.lost))}" if self.lost else text


def salvage(file: Path, *, directions: Sequence[StudyDirection] = (), told: frozenset[int] = frozenset()) -> Salvage:
    """Read what can be read.

    Args:
        file: A copy of the study's file in a folder that can be written.
        directions: Of the values that are told, where the study knows no more what it was started with; by default as
            the file has them.
        told: Numbers of trials that are known to have had a verdict.

    Raises:
        ValueError: If nothing can be read.
    """
    rows = file.with_name("rows.db")
    rows.unlink(missing_ok=True)
    storage = _empty(rows)
    try:
        if not _copy_rows(file, rows):
            raise ValueError("nothing in it can be read")
        return _sorted_out(storage, tuple(directions), told | _told_rows(rows), _trial_ids(rows))
    finally:
        storage.engine.dispose()


def write_study(salvaged: Salvage, file: Path, correct: Correct = lambda trial: trial) -> None:
    """Write a new study, whole or not at all.

    Args:
        salvaged: What it holds.
        file: The study's; what SQLite kept beside an old one is removed.
        correct: What is written in a trial's place.

    Raises:
        OSError: If it cannot be written; the old file stays.
    """
    fresh = file.with_name(f".{file.name}.rebuilt.tmp")
    fresh.unlink(missing_ok=True)
    try:
        _fill(fresh, salvaged, correct)
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        for end in ("-journal", "-wal", "-shm"):
            file.with_name(file.name + end).unlink(missing_ok=True)
        os.replace(fresh, file)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise OSError(f"cannot write {fresh}: {error.__cause__ or error}") from error
    finally:
        fresh.unlink(missing_ok=True)


def _ranges(numbers: list[int]) -> str:
    """Numbers in ascending order, in short.

    >>> _ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    groups = itertools.groupby(enumerate(numbers), key=lambda item: item[1] - item[0])
    runs = [[number for _, number in group] for _, group in groups]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _fill(file: Path, salvaged: Salvage, correct: Correct) -> None:
    storage = _empty(file)
    try:
        study = optuna.create_study(storage=storage, study_name=STUDY_NAME, directions=list(salvaged.directions))
        for key, value in salvaged.attributes.items():
            study.set_user_attr(key, value)
        for trial in salvaged.trials:
            study.add_trial(correct(trial))
    finally:
        storage.engine.dispose()


def _empty(file: Path) -> RDBStorage:
    """A new database that waits for the disk only when it is whole."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = RDBStorage(f"sqlite:///{file}")
    event.listen(storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    storage.engine.dispose()
    return storage


def _copy_rows(source: Path, target: Path) -> int:
    """Copy every row that can be read into the tables that a study has; how many there were."""
    count = 0
    with closing(sqlite3.connect(source)) as damaged, closing(sqlite3.connect(target)) as rows:
        # Lets a file be read that is shorter than it says, and whose list of tables is damaged in parts.
        damaged.execute("PRAGMA writable_schema = ON")
        tables = [name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # What tells of versions is there already.
        for table in (name for name in tables if name.startswith(("stud", "trial"))):
            columns = [column[1] for column in rows.execute(f"PRAGMA table_info({table})")]
            add = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(columns))})"
            for row in _rows(damaged, f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED"):
                if _has_whole_json(dict(zip(columns, row, strict=True))):
                    count += rows.execute(add, row).rowcount
        # The only study in its file, whatever became of its name.
        rows.execute("INSERT OR REPLACE INTO studies (study_id, study_name) VALUES (1, ?)", (STUDY_NAME,))
        rows.commit()
    return count


def _rows(damaged: sqlite3.Connection, select: str) -> Iterator[Row]:
    """The rows of a table: from its beginning and from its end up to what is damaged, then one by one between."""
    head, is_whole = _until_damage(damaged, f"{select} ORDER BY rowid")
    yield from head
    if is_whole:
        return
    tail, _ = _until_damage(damaged, f"{select} ORDER BY rowid DESC")
    yield from tail
    number, end = _key(head, default=0), _key(tail, default=sys.maxsize)
    misses = 0
    while number + 1 < end and (tail or misses < _MOST_MISSES):
        number, misses = number + 1, misses + 1
        row = _row(damaged, select, number)
        if row is not None:
            misses = 0
            yield row


def _until_damage(damaged: sqlite3.Connection, select: str) -> tuple[list[Row], bool]:
    """Rows until an error ends them, and whether none did."""
    rows: list[Row] = []
    try:
        rows.extend(damaged.execute(select))
    except sqlite3.Error:
        return rows, False
    return rows, True


def _row(damaged: sqlite3.Connection, select: str, number: int) -> Row | None:
    try:
        row: Row | None = damaged.execute(f"{select} WHERE rowid = ?", (number,)).fetchone()
    except sqlite3.Error:
        return None
    return row


def _key(rows: list[Row], default: int) -> int:
    """The last row's number, which is what its first column holds in every table of a study."""
    return rows[-1][0] if rows and isinstance(rows[-1][0], int) else default


def _has_whole_json(row: Mapping[str, object]) -> bool:
    try:
        for column, value in row.items():
            if column.endswith("_json"):
                json.loads(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _told_rows(rows: Path) -> frozenset[int]:
    with closing(sqlite3.connect(rows)) as connection:
        told = connection.execute("SELECT number FROM trials WHERE state IN ('COMPLETE', 'PRUNED')")
        return frozenset(number for (number,) in told if isinstance(number, int))


def _trial_ids(rows: Path) -> list[int]:
    with closing(sqlite3.connect(rows)) as connection:
        return [trial_id for (trial_id,) in connection.execute("SELECT trial_id FROM trials")]


def _sorted_out(
    storage: RDBStorage, directions: tuple[StudyDirection, ...], told: frozenset[int], trial_ids: list[int]
) -> Salvage:
    study = optuna.Study(STUDY_NAME, storage)
    mentioned = numbers_mentioned(study)
    found = {trial.number: trial for trial in _readable(storage, trial_ids)}
    count = 1 + max([*found, *told, *mentioned], default=-1)
    directions = directions_asked_for(study) or directions or tuple(study.directions) or (StudyDirection.MAXIMIZE,)
    trials = _relied_on([found.get(number) for number in range(count)], num_values=len(directions))
    saved = frozenset(number for number, trial in enumerate(trials) if trial.state in _TOLD)
    return Salvage(
        directions=directions,
        attributes=study.user_attrs,
        trials=tuple(trials),
        saved=saved,
        lost=(told | mentioned) - saved,
    )


def directions_asked_for(study: optuna.Study) -> tuple[StudyDirection, ...]:
    """By what the study was started with; none where it does not know. Their own rows may be lost one by one."""
    started_with = read_fingerprint(study) or {}
    try:
        return tuple(directions_of(started_with["objectives"]))  # type: ignore[arg-type]
    except (KeyError, TypeError):
        return ()


def _readable(storage: RDBStorage, trial_ids: list[int]) -> Iterator[FrozenTrial]:
    for trial_id in trial_ids:
        try:
            trial = storage.get_trial(trial_id)
        except _UNREADABLE:
            continue
        if isinstance(trial.number, int):
            yield trial


def _relied_on(found: list[FrozenTrial | None], *, num_values: int) -> list[FrozenTrial]:
    """A trial for each number: what cannot be relied on, or has not ended, has failed and is owed an attempt."""
    names = max((set(trial.params) for trial in found if trial is not None), key=len, default=set())
    kept = [
        trial if trial is not None and _is_whole(trial, names, num_values) else as_damaged(trial) for trial in found
    ]
    for number, trial in enumerate(kept):
        candidate = candidate_of(trial) if trial.state in _TOLD else None
        original = None if candidate is None else candidate.duplicate_of
        if original is not None and (original >= len(kept) or kept[original].state not in _TOLD):
            kept[number] = as_damaged(trial)
    return kept


def _is_whole(trial: FrozenTrial, names: set[str], num_values: int) -> bool:
    if flaw_of(trial) is not None or trial.datetime_start is None or trial.datetime_complete is None:
        return False
    if trial.state is TrialState.COMPLETE and len(trial.values) != num_values:
        return False
    return trial.state is TrialState.FAIL or (trial.state in _TOLD and set(trial.params) == names)
