"""What an architecture is, which ones may be searched, and how one becomes a network.

Nothing here imports torch before `build`, `load_pretrained` or `features` is asked for.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import catalog, features, scaling
    from .architecture import Architecture, Stage, parse
    from .named_spaces import get_space
    from .network import build
    from .space import SearchSpace, StageChoices
    from .weights import load_pretrained

_HOMES = {
    "Architecture": "architecture",
    "Stage": "architecture",
    "parse": "architecture",
    "SearchSpace": "space",
    "StageChoices": "space",
    "get_space": "named_spaces",
    "build": "network",
    "load_pretrained": "weights",
}
_MODULES = ("catalog", "features", "scaling")

__all__ = [
    "Architecture",
    "SearchSpace",
    "Stage",
    "StageChoices",
    "build",
    "catalog",
    "features",
    "get_space",
    "load_pretrained",
    "parse",
    "scaling",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
