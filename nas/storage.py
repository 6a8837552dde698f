"""The study's storage: SQLite on a local disk, one writer."""

from pathlib import Path

from optuna.storages import RDBStorage

STUDY_NAME = "search"

# SQLite's own patience with a lock; Optuna's dashboard and our readers may hold one for a moment.
_TIMEOUT_S = 60


def open_storage(path: Path) -> RDBStorage:
    """Open the file, or make it."""
    return RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _TIMEOUT_S}})
