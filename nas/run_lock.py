"""The lock of a run directory: one run at a time, on this host and on others that share its file system.

Within one kernel a file lock tells at once whether its holder lives. Between hosts it may not: it may hold on each host
for itself, or outlive a host that lost its power. So the holder also has a lease, the age of its holder file, which it
renews. Ages are differences between times that the file system gave, never times of this host's clock; and before a
lease counts as lapsed its file is watched, since some file systems take their times from their clients.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from .file_systems import FileLockError, file_system_of, require_file_locks
from .run_directory import RunDirectoryError, write_whole

LEASE_S = 60.0
"""For so long a host that is not heard of keeps its lock."""
RENEWALS = 4
"""In a lease: it is not lost by a few that fail."""
CHECK_S = 1.0
"""Seconds for which a holder trusts its last look at the holder file."""
_SETTLE_S = 2.0
"""Between taking a lock on a shared file system and the look whether another host did so at the same time."""


class LeasedError(RunDirectoryError):
    """Another host has a lease, of which nobody can tell yet whether it will be renewed: worth another try soon."""


class LostLockError(RunDirectoryError):
    """Another host took the lock over, because it had heard nothing of this one: whatever is written now does harm."""


_HELD: set[IO[bytes]] = set()
"""Lock files of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, as the holder file says."""

    host: str
    pid: int
    since: str
    """In its host's own time."""
    kernel: str = ""
    """The boot of its host; empty where a host cannot tell."""
    token: str = ""
    """Drawn for this one holding of the lock."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this very kernel."""
        return bool(self.kernel) and self.kernel == _kernel()


_HOLDERS = TypeAdapter(Holder)


def lock_file(path: Path) -> Path:
    """The file whose lock is held; it stays when nobody holds it."""
    return path / ".lock"


def holder_file(path: Path) -> Path:
    """Says who holds the lock; its age is that of the lease."""
    return path / ".lock-holder.json"


def read_holder(path: Path) -> Holder | None:
    """Who holds a directory's lock, or held it when it died; None where nobody does, or nobody can tell."""
    try:
        return _HOLDERS.validate_json(holder_file(path).read_bytes())
    except (OSError, ValidationError):
        return None


def is_held_here(path: Path) -> bool:
    """Whether a process of this kernel holds a directory's lock.

    Asked of the file lock itself, which knows of other containers' processes too, and depends on no clock. Who wants
    the lock in this very moment may be refused.
    """
    try:
        file = lock_file(path).open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # as in `_try_lock`
            return True
        fcntl.flock(file, fcntl.LOCK_UN)
    return False


