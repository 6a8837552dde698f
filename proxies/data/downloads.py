"""Data sets that torchvision downloads, once, into the user's cache folder."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from search_spaces.messages import first_line

T = TypeVar("T")


def cache_folder() -> Path:
    """Where downloaded data sets are kept."""
    return Path(platformdirs.user_cache_dir("training-aware-nas")) / "data"


def download(name: str, fetch: Callable[[], T]) -> T:
    """What a download gives.

    Raises:
        ValueError: In one line, if it fails.
    """
    try:
        return fetch()
    except (OSError, RuntimeError) as error:  # URLError is an OSError; torchvision raises RuntimeError for bad content
        raise ValueError(
            f"{name} cannot be downloaded into {cache_folder()} ({first_line(error)}); "
            "if you have its files, name their folder as root"
        ) from None


def open_files(name: str, root: Path, open_part: Callable[[], T]) -> T:
    """What a user's files hold.

    Raises:
        ValueError: In one line with the path, if they are missing or broken.
    """
    try:
        return open_part()
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name} is missing or broken in {root}: {first_line(error)}") from None
