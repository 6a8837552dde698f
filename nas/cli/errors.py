"""A user's mistake, as one line on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

TRY_AGAIN = 75
"""Exit code where the same line may succeed a minute later: EX_TEMPFAIL of sysexits.h."""


def fail(message: object, code: int = 2) -> NoReturn:
    """End with one line."""
    print(f"nas: {' '.join(str(message).split())}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Around reading what the user gave: only here does a ValueError mean the user, elsewhere it is a bug."""
    try:
        yield
    except ValueError as error:
        fail(error)
