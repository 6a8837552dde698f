"""Oxford's 102 flowers, from the files that torchvision downloads."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .downloads import cache_folder, download, open_files
from .encoded import CorruptImages, EncodedImages
from .files import ImageFiles
from .images import Images

if TYPE_CHECKING:
    from torchvision.datasets import Flowers102

_NUM_CLASSES = 102


def load_flowers(root: Path | None, *, skip_corrupt: bool) -> Images:
    """Load them from a folder that holds ``flowers-102/``, or else from the cache, downloaded once.

    The official parts are kept: 1,020 images train, 1,020 judge candidates, 6,149 are kept for the end.

    Raises:
        ValueError: In one line, if the files are missing, broken or not to be had.
    """
    from torchvision.datasets import Flowers102

    if root is None:
        folder = cache_folder()
        download("flowers102", lambda: Flowers102(folder, download=True))
    else:
        folder = root

    def read(split: str) -> EncodedImages:
        flowers = open_files("flowers102", folder, lambda: Flowers102(folder, split=split))
        return _part(flowers, folder, skip_corrupt=skip_corrupt)

    return Images(
        name="flowers102",
        class_names=tuple(getattr(Flowers102, "classes", map(str, range(1, _NUM_CLASSES + 1)))),
        mirror_keeps_label=True,
        train=read("train"),
        minival=read("val"),
        read_test=lambda: read("test"),
    )


def _part(flowers: "Flowers102", folder: Path, *, skip_corrupt: bool) -> EncodedImages:
    # torchvision has no public name for its files.
    names = [path.relative_to(folder).as_posix() for path in flowers._image_files]
    return EncodedImages(
        store=ImageFiles.of(folder, names),
        positions=torch.arange(len(names)),
        labels=torch.tensor(flowers._labels),
        in_channels=3,
        corrupt=CorruptImages(skip=skip_corrupt),
    )
