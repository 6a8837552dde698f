"""Checkpoints: a training's state on disk, whole or not there, and read without running any code."""

import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from search_spaces.messages import first_line


def write_checkpoint(state: Mapping[str, object], path: Path, *, writer: str = "") -> None:
    """Write a state so that a reader, or a crash, finds the old one or the new one, never a part.

    Args:
        state: Tensors and plain values.
        path: Its folder is made, but none above it.
        writer: Where several processes may write there at a time, what names this one.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the old state stays.
    """
    path.parent.mkdir(exist_ok=True)
    # One writer, one name: what a killed one left is written over, not kept for ever.
    temporary = path.with_name(f".{path.name}.{writer}.tmp" if writer else f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            _save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def link_checkpoint(path: Path, name: Path) -> None:
    """Give a checkpoint a second name, under which it stays when the first is written again.

    Raises:
        OSError: If it cannot be done; what had the name before stays.
    """
    temporary = name.with_name(f".{name.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # some file systems have no links
        shutil.copyfile(path, temporary)
    os.replace(temporary, name)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote; its tensors lie on the CPU.

    Raises:
        ValueError: In one line, if the file is missing or damaged, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch writes checksums, but does not read them
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"no checkpoint there: {path}") from None
    except (
        Exception
    ) as error:  # A damaged archive fails in any way it likes: as RuntimeError, KeyError, UnpicklingError…
        raise ValueError(
            f"{path} must be a whole checkpoint, written by nas train; put a copy there, or remove it to begin anew: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a training's state, got {type(state).__name__}")
    return state


def _save(state: dict[str, object], file: Any) -> None:
    """PyTorch's archive writer turns a full disk into a RuntimeError of its own."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _sync_folder(folder: Path) -> None:
    """Let the new name outlast a power cut, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
