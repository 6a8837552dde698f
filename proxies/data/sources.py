"""Data sets by name."""

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs
import torch

from search_spaces.messages import did_you_mean, first_line

from .folders import read_folder
from .idx import read_idx
from .images import Images, PixelImages

T = TypeVar("T")
IMAGEFOLDER = "imagefolder:"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_IDX_STEMS = {"train": "train", "test": "t10k"}


def load_images(source: str, *, root: Path | None = None) -> Images:
    """Load a data set; its test part is read only when asked for.

    Args:
        source: ``digits`` (scikit-learn's, 8×8 grey), ``fashion-mnist``, ``cifar10``, ``cifar100``, or
            ``imagefolder:PATH`` for a folder of your own, see :func:`~proxies.data.folders.read_folder`.
        root: Folder that holds the data set's files (a relative PATH starts here); without it, Fashion-MNIST comes from
            Debian's package ``dataset-fashion-mnist`` where it is installed, and whatever is missing is downloaded once
            into the user's cache folder.

    Raises:
        ValueError: In one line, if the source is unknown, or its files are missing, unreadable or not to be had.
    """
    if source.startswith(IMAGEFOLDER):
        return _load_folder(source.removeprefix(IMAGEFOLDER), root)
    if source not in _LOADERS:
        hint = did_you_mean(source, [*_LOADERS, f"{IMAGEFOLDER}PATH"])
        raise ValueError(f"unknown data source {source!r}: {hint}")
    return _LOADERS[source](root)


def cache_folder() -> Path:
    """Where downloaded data sets are kept."""
    return Path(platformdirs.user_cache_dir("training-aware-nas")) / "data"


def _load_folder(text: str, root: Path | None) -> Images:
    if not text:
        raise ValueError("imagefolder needs a path, as in imagefolder:photos, got none")
    return read_folder((root or Path()) / Path(text).expanduser())


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


def _load_fashion_mnist(root: Path | None) -> Images:
    folder = _fashion_mnist_folder(root)
    return Images(
        name="fashion-mnist",
        class_names=_FASHION_CLASSES,
        mirror_keeps_label=True,
        train=_read_idx_pair(folder, "train"),
        read_test=functools.partial(_read_idx_pair, folder, "test"),
    )


def _fashion_mnist_folder(root: Path | None) -> Path:
    """The folder that holds the IDX files; downloaded last of all."""
    if root is not None:
        places = [root, root / "FashionMNIST" / "raw", root / "fashion-mnist"]
    else:
        places = [DEBIAN_FASHION_MNIST, cache_folder() / "FashionMNIST" / "raw"]
    for place in places:
        if _find_idx(place, "train", "images") is not None:
            return place
    if root is not None:
        raise ValueError(f"fashion-mnist needs train-images-idx3-ubyte(.gz) and its fellows, got none in {root}")
    from torchvision.datasets import FashionMNIST

    _download("fashion-mnist", lambda: FashionMNIST(cache_folder(), download=True))
    return places[-1]


def _find_idx(folder: Path, part: str, content: str) -> Path | None:
    axes = {"images": 3, "labels": 1}[content]
    name = f"{_IDX_STEMS[part]}-{content}-idx{axes}-ubyte"
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_idx_pair(folder: Path, part: str) -> PixelImages:
    images, labels = _find_idx(folder, part, "images"), _find_idx(folder, part, "labels")
    if images is None or labels is None:
        raise ValueError(f"fashion-mnist needs images and labels of its {part} part, not both in {folder}")
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or classes.shape != pixels.shape[:1]:
        raise ValueError(f"{images} and {labels} must hold as many images as labels")
    if len(classes) and int(classes.max()) >= len(_FASHION_CLASSES):
        raise ValueError(f"labels must lie in [0, {len(_FASHION_CLASSES)}), got {int(classes.max())} in {labels}")
    return PixelImages(pixels=pixels.unsqueeze(1), labels=classes.long())


def _load_cifar(root: Path | None, *, name: str) -> Images:
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    if root is None:
        folder = cache_folder()
        train = _download(name, lambda: kind(folder, train=True, download=True))
    else:
        folder = root
        train = _open_cifar(name, folder, lambda: kind(folder, train=True))
    return Images(
        name=name,
        class_names=tuple(train.classes),
        mirror_keeps_label=True,
        train=_cifar_part(train),
        read_test=lambda: _cifar_part(_open_cifar(name, folder, lambda: kind(folder, train=False))),
    )


def _cifar_part(part: Any) -> PixelImages:
    pixels = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return PixelImages(pixels=pixels, labels=torch.tensor(part.targets))


def _open_cifar(name: str, root: Path, open_part: Callable[[], T]) -> T:
    try:
        return open_part()
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name} is missing or broken in {root}: {first_line(error)}") from None


def _download(name: str, fetch: Callable[[], T]) -> T:
    try:
        return fetch()
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError for bad content
        raise ValueError(
            f"{name} cannot be downloaded into {cache_folder()} ({first_line(error)}); "
            "if you have its files, name their folder as root"
        ) from None


_LOADERS: dict[str, Callable[[Path | None], Images]] = {
    "digits": _load_digits,
    "fashion-mnist": _load_fashion_mnist,
    "cifar10": functools.partial(_load_cifar, name="cifar10"),
    "cifar100": functools.partial(_load_cifar, name="cifar100"),
}
