"""The console that commands write their tables to."""

from rich.console import Console

WIDTH = 140
"""Of tables that go to a file, in characters."""


def table_console(width: int = WIDTH) -> Console:
    """A console as wide as the terminal, or of this width where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
