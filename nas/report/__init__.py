"""The report of a run: one self-contained HTML file."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .page import write_report

_HOMES = {"write_report": "page"}

__all__ = ["write_report"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
