"""What a check of a run directory finds, and how it may be mended."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How bad it is."""

    NOTE = "note"
    """Nothing is wrong, but worth knowing."""
    WARNING = "warning"
    """Something is wrong that a run gets along with."""
    ERROR = "error"
    """The run cannot go on, or something is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A way to mend what was found."""

    mend: Callable[[], str]
    """Does it, and says what it did."""
    files: tuple[Path, ...] = ()
    """What it changes or removes; of these a copy is kept first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing found."""

    severity: Severity
    file: str
    """Its name in the run directory; "." where it is about the whole."""
    what: str
    """One line."""
    advice: str = ""
    """What a person can do; empty where nothing is to be done."""
    repair: Repair | None = None
    """None where no program can mend it."""


def note(file: str, what: str, advice: str = "", repair: Repair | None = None) -> Finding:
    """Something worth knowing."""
    return Finding(severity=Severity.NOTE, file=file, what=what, advice=advice, repair=repair)


def warning(file: str, what: str, advice: str, repair: Repair | None = None) -> Finding:
    """Something wrong that a run gets along with."""
    return Finding(severity=Severity.WARNING, file=file, what=what, advice=advice, repair=repair)


def error(file: str, what: str, advice: str, repair: Repair | None = None) -> Finding:
    """Something a run cannot go on with, or a loss."""
    return Finding(severity=Severity.ERROR, file=file, what=what, advice=advice, repair=repair)
