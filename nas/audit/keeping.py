"""How an audit is written in its study, which has no trials: as attributes, since nothing is proposed or told."""

from collections.abc import Sequence

import optuna
from pydantic import TypeAdapter

from ..evaluation_tasks import AccuracyRecord
from .results import Cell

# Keys of user attributes of the study.
_SAMPLE = "audit_sample"
_TRAINING = "audit"
_REASON = "reason"

_ACCURACIES: TypeAdapter[AccuracyRecord] = TypeAdapter(AccuracyRecord)


def write_sample(study: optuna.Study, architectures: Sequence[str]) -> None:
    """Record what is trained; a cell names an architecture by its place here."""
    study.set_user_attr(_SAMPLE, list(architectures))


def read_sample(study: optuna.Study) -> list[str]:
    """Text forms, in their order; none before they are chosen."""
    return list(study.user_attrs.get(_SAMPLE) or [])


def write_training(study: optuna.Study, cell: Cell, accuracy: AccuracyRecord) -> None:
    study.set_user_attr(_key(cell), _ACCURACIES.dump_python(accuracy, mode="json"))


def write_failed_training(study: optuna.Study, cell: Cell, reason: str) -> None:
    """Record that a training came to nothing, so that it is not tried at every start."""
    study.set_user_attr(_key(cell), {_REASON: reason})


def read_trainings(study: optuna.Study) -> dict[Cell, AccuracyRecord | str]:
    """What was trained, or the reason why nothing came of it."""
    found: dict[Cell, AccuracyRecord | str] = {}
    for key, value in study.user_attrs.items():
        kind, _, place = key.partition(":")
        if kind == _TRAINING:
            training, number, replicate = place.split(":")
            cell = Cell(number=int(number), training=training, replicate=int(replicate))
            found[cell] = value[_REASON] if _REASON in value else _ACCURACIES.validate_python(value)
    return found


def _key(cell: Cell) -> str:
    return f"{_TRAINING}:{cell.training}:{cell.number}:{cell.replicate}"
