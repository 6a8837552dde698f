"""Images that the Hugging Face package ``datasets`` has written to a folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.messages import first_line

from .encoded import CorruptImages, EncodedImages, examined
from .images import Images

if TYPE_CHECKING:
    from hashlib import _Hash

CONTENT_DIGEST_LIMIT_BYTES = 2 * 2**30
"""Larger sets are known by the fingerprint that the package keeps: reading them all would take minutes."""
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageRows:
    """Encoded images in the rows of a table on disk."""

    dataset: Any
    """``datasets.Dataset`` of the image column alone, not decoded."""
    column: str
    label: str
    """Of the folder and its part, for messages."""

    def name(self, position: int) -> str:
        return f"row {position} of {self.label}"

    def content(self, position: int) -> Path | bytes:
        value = self.dataset[position][self.column] or {}
        if value.get("bytes") is not None:
            return value["bytes"]
        return Path(value["path"]) if value.get("path") else b""

    def update_digest(self, digest: "_Hash", positions: Tensor) -> None:
        """Add contents; of large sets the table's fingerprint and the rows."""
        if self.dataset.data.nbytes > CONTENT_DIGEST_LIMIT_BYTES:
            digest.update(self.dataset._fingerprint.encode() + positions.numpy().tobytes())
            return
        for position in positions.tolist():
            content = self.content(position)
            content = content if isinstance(content, bytes) else content.read_bytes()
            digest.update(f"{len(content)}\0".encode() + content)


def read_saved_dataset(folder: Path, *, skip_corrupt: bool = False) -> Images:
    """Read a folder written by ``save_to_disk``: its one image column, and its one column of class labels.

    Parts are used as those of a folder of images: ``train`` beside ``validation`` or ``test``. With one of these it is
    the test split, with both ``validation`` judges candidates.

    Args:
        folder: The folder.
        skip_corrupt: Leave unreadable images out.

    Raises:
        ValueError: In one line with the path, if ``datasets`` is not installed or the folder does not hold that.
    """
    parts = _parts(_load(folder), folder)

    def read(name: str) -> EncodedImages:
        return _read_part(
            parts[name], f"{folder}, {name}" if len(parts) > 1 else str(folder), skip_corrupt=skip_corrupt
        )

    if {"val", "test"} <= parts.keys():
        train, minival = examined([read("train"), read("val")])
    else:
        (train,), minival = examined([read("train")]), None
    test = next((name for name in ("test", "val") if name in parts), None)
    _, label_column = _columns(parts["train"], folder)
    return Images(
        name=f"hf:{folder}",
        class_names=tuple(parts["train"].features[label_column].names),
        mirror_keeps_label=True,
        train=train,
        minival=minival,
        read_test=None if test is None else lambda: replace(read(test), in_channels=train.in_channels),
    )


def _load(folder: Path) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError:
        raise ValueError("hf:PATH needs the package datasets: pip install 'training-aware-nas[data]'") from None
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"hf must name a folder written by save_to_disk, got {folder}: {first_line(error)}") from None


def _parts(loaded: Any, folder: Path) -> dict[str, Any]:
    """Data sets by train, val and test; a lone one is all there is to train on."""
    from datasets import DatasetDict

    if not isinstance(loaded, DatasetDict):
        return {"train": loaded}
    parts: dict[str, Any] = {}
    for name, dataset in loaded.items():
        part = _PARTS.get(name.lower())
        if part is None or part in parts:
            raise ValueError(
                f"parts must be train, validation and test, once each, got {', '.join(loaded)} in {folder}"
            )
        parts[part] = dataset
    if "train" not in parts:
        raise ValueError(f"a data set needs a part train, got {', '.join(loaded)} in {folder}")
    for part in parts.values():
        if _label_names(part, folder) != _label_names(parts["train"], folder):
            raise ValueError(f"classes must be the same in all parts of {folder}")
    return parts


def _columns(dataset: Any, folder: Path) -> tuple[str, str]:
    """The columns of images and of labels, found by their type."""
    from datasets import ClassLabel, Image

    found = []
    for kind in (Image, ClassLabel):
        names = [name for name, feature in dataset.features.items() if isinstance(feature, kind)]
        if len(names) != 1:
            raise ValueError(
                f"a data set needs one column of type {kind.__name__}, got {names or 'none'} "
                f"of {list(dataset.features)} in {folder}"
            )
        found += names
    return found[0], found[1]


def _label_names(dataset: Any, folder: Path) -> list[str]:
    return dataset.features[_columns(dataset, folder)[1]].names


def _read_part(dataset: Any, label: str, *, skip_corrupt: bool) -> EncodedImages:
    from datasets import Image

    image_column, label_column = _columns(dataset, Path(label))
    labels = np.asarray(dataset.with_format("numpy", columns=[label_column])[:][label_column], dtype=np.int64)
    if (labels < 0).any():
        raise ValueError(f"every image needs a label, got none in row {int((labels < 0).argmax())} of {label}")
    encoded = dataset.select_columns([image_column]).cast_column(image_column, Image(decode=False))
    return EncodedImages(
        store=ImageRows(dataset=encoded, column=image_column, label=label),
        positions=torch.arange(len(labels)),
        labels=torch.from_numpy(labels),
        in_channels=3,
        corrupt=CorruptImages(skip=skip_corrupt),
    )
