"""What is fitted once and kept: arrays in one file, keyed by what they were made from."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import platformdirs
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_CODE = ("rows.py", "trees.py", "networks.py", "stage_times.py", "local_search.py", "surrogates.py")


def cache_folder() -> Path:
    """Where fitted surrogates are kept by default."""
    return Path(platformdirs.user_cache_dir("training-aware-nas")) / "accel_nasbench"


def key_of(*facts: str) -> str:
    """A name for what follows from these facts and from the code that fits."""
    digest = hashlib.sha256("/".join(facts).encode())
    for name in _CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:16]


def kept(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """The arrays in a file; made, and written whole or not at all, where there is none that can be read.

    Args:
        path: Of the file, `.npz`.
        make: Makes the arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, BadZipFile):
        arrays = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return arrays
