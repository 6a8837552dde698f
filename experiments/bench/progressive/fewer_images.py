"""A part of Fashion-MNIST as a data set of its own, so that trainings on it are ordinary ones."""

import struct
from pathlib import Path

from torch import Tensor

from proxies.data.images import PixelImages
from proxies.data.sources import load_images

SOURCE = "fashion-mnist"
_UINT8 = 0x08


def write_fewer_images(folder: Path, num_images: int, *, root: Path | None = None) -> None:
    """Write the first training images and all test images, as IDX files; what is there already is left.

    Args:
        folder: Where to.
        num_images: Training images; the set is in random order.
        root: Folder of the whole set's files; by default where :func:`load_images` looks.
    """
    last = folder / "t10k-labels-idx1-ubyte"
    if last.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    whole = load_images(SOURCE, root=root)
    assert whole.read_test is not None
    train, test = whole.train, whole.read_test()
    assert isinstance(train, PixelImages)
    assert isinstance(test, PixelImages)
    _write_idx(folder / "train-images-idx3-ubyte", train.pixels[:num_images, 0])
    _write_idx(folder / "train-labels-idx1-ubyte", train.labels[:num_images])
    _write_idx(folder / "t10k-images-idx3-ubyte", test.pixels[:, 0])
    _write_idx(last, test.labels)


def _write_idx(path: Path, values: Tensor) -> None:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, _UINT8, values.ndim, *values.shape)
    path.write_bytes(header + values.byte().contiguous().numpy().tobytes())
