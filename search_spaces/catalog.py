"""Published networks by name: the facts a search, a report or a test compares itself with."""

from .catalog_entry import RECIPES, CatalogEntry, PublishedAccuracy
from .catalog_v1 import EFFICIENTNET
from .catalog_v2 import EFFICIENTNET_V2
from .messages import did_you_mean

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
        raise ValueError(f"unknown network {name!r}; {did_you_mean(str(name), _ENTRIES)}")
    return _ENTRIES[name]


def names() -> tuple[str, ...]:
    """All names, EfficientNet before EfficientNetV2, small before large."""
    return tuple(_ENTRIES)
