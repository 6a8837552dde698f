"""A user's own images: a folder with one folder per class, whole or parted into train and val or test."""

import os
from pathlib import Path

import torch

from .decoding import is_grey, read_in_parallel
from .images import FileImages, Images

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FULLY_READ = 20_000
"""Sets of at most this many files are read whole before anything starts, so that a broken file is found in time."""
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(folder: Path) -> Images:
    """Read a folder of images.

    Either one folder per class, or ``train/`` beside ``val/`` or ``test/`` with the same class folders in each. With
    one of ``val/`` and ``test/`` it is the test split; with both, ``val/`` judges candidates and ``test/`` the end.

    Raises:
        ValueError: In one line with the path, if the folder is missing, has fewer than two classes, an empty class, an
            unreadable image, images outside the class folders, or parts whose classes differ.
    """
    if not folder.is_dir():
        raise ValueError(f"imagefolder must name a folder, got {folder}")
    parts = _find_parts(folder)
    if parts is None:
        class_names = _class_names(folder)
        train = _read_part(folder, folder, class_names)
        return _images(folder, class_names, train, None, None)
    class_names = _class_names(parts["train"])
    for part in parts.values():
        _require_same_classes(part, class_names)
    train = _read_part(folder, parts["train"], class_names)
    minival = _read_part(folder, parts["val"], class_names) if {"val", "test"} <= parts.keys() else None
    return _images(folder, class_names, train, minival, parts["test"] if "test" in parts else parts["val"])


def _images(
    folder: Path, class_names: tuple[str, ...], train: FileImages, minival: FileImages | None, test: Path | None
) -> Images:
    """The data set; grey only if every image that a search sees is."""
    seen = [path for part in (train, minival) if part is not None for path in part.paths]
    in_channels = 1 if len(seen) <= FULLY_READ and all(read_in_parallel(is_grey, seen)) else 3

    def with_channels(part: FileImages) -> FileImages:
        return FileImages(folder=folder, paths=part.paths, labels=part.labels, in_channels=in_channels)

    return Images(
        name=f"imagefolder:{folder}",
        class_names=class_names,
        mirror_keeps_label=True,
        train=with_channels(train),
        minival=None if minival is None else with_channels(minival),
        read_test=None if test is None else lambda: with_channels(_read_part(folder, test, class_names)),
    )


def _find_parts(folder: Path) -> dict[str, Path] | None:
    """The folders of train, val and test by these names; None where the folder holds classes."""
    subfolders = _subfolders(folder)
    parts: dict[str, Path] = {}
    for subfolder in subfolders:
        part = _PARTS.get(subfolder.name.lower())
        if part in parts:
            raise ValueError(f"two folders for one part, {parts[part].name} and {subfolder.name}, in {folder}")
        if part is not None:
            parts[part] = subfolder
    if "train" not in parts or len(parts) == 1:
        return None
    strangers = [subfolder.name for subfolder in subfolders if subfolder not in parts.values()]
    if strangers:
        raise ValueError(
            f"a folder with train/ and {sorted(parts)} must hold nothing else, got {strangers[0]} in {folder}"
        )
    return parts


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(subfolder.name for subfolder in _subfolders(folder))
    if len(names) < 2:
        raise ValueError(f"a data set needs at least 2 class folders, got {len(names)} in {folder}")
    return names


def _require_same_classes(part: Path, class_names: tuple[str, ...]) -> None:
    names = {subfolder.name for subfolder in _subfolders(part)}
    for name in sorted(names.symmetric_difference(class_names)):
        where = "not in train" if name in names else "missing"
        raise ValueError(f"class folders must be those of train, got {name!r} {where} in {part}")


def _read_part(folder: Path, part: Path, class_names: tuple[str, ...]) -> FileImages:
    loose = next((entry for entry in sorted(part.iterdir()) if _is_image(entry)), None)
    if loose is not None:
        raise ValueError(f"images must lie in class folders, got {loose}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = _image_files(part / name)
        if not found:
            raise ValueError(f"a class folder must hold images, got none in {part / name}")
        paths += found
        labels += [label] * len(found)
    return FileImages(folder=folder, paths=tuple(paths), labels=torch.tensor(labels), in_channels=3)


def _image_files(folder: Path) -> list[Path]:
    """Image files at any depth, sorted.

    Raises:
        ValueError: If one is empty: large sets are not read before they are needed, but this is seen at once.
    """
    paths = []
    for parent, _, names in os.walk(folder, followlinks=True):
        paths += [path for name in names if _is_image(path := Path(parent, name))]
    for path in paths:
        if path.stat().st_size == 0:
            raise ValueError(f"cannot read image {path}: the file is empty")
    return sorted(paths)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
