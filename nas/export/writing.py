"""An export is written aside, read back, compared and only then put in its place: it is verified or not there."""

import os
import tempfile
from pathlib import Path

from search_spaces.network_settings import NetworkSettings

from .formats import Format, require_name
from .probe import Comparison
from .subject import Subject
from .verification import compare, require_equal


def require_place(form: Format, settings: NetworkSettings, path: Path, *, force: bool) -> None:
    """Make sure, before any work, that the export can be written there.

    Raises:
        ValueError: If the format cannot hold the network, the folder is missing, or something else is there.
    """
    require_name(form.name, path)
    form.require(settings, path)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise ValueError(f"no such folder: {parent}")
    if not path.exists():
        return
    if path.is_dir() == form.is_file:
        raise ValueError(f"{path} is a {'folder' if path.is_dir() else 'file'}, which is not what {form.name} writes")
    strangers = _strangers(form, path)
    if strangers:
        raise ValueError(f"{path} holds other files, which an export would not replace: {', '.join(strangers[:3])}")
    if not force and (path.is_file() or any(path.iterdir())):
        raise ValueError(f"{path} exists; --force replaces it")


def export(subject: Subject, form: Format, path: Path, *, force: bool = False) -> Comparison:
    """Write an export that gives the source's logits when it is read back.

    What fails leaves nothing, and what stood there before stays: a file that gives other answers helps nobody who
    finds it later, and the same command makes it again for whoever hunts the reason.

    Raises:
        ValueError: If the format cannot hold the network, or it may not be written there.
        BrokenExportError: If its logits differ.
        OSError: If the disk is full or the folder cannot be written.
    """
    require_place(form, subject.settings, path, force=force)
    path = path.absolute()
    # Beside the target, so that putting it in place is a rename.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / path.name
        form.write(subject, made)
        comparison = compare(form, made)
        require_equal(comparison, path)
        _write_out(made)
        _put_in_place(made, path, Path(folder) / "replaced")
    return comparison


def _strangers(form: Format, path: Path) -> list[str]:
    """What is in a folder but in no export of this format; Python's own leavings aside."""
    if path.is_file():
        return []
    return sorted({entry.name for entry in path.iterdir()} - {*form.files, "__pycache__"})


def _write_out(made: Path) -> None:
    """Have the bytes on the disk before the name points at them."""
    for file in made.iterdir() if made.is_dir() else [made]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _put_in_place(made: Path, path: Path, aside: Path) -> None:
    if path.is_dir():
        # A folder with something in it cannot be renamed over.
        path.rename(aside)
    try:
        made.replace(path)
    except OSError:
        if aside.exists():
            aside.rename(path)
        raise
