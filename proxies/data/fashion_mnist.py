"""Fashion-MNIST, from the IDX files that torchvision and Debian have."""

import functools
from pathlib import Path

from .downloads import cache_folder, download
from .idx import read_idx
from .images import Images, PixelImages

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_IDX_STEMS = {"train": "train", "test": "t10k"}


def load_fashion_mnist(root: Path | None) -> Images:
    """Load it from a folder, or else from Debian's package, or else from the cache, downloaded once.

    Raises:
        ValueError: In one line with the path, if the files are missing, broken or not to be had.
    """
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

    download("fashion-mnist", lambda: FashionMNIST(cache_folder(), download=True))
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
