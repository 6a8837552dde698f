"""Checks of a training's directory: its configuration, its record, its checkpoints and weights."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from search_spaces.messages import first_line

from ..full_training.config import read_training_config
from ..full_training.directory import TrainingDirectory
from ..full_training.record import TrainingRecord, parse_record, read_record, write_curves, write_record
from .checkpoint_files import checkpoint_damage
from .findings import Finding, Repair, error, warning


def training_config_is_whole(directory: TrainingDirectory) -> Iterator[Finding]:
    """What is needed to go on with."""
    damage = _damage(read_training_config, directory.config_file)
    if damage is not None:
        yield error(directory.config_file.name, damage, "put a copy back, or train again with the same flags")


def checkpoints_are_whole(directory: TrainingDirectory) -> Iterator[Finding]:
    """The states that a training goes on from."""
    for file in (directory.last_checkpoint, directory.judged_checkpoint, directory.best_checkpoint):
        damage = checkpoint_damage(file) if file.exists() else None
        if damage is None:
            continue
        name = str(file.relative_to(directory.path))
        if file == directory.last_checkpoint and _is_good(directory.judged_checkpoint):
            yield error(
                name,
                damage,
                "go on from the newest epoch that was judged: --repair takes its state",
                Repair(mend=partial(_copy, directory.judged_checkpoint, file), files=(file,)),
            )
        elif file == directory.last_checkpoint:
            yield error(name, damage, "put a copy back; or remove it to begin anew")
        elif file == directory.judged_checkpoint and _is_good(directory.last_checkpoint):
            yield warning(
                name,
                damage,
                "--repair puts the newest state there",
                Repair(mend=partial(_copy, directory.last_checkpoint, file), files=(file,)),
            )
        else:
            yield warning(name, damage, "it is written again with the next best epoch")


def weights_are_whole(directory: TrainingDirectory) -> Iterator[Finding]:
    """The weights to take away."""
    from search_spaces.tensor_files import read_tensors

    if directory.weights_file.exists() and (damage := _damage(read_tensors, directory.weights_file)) is not None:
        yield warning(directory.weights_file.name, damage, "nas export takes the weights of checkpoints/best.pt")


def record_is_whole(directory: TrainingDirectory) -> Iterator[Finding]:
    """What reports read; the newest checkpoint holds it too."""
    damage = _damage(read_record, directory.record_file)
    if damage is None:
        if not directory.curves_file.exists():
            yield warning(
                directory.curves_file.name,
                "is missing",
                "it is written again with the next epoch",
                Repair(mend=partial(_write_curves, directory)),
            )
        return
    kept = _record_in_checkpoint(directory)
    if kept is None:
        yield error(directory.record_file.name, damage, "put a copy back")
        return
    repair = Repair(mend=partial(_write_record, directory, kept), files=(directory.record_file, directory.curves_file))
    yield error(directory.record_file.name, damage, "--repair takes what the newest checkpoint holds of it", repair)


def _damage(read: Callable[[Path], object], path: Path) -> str | None:
    try:
        read(path)
    except (OSError, ValueError) as damage:
        return first_line(damage)
    return None


def _is_good(file: Path) -> bool:
    return file.exists() and checkpoint_damage(file) is None


def _record_in_checkpoint(directory: TrainingDirectory) -> TrainingRecord | None:
    from proxies.training.checkpoint import read_checkpoint

    for file in (directory.last_checkpoint, directory.judged_checkpoint):
        try:
            return parse_record(str(read_checkpoint(file)["record"]))
        except (ValueError, KeyError):
            continue
    return None


def _copy(source: Path, target: Path) -> str:
    # Whole or not at all; and not by a link, so that two names of one file are not damaged as one.
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
    return f"taken from {source.name}"


def _write_record(directory: TrainingDirectory, record: TrainingRecord) -> str:
    write_record(record, directory.record_file)
    write_curves(record, directory.curves_file)
    return "taken from a checkpoint"


def _write_curves(directory: TrainingDirectory) -> str:
    write_curves(read_record(directory.record_file), directory.curves_file)
    return "written again"
