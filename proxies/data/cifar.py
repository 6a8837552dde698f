"""CIFAR-10 and CIFAR-100, through torchvision."""

from pathlib import Path
from typing import Any

import torch

from .downloads import cache_folder, download, open_files
from .images import Images, PixelImages


def load_cifar(root: Path | None, *, name: str) -> Images:
    """Load ``cifar10`` or ``cifar100`` from a folder, or else from the cache, downloaded once.

    Raises:
        ValueError: In one line, if the files are missing, broken or not to be had.
    """
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    if root is None:
        folder = cache_folder()
        train = download(name, lambda: kind(folder, train=True, download=True))
    else:
        folder = root
        train = open_files(name, folder, lambda: kind(folder, train=True))
    return Images(
        name=name,
        class_names=tuple(train.classes),
        mirror_keeps_label=True,
        train=_part(train),
        read_test=lambda: _part(open_files(name, folder, lambda: kind(folder, train=False))),
    )


def _part(part: Any) -> PixelImages:
    pixels = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
    return PixelImages(pixels=pixels, labels=torch.tensor(part.targets))
