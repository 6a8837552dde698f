"""The trained architectures of Accel-NASBench, as members of the MnasNet-style space."""

import csv
import gzip
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from proxies.costs import Encoded
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace, Value

FILE_NAME = "accel_nasbench.csv.gz"
SOURCE = "github.com/afzalxo/Accel-NASBench 4260357, Apache-2.0"
FOLDER_VARIABLE = "NAS_DATA_DIR"
_COLUMNS = {"num_repeats": "l", "kernel_size": "k", "expand_ratio": "e", "se_ratio": "se"}


@cache
def mnasnet_space() -> SearchSpace:
    return get_space("mnasnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What was measured of each architecture, (N,) each; NaN where it was not."""

    encoded: Encoded
    """(N, 28), see `SearchSpace.encode`."""
    accuracy: NDArray[np.float64]
    """ImageNet top-1 after a shortened training, a fraction; one seed, whose error is 0.29 points."""
    train_time_s: NDArray[np.float64]
    """Of the whole training; ± 15 %, some far off."""
    rtx3090_images_per_s: NDArray[np.float64]
    """Of inference."""
    a100_images_per_s: NDArray[np.float64]
    params_millions: NDArray[np.float64]
    digest: str
    """Of the file."""


def find_data(path: Path | None = None) -> Path:
    """The benchmark's file: the one given (or in the folder given), else in the folder that NAS_DATA_DIR names.

    Raises:
        ValueError: If it is not there, with what is missing and where it comes from.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    asked = path or (Path(folder) if folder else None)
    rule = f"the benchmark needs {FILE_NAME} ({SOURCE}): give its path, or let {FOLDER_VARIABLE} name its folder"
    if asked is None:
        raise ValueError(f"{rule}; {FOLDER_VARIABLE} is not set")
    found = asked / FILE_NAME if asked.is_dir() else asked
    if not found.is_file():
        raise ValueError(f"{rule}; there is no {found}")
    return found


def read_rows(path: Path) -> Rows:
    """Read the benchmark's file, gzipped or not.

    Raises:
        ValueError: If it is no such file, lacks a column, or holds an architecture outside the space.
    """
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a CSV file, gzipped or not: {error}") from None
    rows = list(csv.DictReader(text.splitlines()))
    try:
        return Rows(
            encoded=_encode(mnasnet_space(), rows),
            accuracy=_numbers(rows, "val_top1") / 100,
            train_time_s=_numbers(rows, "train_time_s"),
            rtx3090_images_per_s=_numbers(rows, "rtx3090_infer_img_s"),
            a100_images_per_s=_numbers(rows, "a100_infer_img_s"),
            params_millions=_numbers(rows, "params_m"),
            digest=hashlib.sha256(content).hexdigest(),
        )
    except KeyError as error:
        raise ValueError(f"{path} must have the columns of Accel-NASBench, {error} is missing") from None


def _encode(space: SearchSpace, rows: Sequence[Mapping[str, str]]) -> Encoded:
    columns = [_places(name, values, rows) for name, values in space.choices.items()]
    return np.array(columns, dtype=np.int64).T


def _places(name: str, values: Sequence[Value], rows: Sequence[Mapping[str, str]]) -> list[int]:
    """The places of one choice: the file counts blocks from 0 and marks squeeze-and-excitation by 0 or 1."""
    stage, _, axis = name.removeprefix("stage").partition("_")
    column = f"block{int(stage) - 1}_{_COLUMNS[axis]}"
    place_of = {str(value): place for place, value in enumerate(values)}
    if axis == "se_ratio":
        place_of = {"0": 0, "1": 1}
    unknown = next((row[column] for row in rows if row[column] not in place_of), None)
    if unknown is not None:
        raise ValueError(f"{column} must be one of {', '.join(place_of)}, got {unknown!r}")
    return [place_of[row[column]] for row in rows]


def _numbers(rows: Sequence[Mapping[str, str]], column: str) -> NDArray[np.float64]:
    return np.array([float(row[column] or "nan") for row in rows])