class RunLock:
    """A lock that is held, until another host takes it over."""

    def __init__(self, path: Path, holder: Holder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._holder, self._clock = path, holder, clock
        self._is_lost, self._checked_s = False, -CHECK_S + clock()

    def is_lost(self) -> bool:
        """Whether somebody else has it now; a look at the holder file, at most one in `CHECK_S` seconds.

        A file that cannot be read at the moment tells nothing, and nothing is lost by a full disk.
        """
        if not self._is_lost and self._clock() - self._checked_s >= CHECK_S:
            self._is_lost = not self._is_mine()
            self._checked_s = self._clock()
        return self._is_lost

    def require_held(self) -> None:
        """Make sure that this process may write.

        Raises:
            LostLockError: If another one has taken the lock over.
        """
        if self.is_lost():
            now = read_holder(self._path)
            raise LostLockError(
                f"{self._path} was taken over by {now or 'another process'}, which had heard nothing of this one; "
                "nothing more is written"
            )

    def renew(self) -> None:
        """Make the lease young again. Needs no space on the disk; one that fails is made up for by the next."""
        try:
            if self._is_mine():
                os.utime(holder_file(self._path))
        except OSError:
            pass

    def release(self) -> None:
        """Leave no holder behind, unless it is another one's."""
        try:
            if self._is_mine():
                holder_file(self._path).unlink(missing_ok=True)
        except OSError:
            pass  # it reads as a dead process's, which has let go of the file lock

    def _is_mine(self) -> bool:
        try:
            text = holder_file(self._path).read_bytes()
        except FileNotFoundError:
            return False  # whoever took it over may have come to its end meanwhile
        except OSError:
            return True
        return json.dumps(self._holder.token).encode() in text


@contextmanager
def locked(path: Path, *, lease_s: float = LEASE_S, sleep: Callable[[float], None] = time.sleep) -> Iterator[RunLock]:
    """Hold a directory's lock: one run at a time.

    A dead process's lock is free at once; that of a host that is not heard of, when its lease has lapsed.

    Args:
        path: An existing directory that can be written.
        lease_s: Of all who lock this directory.
        sleep: Waits so many seconds.

    Yields:
        The lock. Ask it before anything is written that another host's run could be hurt by.

    Raises:
        LeasedError: If another host's process holds it, or held it less than a lease ago.
        RunDirectoryError: If another process holds it, with its pid and host; or if file locks do not work there.
    """
    _require_file_locks(path)
    with _file_locked(path, lease_s, sleep):
        holder = _this_process()
        write_whole(holder_file(path), json.dumps(asdict(holder)))
        lock = RunLock(path, holder)
        if file_system_of(path).is_shared:
            sleep(_SETTLE_S)
        lock.require_held()
        try:
            with _renewed(lock, lease_s / RENEWALS):
                yield lock
        finally:
            lock.release()


def take_over(path: Path) -> None:
    """Free a directory from a holder on another host that is known to be gone, before its lease has lapsed.

    Raises:
        RunDirectoryError: If the holder lives on this host, where it can be ended.
    """
    holder = read_holder(path)
    if not holder_file(path).exists():
        return
    if holder is not None and holder.is_here:
        if is_held_here(path):
            raise RunDirectoryError(f"{path} is in use by {holder}, on this very host: end that process")
        return
    _replace_lock_file(path)
    holder_file(path).unlink(missing_ok=True)


def lease_left_s(path: Path, lease_s: float = LEASE_S) -> float | None:
    """Seconds until a holder's lease lapses unless it is renewed, at most 0 if it has; None where there is no holder.

    Raises:
        OSError: If the lock file cannot be touched.
    """
    try:
        # Opened, so that a network file system asks its server; and the present is what the file system gives it as.
        with holder_file(path).open("rb") as file:
            renewed_s = os.fstat(file.fileno()).st_mtime
        with lock_file(path).open("ab") as file:
            os.utime(file.fileno())
            return lease_s - (os.fstat(file.fileno()).st_mtime - renewed_s)
    except FileNotFoundError:
        return None


def _require_file_locks(path: Path) -> None:
    try:
        require_file_locks(path)
    except FileLockError as error:
        kind = file_system_of(path).kind or "unknown"
        raise RunDirectoryError(
            f"{path} lies on a file system ({kind}) where file locks do not work ({error}): take --out on another one"
        ) from None


def _let_go() -> None:
    """In a forked process, such as one that reads images: with the file open there, a lock outlives a killed holder."""
    while _HELD:
        _HELD.pop().close()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def _file_locked(path: Path, lease_s: float, sleep: Callable[[float], None]) -> Iterator[None]:
    """Hold the file lock, once no other host has a lease."""
    file = _try_lock(lock_file(path))
    try:
        _require_gone(path, lease_s, sleep, is_file_locked=file is None)
        file = file or _replace_lock_file(path)
        _HELD.add(file)
        yield
    finally:
        if file is not None:
            _HELD.discard(file)
            fcntl.flock(file, fcntl.LOCK_UN)
            file.close()


def _require_gone(path: Path, lease_s: float, sleep: Callable[[float], None], *, is_file_locked: bool) -> None:
    """Make sure that whoever the holder file names is no more.

    Raises:
        RunDirectoryError: If it may live.
    """
    holder, is_shared = read_holder(path), file_system_of(path).is_shared
    name = holder or "another process"
    is_here = holder is not None and (holder.is_here or (holder.host == socket.gethostname() and not is_shared))
    if is_file_locked and (holder is None or is_here or not is_shared):
        raise RunDirectoryError(f"{path} is in use by {name}")
    left_s = None if is_here else lease_left_s(path, lease_s)
    if left_s is None:
        return
    if 0 < left_s <= lease_s:
        raise LeasedError(
            f"{path} is in use by {name}, another host; its lease lapses in {left_s:.0f} s unless it is renewed "
            "(if that run is certainly gone: --take-over)"
        )
    # A renewal is due several times in a lease. Of a holder whose times lie in the future nothing else is known.
    if _is_renewed(path, lease_s if left_s > lease_s else 1.5 * lease_s / RENEWALS, sleep):
        raise RunDirectoryError(f"{path} is in use by {name}, another host, whose clock and this one's disagree")


def _is_renewed(path: Path, seconds: float, sleep: Callable[[float], None], looks: int = 20) -> bool:
    """Watch the holder file for so many seconds."""
    before = _stamp(path)
    for _ in range(looks):
        sleep(seconds / looks)
        if _stamp(path) != before:
            return True
    return False


def _stamp(path: Path) -> tuple[int, bytes]:
    try:
        with holder_file(path).open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns, file.read()
    except FileNotFoundError:
        return 0, b""


def _try_lock(path: Path) -> IO[bytes] | None:
    """The locked file; None where another process has it locked."""
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the one or the other, by the file system
            file.close()
            return None
        if _is_named(file, path):
            return file
        file.close()  # it was replaced since it was opened


def _is_named(file: IO[bytes], path: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _replace_lock_file(path: Path) -> IO[bytes]:
    """Put a new file, locked, in the place of one that a host which is gone has left locked on the server.

    Raises:
        RunDirectoryError: If another process did so at the same time.
    """
    temporary = lock_file(path).with_name(f".lock.{secrets.token_hex(4)}.tmp")
    file = _try_lock(temporary)
    if file is not None:
        os.replace(temporary, lock_file(path))
        if _is_named(file, lock_file(path)):
            return file
        file.close()
    raise RunDirectoryError(f"{path} was taken over by another process at this moment")


@contextmanager
def _renewed(lock: RunLock, interval_s: float) -> Iterator[None]:
    """Renew a lease in the background."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(interval_s):
            lock.renew()

    thread = threading.Thread(target=renew, name="lease of the run directory", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(timeout=1.0)  # it may hang where the network is gone


def _this_process() -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        kernel=_kernel(),
        token=secrets.token_hex(16),
    )


def _kernel() -> str:
    """Drawn by Linux at each boot; elsewhere the host's name must do."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
