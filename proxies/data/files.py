"""Image files in a folder: found fast, kept small, known by name and content."""

import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from hashlib import _Hash

CONTENT_DIGEST_LIMIT_BYTES = 2 * 2**30
"""Larger sets of files are known by their names and sizes: reading them all would take minutes."""
SIZE_DIGEST_LIMIT = 200_000
"""Sets of more files are known by their names alone: on a network disk, asking for each size would take minutes."""

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_NAME = operator.attrgetter("name")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageFiles:
    """Files below a folder."""

    folder: Path
    """What the names are relative to, so that a digest does not change when the folder moves.

    The configuration of a search still names the folder.
    """
    names: np.ndarray
    """(N,) paths as bytes, with ``/``: a million take one block of memory, which worker processes share."""

    @classmethod
    def of(cls, folder: Path, names: list[str]) -> "ImageFiles":
        return cls(folder=folder, names=np.array([os.fsencode(name) for name in names], dtype=np.bytes_))

    def path(self, position: int) -> Path:
        return self.folder / os.fsdecode(bytes(self.names[position]))

    def name(self, position: int) -> str:
        return str(self.path(position))

    def content(self, position: int) -> Path:
        return self.path(position)

    def update_digest(self, digest: "_Hash", positions: Tensor) -> None:
        """Add names and contents; of large sets names and sizes, of very large ones names."""
        if len(positions) > SIZE_DIGEST_LIMIT:
            digest.update(b"\0".join(self.names[positions.numpy()].tolist()))
            return
        paths = [self.path(position) for position in positions.tolist()]
        sizes = [path.stat().st_size for path in paths]
        reads_contents = sum(sizes) <= CONTENT_DIGEST_LIMIT_BYTES
        for position, path, size in zip(positions.tolist(), paths, sizes, strict=True):
            digest.update(bytes(self.names[position]) + f"\0{size}\0".encode())
            if reads_contents:
                digest.update(path.read_bytes())


def image_names(folder: Path, part: str, *, refuse_empty: bool = False) -> list[str]:
    """Image files at any depth below ``folder/part``, named from ``folder``, sorted; hidden ones are passed over.

    Raises:
        ValueError: If one is empty and that is refused: large sets are not read before they are needed, but this can be
            seen at once.
    """
    with os.scandir(folder / part) as scanned:
        entries = sorted(scanned, key=_NAME)
    found: list[str] = []
    for entry in entries:
        if is_image(entry):
            if refuse_empty and entry.stat().st_size == 0:
                raise ValueError(f"cannot read image {entry.path}: the file is empty")
            found.append(f"{part}/{entry.name}")
        elif entry.is_dir():
            found += image_names(folder, f"{part}/{entry.name}", refuse_empty=refuse_empty)
    return found


def is_image(entry: "os.DirEntry[str]") -> bool:
    """Whether a file is an image, by its name; most file systems tell files from folders without asking once more."""
    return entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def loose_image(folder: Path) -> Path | None:
    """The first image that lies in the folder itself."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if is_image(entry)]
    return folder / min(names) if names else None


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, sorted; hidden ones are passed over."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
