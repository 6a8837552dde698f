"""IDX files, the format of MNIST and its successors: a magic number, the shape, then the bytes."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_UINT8 = 0x08


def read_idx(path: Path) -> Tensor:
    """The uint8 array of an IDX file, compressed by gzip where the name ends in ``.gz``.

    Raises:
        ValueError: If the file cannot be read or is no IDX file of bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8:
        raise ValueError(f"an IDX file of bytes begins with 00 00 08, got {content[:3].hex(' ')!r} in {path}")
    num_axes = content[3]
    header = 4 + 4 * num_axes
    shape = struct.unpack(f">{num_axes}I", content[4:header]) if len(content) >= header else ()
    if not shape or len(content) - header != math.prod(shape):
        raise ValueError(f"the shape {shape} and the {len(content)} bytes of an IDX file must agree, not so in {path}")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape).copy())
