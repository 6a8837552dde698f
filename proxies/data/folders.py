"""A user's own images: a folder with one folder per class, whole or parted into train and val or test."""

from dataclasses import replace
from pathlib import Path

import torch

from .decoding import in_parallel
from .encoded import CorruptImages, EncodedImages, examined
from .files import ImageFiles, image_names, loose_image, subfolders
from .images import Images

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(folder: Path, *, skip_corrupt: bool = False) -> Images:
    """Read a folder of images.

    Either one folder per class, or ``train/`` beside ``val/`` or ``test/`` with the same class folders in each. With
    one of ``val/`` and ``test/`` it is the test split; with both, ``val/`` judges candidates and ``test/`` the end.

    Args:
        folder: The folder.
        skip_corrupt: Leave unreadable images out.

    Raises:
        ValueError: In one line with the path, if the folder is missing, has fewer than two classes, an empty class, an
            unreadable image that is not to be skipped, images outside the class folders, or parts whose classes differ.
    """
    if not folder.is_dir():
        raise ValueError(f"imagefolder must name a folder, got {folder}")
    parts = find_parts(folder)
    class_names = _class_names(parts["train"] if parts else folder)
    for part in parts.values():
        require_same_classes(part, class_names)

    def read(part: Path) -> EncodedImages:
        return read_part(folder, part, class_names, skip_corrupt=skip_corrupt, refuse_empty=not skip_corrupt)

    if not parts:
        (train,), minival, test = examined([read(folder)]), None, None
    elif {"val", "test"} <= parts.keys():
        train, minival = examined([read(parts["train"]), read(parts["val"])])
        test = parts["test"]
    else:
        (train,), minival = examined([read(parts["train"])]), None
        test = parts["test"] if "test" in parts else parts["val"]
    return Images(
        name=f"imagefolder:{folder}",
        class_names=class_names,
        mirror_keeps_label=True,
        train=train,
        minival=minival,
        read_test=None if test is None else lambda: replace(read(test), in_channels=train.in_channels),
    )


def find_parts(folder: Path) -> dict[str, Path]:
    """The folders of train, val and test by these names; none where the folder holds classes."""
    parts: dict[str, Path] = {}
    for subfolder in subfolders(folder):
        part = _PARTS.get(subfolder.name.lower())
        if part in parts:
            raise ValueError(f"two folders for one part, {parts[part].name} and {subfolder.name}, in {folder}")
        if part is not None:
            parts[part] = subfolder
    if "train" not in parts or len(parts) == 1:
        return {}
    strangers = [subfolder.name for subfolder in subfolders(folder) if subfolder not in parts.values()]
    if strangers:
        raise ValueError(
            f"a folder with train/ and {sorted(parts)} must hold nothing else, got {strangers[0]} in {folder}"
        )
    return parts


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(subfolder.name for subfolder in subfolders(folder))
    if len(names) < 2:
        raise ValueError(f"a data set needs at least 2 class folders, got {len(names)} in {folder}")
    return names


def require_same_classes(part: Path, class_names: tuple[str, ...]) -> None:
    """Refuse a part that lacks a class folder of train, or has one more."""
    names = {subfolder.name for subfolder in subfolders(part)}
    for name in sorted(names.symmetric_difference(class_names)):
        where = "not in train" if name in names else "missing"
        raise ValueError(f"class folders must be those of train, got {name!r} {where} in {part}")


def read_part(
    folder: Path, part: Path, class_names: tuple[str, ...], *, skip_corrupt: bool, refuse_empty: bool
) -> EncodedImages:
    """The images in the class folders of a part, or of the whole; taken to be coloured, since none is opened.

    Args:
        folder: What the images are named from.
        part: The same, or a folder in it.
        class_names: Names of the class folders.
        skip_corrupt: Leave images out that turn out to be unreadable.
        refuse_empty: Ask each file for its size.

    Raises:
        ValueError: In one line with the path, if a class has no images, images lie outside the class folders, or one is
            empty and that is refused.
    """
    loose = loose_image(part)
    if loose is not None:
        raise ValueError(f"images must lie in class folders, got {loose}")
    prefix = "" if part == folder else f"{part.relative_to(folder).as_posix()}/"
    classes = in_parallel(lambda name: image_names(folder, prefix + name, refuse_empty=refuse_empty), class_names)
    for name, found in zip(class_names, classes, strict=True):
        if not found:
            raise ValueError(f"a class folder must hold images, got none in {part / name}")
    counts = torch.tensor([len(found) for found in classes])
    return EncodedImages(
        store=ImageFiles.of(folder, [name for found in classes for name in found]),
        positions=torch.arange(int(counts.sum())),
        labels=torch.repeat_interleave(torch.arange(len(class_names)), counts),
        in_channels=3,
        corrupt=CorruptImages(skip=skip_corrupt),
    )
