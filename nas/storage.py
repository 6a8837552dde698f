"""The study's storage: SQLite on a local disk, one writer."""

from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from search_spaces.messages import first_line

from .config import SearchConfig
from .run_directory import RunDirectory, RunDirectoryError
from .trials import forget_preparation, read_fingerprint, write_fingerprint

_STUDY_NAME = "search"
# SQLite's own patience with a lock; Optuna's dashboard and our readers may hold one for a moment.
_TIMEOUT_S = 60
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
        return optuna.load_study(study_name=_STUDY_NAME, storage=_open(directory.study_file, to_read=True))
    except (SQLAlchemyError, StorageInternalError, KeyError, AssertionError, RuntimeError) as error:
        cause = error.__cause__ or error
        raise RunDirectoryError(f"cannot read {directory.study_file}: {first_line(cause)}") from None


def open_study(directory: RunDirectory, config: SearchConfig) -> optuna.Study:
    """Open the study to write it, or make it; the caller holds the directory's lock.

    Raises:
        RunDirectoryError: If its file is damaged, or the run was started with another question.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            study_name=_STUDY_NAME,
            storage=_open(directory.study_file, to_read=False),
            directions=[_DIRECTIONS[name] for name in config.objectives] or [StudyDirection.MAXIMIZE],
            load_if_exists=True,
        )
    except (SQLAlchemyError, AssertionError, RuntimeError) as error:
        raise RunDirectoryError(f"cannot use {directory.study_file}: {first_line(error)}") from None
    started_with = read_fingerprint(study)
    if started_with is None or not study.get_trials(deepcopy=False):
        # Nothing has been judged: a mistake in the first attempt, such as a misspelt folder, may be mended.
        if started_with != config.fingerprint():
            write_fingerprint(study, config.fingerprint())
            forget_preparation(study)
    else:
        _require_same(started_with, config, directory.path)
    return study


def _open(path: Path, *, to_read: bool) -> RDBStorage:
    """Open the file; one that is only read is taken as it is, and opens in half the time."""
    return RDBStorage(
        f"sqlite:///{path}",
        engine_kwargs={"connect_args": {"timeout": _TIMEOUT_S}},
        skip_compatibility_check=to_read,
        skip_table_creation=to_read,
    )


def _require_same(started_with: dict[str, object], config: SearchConfig, path: Path) -> None:
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
