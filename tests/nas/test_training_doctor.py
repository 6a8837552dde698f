"""Damages made for real on copies of a training's directory."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_training import tiny_config

from nas.doctor.examination import examine, is_healthy, treat
from nas.doctor.findings import Finding, Severity
from nas.full_training.directory import TrainingDirectory
from nas.full_training.record import read_record
from nas.full_training.run import train
from nas.run_directory import RunDirectoryError
from nas.run_lock import LostLockError, holder_file, locked
from proxies.training.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "training"
    train(tiny_config(out, {"epochs": 3}))
    return out


@pytest.fixture
def training(finished: Path, tmp_path: Path) -> TrainingDirectory:
    """A copy of it."""
    shutil.copytree(finished, tmp_path / "training")
    return TrainingDirectory(tmp_path / "training")


def halve(path: Path) -> None:
    # What a second name of the same file holds is another file's.
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def whats(findings: list[Finding]) -> str:
    return "\n".join(f"{each.severity} {each.file}: {each.what} -> {each.advice}" for each in findings)


def test_a_finished_training_is_healthy(training: TrainingDirectory) -> None:
    assert examine(training.path) == []


@pytest.mark.parametrize(
    ("file", "severity"),
    [
        (lambda training: training.last_checkpoint, Severity.ERROR),
        (lambda training: training.judged_checkpoint, Severity.WARNING),
        (lambda training: training.record_file, Severity.ERROR),
    ],
)
def test_what_another_file_knows_is_repaired(
    training: TrainingDirectory, file: Callable[[TrainingDirectory], Path], severity: Severity
) -> None:
    record = read_record(training.record_file)
    halve(file(training))
    found = examine(training.path)
    assert (found[0].severity, found[0].file) == (severity, str(file(training).relative_to(training.path)))
    damaged = file(training).read_bytes()
    treatment = treat(training.path)
    assert treatment.remaining == [], whats(treatment.remaining)
    assert treatment.backup is not None
    assert (treatment.backup / file(training).relative_to(training.path)).read_bytes() == damaged
    read_checkpoint(training.last_checkpoint)
    read_checkpoint(training.judged_checkpoint)
    # The checkpoint is older than the end.
    assert read_record(training.record_file).epochs == record.epochs


def test_a_missing_view_is_written_again(training: TrainingDirectory) -> None:
    before = training.curves_file.read_bytes()
    training.curves_file.unlink()
    assert [each.what for each in examine(training.path)] == ["is missing"]
    assert treat(training.path).remaining == []
    assert training.curves_file.read_bytes() == before


@pytest.mark.parametrize(
    ("damages", "file"),
    [(("config.yaml",), "config.yaml"), (("weights.safetensors",), "weights.safetensors"),
     (("checkpoints/last.pt", "checkpoints/judged.pt"), "checkpoints/last.pt"),
     (("checkpoints/best.pt",), "checkpoints/best.pt")],
)  # fmt: skip
def test_what_nobody_else_knows_is_said(training: TrainingDirectory, damages: tuple[str, ...], file: str) -> None:
    for damage in damages:
        halve(training.path / damage)
    for findings in (examine(training.path), treat(training.path).remaining):
        assert findings[0].file == file, whats(findings)
        assert findings[0].advice
        assert not is_healthy(findings)


def test_a_training_goes_on_from_the_state_that_was_put_there(tmp_path: Path) -> None:
    """Killed after an epoch that was judged, and its newest checkpoint lost."""
    config = tiny_config(tmp_path / "training", {"epochs": 3})
    directory = TrainingDirectory(config.out)
    train(config)
    record = read_record(directory.record_file)
    directory.record_file.unlink()
    directory.last_checkpoint.unlink()
    shutil.copyfile(directory.judged_checkpoint, directory.last_checkpoint)
    halve(directory.last_checkpoint)
    assert treat(config.out).remaining == []
    assert train(config).epochs == record.epochs


def test_a_training_that_is_taken_over_writes_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.full_training.observer import TrainingObserver
    from proxies.training.progressive import PlannedEpoch

    monkeypatch.setattr("nas.run_lock.CHECK_S", 0.0)
    config = tiny_config(tmp_path / "training", {"epochs": 3})
    directory = TrainingDirectory(config.out)
    left: dict[str, bytes] = {}

    class Thief(TrainingObserver):
        def stepped(self, planned: PlannedEpoch, *, steps_done: int) -> None:
            if steps_done == 7:
                holder_file(config.out).write_text('{"host": "node7", "pid": 1, "since": "now", "token": "theirs"}')
                left.update({file: (config.out / file).read_bytes() for file in ("training.json", "curves.csv")})
                left["last"] = directory.last_checkpoint.read_bytes()

    with pytest.raises(LostLockError, match="taken over by process 1 on node7"):
        train(config, Thief())
    assert left
    assert directory.last_checkpoint.read_bytes() == left.pop("last")
    assert {file: (config.out / file).read_bytes() for file in left} == left


def test_a_running_training_is_not_repaired(training: TrainingDirectory) -> None:
    with locked(training.path), pytest.raises(RunDirectoryError, match="in use by"):
        treat(training.path)
