"""SQLite does not wait for the disk in tests, where a process may be killed but the machine keeps its power.

A study commits some twenty times a trial, and many disks take 10 ms each time. What was committed lies in the
operating system's hands all the same, which a killed process cannot take with it.
"""

import sqlite3
from typing import Any

from sqlalchemy import Engine, event


def do_not_wait_for_disks() -> None:
    """From here on, and for every database that this process opens."""
    if not event.contains(Engine, "connect", _hurry):
        event.listen(Engine, "connect", _hurry)


def _hurry(connection: Any, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")
