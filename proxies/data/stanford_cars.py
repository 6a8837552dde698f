"""Stanford Cars from a folder that the user has: its official download is gone."""

import zlib
from pathlib import Path

import numpy as np
import torch

from search_spaces.messages import first_line

from .encoded import CorruptImages, EncodedImages
from .files import ImageFiles
from .folders import read_folder
from .images import Images

_LABELLED_TEST = "cars_test_annos_withlabels.mat"


def read_stanford_cars(folder: Path, *, skip_corrupt: bool = False) -> Images:
    """Read the official layout, with ``cars_train/``, ``cars_test/`` and ``devkit/``, or a folder per class.

    Args:
        folder: Holds them, or holds ``stanford_cars/`` that does, as torchvision has it.
        skip_corrupt: Leave unreadable images out.

    Raises:
        ValueError: In one line with the path, if something is missing or unreadable.
    """
    if not folder.is_dir():
        raise ValueError(f"stanford-cars must name a folder, got {folder}")
    base = folder / "stanford_cars" if (folder / "stanford_cars").is_dir() else folder
    if not any((base / name).is_dir() for name in ("devkit", "cars_train", "cars_test")):
        return read_folder(base, skip_corrupt=skip_corrupt)
    names = tuple(map(str, np.atleast_1d(_read_mat(base / "devkit" / "cars_meta.mat", "class_names"))))
    # torchvision wants it beside the devkit; others keep it inside.
    places = [base / _LABELLED_TEST, base / "devkit" / _LABELLED_TEST]
    test_file = next((place for place in places if place.is_file()), places[0])
    for needed in (base / "cars_train", base / "cars_test", test_file):
        if not needed.exists():
            raise ValueError(
                f"stanford-cars needs cars_train/, cars_test/, devkit/ and {_LABELLED_TEST}, got no {needed}"
            )
    train_file = base / "devkit" / "cars_train_annos.mat"
    return Images(
        name=f"stanford-cars:{folder}",
        class_names=names,
        mirror_keeps_label=True,
        train=_read_part(base, "cars_train", train_file, len(names), skip_corrupt=skip_corrupt),
        read_test=lambda: _read_part(base, "cars_test", test_file, len(names), skip_corrupt=skip_corrupt),
    )


def _read_part(base: Path, part: str, file: Path, num_classes: int, *, skip_corrupt: bool) -> EncodedImages:
    annotations = np.atleast_1d(_read_mat(file, "annotations"))
    if not {"class", "fname"} <= set(annotations.dtype.names or ()):
        raise ValueError(f"annotations must have class and fname, got {annotations.dtype.names} in {file}")
    labels = torch.tensor([int(label) for label in annotations["class"]]) - 1  # MATLAB counts from 1
    if not bool(((labels >= 0) & (labels < num_classes)).all()):
        raise ValueError(f"classes must lie in [1, {num_classes}], got {int(labels.max()) + 1} in {file}")
    return EncodedImages(
        store=ImageFiles.of(base, [f"{part}/{name}" for name in annotations["fname"]]),
        positions=torch.arange(len(labels)),
        labels=labels,
        in_channels=3,
        corrupt=CorruptImages(skip=skip_corrupt),
    )


def _read_mat(file: Path, variable: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(file, squeeze_me=True)[variable]
    # A damaged file fails in any of these ways, a newer format (MATLAB 7.3) as NotImplementedError.
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError, zlib.error, MatReadError) as error:
        raise ValueError(f"stanford-cars needs {variable} in {file}, cannot read it: {first_line(error)}") from None
