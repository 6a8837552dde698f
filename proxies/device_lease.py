"""A lease of a device: training shares it, measuring has it alone.

Step times taken beside a training are wrong by tens of percent, so all processes of this user on this host agree
through lock files of each device. The operating system releases a dead holder's lease.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeviceLease:
    """Leases of one device, by its :attr:`~proxies.device.Device.lease_name`.

    Threads of one process wait for each other like processes do; a thread that holds a lease must not take another.
    """

    device: str
    folder: Path | None = None
    """Where the lock files lie; by default the user's own folder among the host's temporary files."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the device beside others who share it; waits while somebody measures, or waits to."""
        with self._held(fcntl.LOCK_SH):
            yield

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the device alone; waits until every other holder has let go, and nobody new gets in meanwhile."""
        with self._held(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _held(self, kind: int) -> Iterator[None]:
        """Whoever waits for the device keeps the door closed: trainings that follow one another let nobody by else."""
        with ExitStack() as lease:
            with _locked(self.path.with_suffix(".door"), fcntl.LOCK_EX):
                lease.enter_context(_locked(self.path, kind))
            yield

    @property
    def path(self) -> Path:
        """The lock file; beside it lies that of the door."""
        folder = self.folder or Path(tempfile.gettempdir()) / f"training-aware-nas-{os.getuid()}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        device = re.sub(r"[^A-Za-z0-9]+", "-", self.device)
        return folder / f"lease-{device}.lock"


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    # Opened for writing, an old file is young again: who tidies temporary files up must not take it from its holder.
    with path.open("w") as file:
        fcntl.flock(file, kind)
        try:
            yield
        finally:
            # Closing would not do: a child that was forked meanwhile, to read images, has the file open too.
            fcntl.flock(file, fcntl.LOCK_UN)
