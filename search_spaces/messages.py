"""What messages to people are made of."""

import difflib
from collections.abc import Collection


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint for a misspelt name: the nearest known one, or all of them.

    >>> did_you_mean("tpee", ["tpe", "random"])
    "did you mean 'tpe'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def first_line(error: BaseException) -> str:
    """The gist of an error, for a message of one line.

    >>> first_line(ValueError("no such file\\nhint: look again")), first_line(KeyboardInterrupt())
    ('no such file', 'KeyboardInterrupt')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
