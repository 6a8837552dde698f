"""From an encoded image to pixels; every failure names the image."""

import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
# What Pillow's readers raise on broken files: SyntaxError comes from PNG chunks, the others from truncated data.
_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class ImageError(ValueError):
    """An image cannot be used. A large set is not read before it is needed, so this may come in mid-training."""


def open_image(content: Path | bytes, *, name: str) -> Image.Image:
    """Read a whole image.

    Args:
        content: Its file, or what would be in it.
        name: What a message calls it; of a file, the path.

    Raises:
        ImageError: If it is no readable image, or has a pixel format that is neither grey nor colour of 8 bits.
    """
    try:
        if (len(content) if isinstance(content, bytes) else content.stat().st_size) == 0:
            raise ValueError("the file is empty")
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            image.load()
            loaded = image.copy() if image.mode in (*_GREY_MODES, *_COLOUR_MODES) else None
    except _READ_ERRORS as error:
        raise ImageError(f"cannot read image {name}: {_reason(error, name)}") from None
    if loaded is None:
        raise ImageError(f"an image must be grey or coloured with 8 bits a channel, got {image.mode!r} in {name}")
    return loaded


def is_grey(image: Image.Image) -> bool:
    """Whether an image has no colours."""
    return image.mode in _GREY_MODES


def covering_square(image: Image.Image, resolution: int) -> Tensor:
    """A grey or RGB image, scaled until it covers a square and cropped to its middle: uint8 (C, side, side)."""
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


def in_parallel(read: Callable[[S], T], sources: Iterable[S]) -> list[T]:
    """Apply a reader to all, in order; Pillow decodes outside the interpreter's lock, so threads suffice."""
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as threads:
        return list(threads.map(read, sources))


def _reason(error: BaseException, name: str) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return "no image format that is known" if "cannot identify image file" in text else text.replace(f" '{name}'", "")
