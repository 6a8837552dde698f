"""The C library's allocator, told to keep what is freed: a training asks for the same memory again at every step.

glibc hands large freed blocks back to the system, depending on where they happen to lie, and the next step pays for
fresh pages: up to 9,000 page faults and a fifth of the time of a step, one network more than another and one process
more than another. Kept memory makes steps faster, and their time repeatable.
"""

import ctypes
import ctypes.util
import functools
import sys

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_NEVER = -1
# Blocks beyond go back to the system when they are freed: data sets, not activations. Before version 2.35, glibc
# refuses a larger threshold than 32 MiB.
_LARGEST_KEPT = (1 << 30, 1 << 25)


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep memory that is freed, for its next use; call it before the first network is built.

    Returns:
        Whether the C library is one that can be told so (glibc, that is Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "mallopt", None)
    if mallopt is None:
        return False
    # First: once any is set, glibc no longer raises this one by itself, and blocks of 128 KiB would go back.
    if not any(mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in _LARGEST_KEPT):
        return False
    return all(mallopt(*setting) == 1 for setting in ((_M_TRIM_THRESHOLD, _NEVER), (_M_ARENA_MAX, 1)))
