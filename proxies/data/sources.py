"""Data sets by name."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from search_spaces.messages import did_you_mean

from .cifar import load_cifar
from .fashion_mnist import load_fashion_mnist
from .flowers import load_flowers
from .folders import read_folder
from .hugging_face import read_saved_dataset
from .imagenet import read_imagenet
from .images import Images, PixelImages
from .source_names import FOLDER_SOURCES, NAMED_SOURCES, split_source
from .stanford_cars import read_stanford_cars


def load_images(source: str, *, root: Path | None = None, skip_corrupt: bool = False) -> Images:
    """Load a data set; its test part is read only when asked for.

    Args:
        source: A name, or the kind and path of a folder, as in ``imagefolder:photos``: see
            :mod:`~proxies.data.source_names`.
        root: Folder that holds the data set's files (a relative PATH starts here); without it, Fashion-MNIST comes from
            Debian's package ``dataset-fashion-mnist`` where it is installed, and whatever is missing is downloaded once
            into the user's cache folder.
        skip_corrupt: Leave unreadable images out; else the first one that is met is an error.

    Raises:
        ValueError: In one line, if the source is unknown, or its files are missing, unreadable or not to be had.
    """
    kind, path = split_source(source)
    if path is not None:
        return _READERS[kind]((root or Path()) / Path(path).expanduser(), skip_corrupt=skip_corrupt)
    if kind == "flowers102":
        return load_flowers(root, skip_corrupt=skip_corrupt)
    if kind not in _LOADERS:
        hint = did_you_mean(source, [*NAMED_SOURCES, *(f"{each}:PATH" for each in FOLDER_SOURCES)])
        raise ValueError(f"unknown data source {source!r}: {hint}")
    return _LOADERS[kind](root)


def _load_digits(root: Path | None) -> Images:
    from sklearn.datasets import load_digits  # half a second to import

    digits = load_digits()
    # 17 grey levels, 0…16.
    pixels = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    return Images(
        name="digits",
        class_names=tuple(map(str, digits.target_names)),
        mirror_keeps_label=False,
        train=PixelImages(pixels=pixels, labels=labels),
    )


class _Reader(Protocol):
    def __call__(self, folder: Path, *, skip_corrupt: bool) -> Images: ...


_READERS: dict[str, _Reader] = {
    "imagefolder": read_folder,
    "imagenet": read_imagenet,
    "stanford-cars": read_stanford_cars,
    "hf": read_saved_dataset,
}
_LOADERS: dict[str, Callable[[Path | None], Images]] = {
    "digits": _load_digits,
    "fashion-mnist": load_fashion_mnist,
    "cifar10": functools.partial(load_cifar, name="cifar10"),
    "cifar100": functools.partial(load_cifar, name="cifar100"),
}
