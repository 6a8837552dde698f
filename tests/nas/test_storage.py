"""The study's file: how it is written where hosts share it, and what its damages are refused with."""

import sqlite3
from contextlib import closing
from pathlib import Path

import fake_search
import psutil
import pytest
from sqlalchemy import text

import nas.storage
from nas.file_systems import FileSystem, file_system_of
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.storage import is_write_ahead, load_study, open_study
from nas.trials import read_records


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_a_study_keeps_a_journal(tmp_path: Path) -> None:
    open_study(RunDirectory(tmp_path), fake_search.config(tmp_path))
    assert pragma(tmp_path / "study.db", "journal_mode") == "delete"
    assert not is_write_ahead(tmp_path / "study.db")


def test_a_write_ahead_log_is_brought_back_and_nothing_is_lost(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", trials=4, finalists=0)
    before, _ = fake_search.run(config)
    file = tmp_path / "run" / "study.db"
    assert pragma(file, "journal_mode = WAL") == "wal"
    assert is_write_ahead(file)
    run, _ = fake_search.run(config.model_copy(update={"trials": 6}))
    assert run.records[:4] == before.records
    assert pragma(file, "journal_mode") == "delete"
    assert not list((tmp_path / "run").glob("study.db-*"))


def test_a_write_ahead_log_that_somebody_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nas.storage, "_TIMEOUT_S", 0.1)
    config = fake_search.config(tmp_path / "run", trials=2, finalists=0)
    fake_search.run(config)
    file = tmp_path / "run" / "study.db"
    pragma(file, "journal_mode = WAL")
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM trials").fetchone()
        with pytest.raises(RunDirectoryError, match=r"cannot use .*study\.db: database is locked"):
            fake_search.run(config)


@pytest.mark.parametrize(("kind", "level"), [("nfs4", 2), ("lustre", 2), ("fuse.sshfs", 2), ("ext4", 1)])
def test_disks_are_waited_for_where_hosts_share_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, level: int
) -> None:
    monkeypatch.setattr(nas.storage, "file_system_of", lambda path: FileSystem(kind=kind, mount=Path("/")))
    # As a SQLite that was built to wait less would have it.
    created = nas.storage._open

    def built_otherwise(path: Path, *, to_read: bool):  # type: ignore[no-untyped-def]
        from sqlalchemy import event

        storage = created(path, to_read=to_read)
        event.listen(storage.engine, "connect", lambda dbapi, record: dbapi.execute("PRAGMA synchronous = NORMAL"))
        storage.engine.dispose()
        return storage

    monkeypatch.setattr(nas.storage, "_open", built_otherwise)
    study = open_study(RunDirectory(tmp_path), fake_search.config(tmp_path))
    engine = study._storage._backend.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == level


def test_the_file_system_is_the_one_mounted_nearest_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    mounts = [("/", "ext4"), (str(tmp_path), "xfs"), (str(tmp_path / "runs"), "nfs"), (str(tmp_path / "runs"), "nfs4"),
              (str(tmp_path / "run"), "tmpfs")]  # fmt: skip
    part = type(psutil.disk_partitions(all=True)[0])
    parts = [part("device", place, kind, "rw") for place, kind in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    assert file_system_of(tmp_path / "link") == FileSystem(kind="nfs4", mount=tmp_path / "runs")
    assert file_system_of(folder).is_shared
    assert file_system_of(tmp_path) == FileSystem(kind="xfs", mount=tmp_path)
    assert not file_system_of(tmp_path).is_shared


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [("nfs", True), ("nfs4", True), ("lustre", True), ("gpfs", True), ("beegfs", True), ("cifs", True), ("smb3", True),
     ("fuse.juicefs", True), ("ceph", True), ("9p", True), ("ext4", False), ("xfs", False), ("zfs", False),
     ("tmpfs", False), ("overlay", False), ("", False)],
)  # fmt: skip
def test_which_file_systems_hosts_share(kind: str, is_shared: bool) -> None:
    assert FileSystem(kind=kind, mount=Path("/")).is_shared is is_shared


def test_the_mounts_of_this_machine(tmp_path: Path) -> None:
    """As ``/proc/self/mounts`` has them."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    assert [file_system_of(Path("/proc")).mount, file_system_of(Path("/proc")).kind] == [Path("/proc"), "proc"]
    assert file_system_of(tmp_path).kind in {kind for _, kind in mounts}


@pytest.mark.parametrize("content", [b"", b"garbage " * 1000, b"SQLite format 3\x00"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes) -> None:
    config = fake_search.config(tmp_path / "run", trials=2, finalists=0)
    fake_search.run(config)
    (tmp_path / "run" / "study.db").write_bytes(content)
    with pytest.raises(RunDirectoryError, match=r"cannot read .*study\.db"):
        load_study(RunDirectory(tmp_path / "run"))


def test_reading_changes_nothing(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=2, finalists=0))
    before = run.directory.study_file.read_bytes()
    assert len(read_records(load_study(run.directory))) == 2
    assert run.directory.study_file.read_bytes() == before
