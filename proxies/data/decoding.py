"""From an image file to pixels; every failure names the file."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

T = TypeVar("T")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
# What Pillow's readers raise on broken files: SyntaxError comes from PNG chunks, the others from truncated data.
_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class ImageError(ValueError):
    """An image file cannot be used. A large set is not read before it is needed, so this may come in mid-training."""


def open_image(path: Path) -> Image.Image:
    """Read a whole image file.

    Raises:
        ImageError: If the file is no readable image, or has a pixel format that is neither grey nor colour of 8 bits.
    """
    try:
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        with Image.open(path) as image:
            image.load()
            loaded = image.copy() if image.mode in (*_GREY_MODES, *_COLOUR_MODES) else None
    except _READ_ERRORS as error:
        raise ImageError(f"cannot read image {path}: {_reason(error, path)}") from None
    if loaded is None:
        raise ImageError(f"an image must be grey or coloured with 8 bits a channel, got {image.mode!r} in {path}")
    return loaded


def is_grey(path: Path) -> bool:
    """Whether an image has no colours; reads all of it, so that a broken file is found.

    Raises:
        ImageError: If the file is no readable image.
    """
    return open_image(path).mode in _GREY_MODES


def decode_image(path: Path, *, in_channels: int, resolution: int) -> Tensor:
    """Read an image, scale it until it covers a square and crop it to its middle: uint8 (in_channels, side, side).

    Raises:
        ImageError: If the file is no readable image.
    """
    image = to_channels(open_image(path), in_channels)
    scale = resolution / min(image.size)
    width, height = (max(resolution, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    return to_tensor(image.crop((left, top, left + resolution, top + resolution)))


def to_channels(image: Image.Image, in_channels: int) -> Image.Image:
    """Grey for 1 channel, RGB for 3."""
    return image.convert("L" if in_channels == 1 else "RGB")


def to_tensor(image: Image.Image) -> Tensor:
    """Pixels of a grey or RGB image as uint8 (C, H, W)."""
    array = np.array(image, dtype=np.uint8)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def read_in_parallel(read: Callable[[Path], T], paths: Sequence[Path]) -> list[T]:
    """Apply a reader to all files, in order; Pillow decodes outside the interpreter's lock, so threads suffice."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as threads:
        return list(threads.map(read, paths))


def _reason(error: BaseException, path: Path) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return "no image format that is known" if "cannot identify image file" in text else text.replace(f" '{path}'", "")
