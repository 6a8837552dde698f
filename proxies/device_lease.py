"""A lease of a device: training shares it, measuring has it alone.

Step times taken beside a training are wrong by tens of percent, so all processes of this user on this host agree
through one lock file for each device. The operating system releases a dead holder's lease.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import ReadWriteLock


@dataclass(frozen=True, slots=True)
class DeviceLease:
    """Leases of one device, by its :attr:`~proxies.device.Device.lease_name`."""

    device: str
    folder: Path | None = None
    """Where the lock file lies; by default the user's own folder among the host's temporary files."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the device beside others who share it; waits while somebody measures, or waits to."""
        with self._lock() as lock, lock.read_lock():
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the device alone; waits until every other holder has let go."""
        with self._lock() as lock, lock.write_lock():
            yield

    @contextmanager
    def _lock(self) -> Iterator[ReadWriteLock]:
        # Not a singleton: two threads of one process wait for each other like two processes do.
        lock = ReadWriteLock(str(self.path), is_singleton=False)
        try:
            yield lock
        finally:
            lock.close()

    @property
    def path(self) -> Path:
        """The lock file."""
        folder = self.folder or Path(tempfile.gettempdir()) / f"training-aware-nas-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        device = re.sub(r"[^A-Za-z0-9]+", "-", self.device)
        return folder / f"lease-{device}.db"
