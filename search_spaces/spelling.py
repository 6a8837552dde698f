"""A hint for a misspelt name."""

import difflib
from collections.abc import Collection


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The nearest known name, or all of them.

    >>> did_you_mean("tpee", ["tpe", "random"])
    "did you mean 'tpe'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
