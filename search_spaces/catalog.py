"""Published networks by name: the facts a search, a report or a test compares itself with."""

import difflib

from .catalog_entry import RECIPES, CatalogEntry, PublishedAccuracy
from .catalog_v1 import EFFICIENTNET
from .catalog_v2 import EFFICIENTNET_V2

__all__ = ["RECIPES", "CatalogEntry", "PublishedAccuracy", "get", "names"]

_ENTRIES = {entry.name: entry for entry in EFFICIENTNET + EFFICIENTNET_V2}


def get(name: str) -> CatalogEntry:
    """Look up a published network.

    >>> get("efficientnetv2-s").params
    21458488

    Raises:
        ValueError: If no network has this name.
    """
    if name not in _ENTRIES:
        close = difflib.get_close_matches(str(name), _ENTRIES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(_ENTRIES)}"
        raise ValueError(f"unknown network {name!r}; {hint}")
    return _ENTRIES[name]


def names() -> tuple[str, ...]:
    """All names, EfficientNet before EfficientNetV2, small before large."""
    return tuple(_ENTRIES)
