"""What a folder lies on: whether other hosts may share it, and whether file locks work there."""

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

# As the kernel names them, without what follows the dot. What is mounted through FUSE may be anything.
_SHARED = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse", "fuseblk", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "virtiofs", "wekafs",
})  # fmt: skip


class FileLockError(OSError):
    """File locks do not work on a file system; the message says how that showed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """Of a folder."""

    kind: str
    """As the kernel names it, e.g. "ext4", "nfs4", "fuse.sshfs"; empty where it is unknown."""
    mount: Path
    """Where it is mounted."""

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may have it too."""
        return self.kind.partition(".")[0].lower() in _SHARED


def file_system_of(folder: Path) -> FileSystem:
    """The file system that a folder lies on: the one mounted nearest above it."""
    place = folder.resolve()
    above = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    # Of several mounts at one place the last one is seen.
    nearest = max(enumerate(above), key=lambda item: (len(Path(item[1].mountpoint).parts), item[0]), default=None)
    if nearest is None:
        return FileSystem(kind="", mount=Path(place.anchor))
    return FileSystem(kind=nearest[1].fstype, mount=Path(nearest[1].mountpoint))


def require_file_locks(folder: Path) -> None:
    """Make sure that locks on whole files (ours) and on parts of files (SQLite's) are to be had.

    Locks that hold on each host for itself, as a mount option of NFS or Lustre may have it, look the same from here.

    Raises:
        FileLockError: If they are refused, or given to two at once.
        OSError: If nothing can be written there.
    """
    descriptor, name = tempfile.mkstemp(prefix=".lock-probe.", suffix=".tmp", dir=folder)
    try:
        _lock_whole(descriptor)
        second = os.open(name, os.O_RDWR)
        try:
            _require_refusal(second)
        finally:
            os.close(second)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        _lock_part(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(name)


def _lock_whole(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise FileLockError(f"flock: {error.strerror}") from None


def _require_refusal(second: int) -> None:
    try:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    raise FileLockError("flock: one lock is given to two at once")


def _lock_part(descriptor: int) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1)
    except OSError as error:
        raise FileLockError(f"fcntl: {error.strerror}") from None
