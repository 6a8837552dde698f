"""Finding: the reward, the search and its report."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import SearchConfig
    from .reward import Reward
    from .search import search

_HOMES = {"Reward": "reward", "SearchConfig": "config", "search": "search"}

__all__ = ["Reward", "SearchConfig", "search"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
