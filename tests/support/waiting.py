"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import Any

import psutil


def until(condition: Callable[[], Any], seconds: float = 240) -> None:
    """Wait for a condition; the limit only keeps a broken test from hanging."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, fetched by its parent or not."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
