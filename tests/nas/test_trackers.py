"""Curves of a training in TensorBoard, Weights & Biases (offline) and MLflow (a local store): each point once."""

import json
import math
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_training import epoch_record, training_record

from nas.full_training.directory import TrainingDirectory
from nas.full_training.record import Event
from nas.full_training.remote_run import RemoteRun
from nas.full_training.trackers import Trackers, make_trackers

STEPS = 10
"""Of an epoch."""
CONFIG = {"seed": 0, "train": {"lr": 0.1, "source": "imagefolder:/a <b>"}, "stages": [1, 2]}


@pytest.fixture(autouse=True)
def _nobody_is_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither W&B nor MLflow looks for a network, an account or the user's own stores."""
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONFIG_DIR": str(tmp_path / "wandb-config"),
        "WANDB_CACHE_DIR": str(tmp_path / "wandb-cache"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def directory(tmp_path: Path) -> TrainingDirectory:
    folder = tmp_path / "run"
    folder.mkdir()
    return TrainingDirectory(folder)


class Complaints(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def train(trackers: Trackers, epochs: range, *, loss: float = 1.0, points: int = 2) -> None:
    """Tell some epochs of `STEPS` steps, with points inside them."""
    stages = training_record().stages
    for epoch in epochs:
        first = (epoch - 1) * STEPS
        for point in range(1, points + 1):
            step = first + point * STEPS // (points + 1)
            trackers.step(step, loss=loss / step, learning_rate=0.1, images_per_s=100.0)
        trackers.epoch(epoch_record(epoch, train_loss=loss / epoch), stages[0], step=epoch * STEPS)


def interrupted_training(names: tuple[str, ...], directory: TrainingDirectory, *, close: bool = True) -> None:
    """Three epochs, of which the third is done again after a kill, and then part of the fourth after a NaN."""
    first = make_trackers(names, directory, run_name="a run")
    first.start(CONFIG, training_record())
    train(first, range(1, 4))
    if close:
        first.close("stopped")
    second = make_trackers(names, directory, run_name="a run")
    second.start(CONFIG, training_record(), step=2 * STEPS)
    second.event(Event(epoch=3, kind="resumed", text="from step 20"), step=2 * STEPS)
    train(second, range(3, 4))
    second.step(33, loss=99.0, learning_rate=0.1, images_per_s=100.0)
    second.rewind(step=3 * STEPS)
    second.event(Event(epoch=4, kind="rolled back", text="the loss was not finite"), step=3 * STEPS)
    train(second, range(4, 6))
    second.close("finished")


# TensorBoard


def scalars(directory: TrainingDirectory, tag: str) -> list[tuple[int, float]]:
    """As TensorBoard itself reads them."""
    return [(event.step, event.value) for event in accumulated(directory).Scalars(tag)]


def accumulated(directory: TrainingDirectory) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(directory.tensorboard_folder)).Reload()


def test_tensorboard_shows_one_curve(directory: TrainingDirectory) -> None:
    interrupted_training((), directory)
    assert scalars(directory, "epoch/number") == [(10 * epoch, epoch) for epoch in range(1, 6)]
    steps = [10 * epoch + offset for epoch in range(5) for offset in (3, 6)]
    assert scalars(directory, "step/loss") == [(step, pytest.approx(1 / step)) for step in steps], "no 99.0 of step 33"
    assert scalars(directory, "schedule/resolution")[0][1] == training_record().stages[0].resolution


def test_tensorboard_has_events_and_configuration(directory: TrainingDirectory) -> None:
    interrupted_training((), directory)
    found = accumulated(directory)
    texts = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("events/text_summary")]
    assert texts[-1] == "epoch 4: rolled back: the loss was not finite"
    assert "imagefolder:/a <b>" in found.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()


def test_nothing_told_to_tensorboard_dies_with_a_killed_process(directory: TrainingDirectory, tmp_path: Path) -> None:
    """The trackers are neither closed nor flushed: what was told is in the file."""
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from fake_training import epoch_record, training_record
        from nas.full_training.directory import TrainingDirectory
        from nas.full_training.trackers import make_trackers
        trackers = make_trackers((), TrainingDirectory(Path({str(directory.path)!r})))
        trackers.start({{}}, training_record())
        trackers.step(7, loss=0.5, learning_rate=0.1, images_per_s=1.0)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert run_script(script).returncode == -9
    assert scalars(directory, "step/loss") == [(7, 0.5)]


@pytest.mark.slow
def test_a_full_disk_is_said_once(directory: TrainingDirectory) -> None:
    """The largest file that the process may write stands for the disk."""
    script = textwrap.dedent(f"""
        import resource
        from pathlib import Path
        from fake_training import epoch_record, training_record
        from nas.full_training.directory import TrainingDirectory
        from nas.full_training.trackers import make_trackers
        trackers = make_trackers((), TrainingDirectory(Path({str(directory.path)!r})))
        trackers.start({{}}, training_record())
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        for step in range(1, 500):
            trackers.step(step, loss=0.5, learning_rate=0.1, images_per_s=1.0)
        trackers.close("finished")
        print("trained to the end")
    """)
    done = run_script(script)
    assert done.returncode == 0
    said, ended = done.stdout.splitlines()
    assert said.startswith("tensorboard tracks no more: OSError")
    assert ended == "trained to the end"
    assert done.stderr == ""


def run_script(script: str) -> "subprocess.CompletedProcess[str]":
    support = str(Path(__file__).parents[1] / "support")
    environment = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{support}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


# Weights & Biases


def wandb_history(directory: TrainingDirectory) -> tuple[set[str], list[dict[str, Any]]]:
    """Ids of the runs that lie there to be sent, and their points, as `wandb sync` would read them."""
    from wandb.proto.wandb_internal_pb2 import Record

    ids, points = set(), []
    for file in sorted((directory.path / "wandb").glob("offline-run-*/*.wandb")):
        for data in logged_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                points.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return ids, points


def logged_records(data: bytes) -> Iterator[bytes]:
    """Records of a log in LevelDB's format, as W&B writes it behind 7 bytes of its own.

    Blocks of 32 KiB hold fragments: checksum (4 bytes), length (2), kind (1: whole, 2: first, 3: middle, 4: last).
    """
    place, record = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def column(points: list[dict[str, Any]], name: str) -> list[tuple[int, Any]]:
    return [(point["_step"], point[name]) for point in points if name in point]


@pytest.mark.slow
def test_wandb_goes_on_with_the_same_run(directory: TrainingDirectory) -> None:
    pytest.importorskip("wandb")
    interrupted_training(("wandb",), directory)
    ids, points = wandb_history(directory)
    assert len(ids) == 1
    assert column(points, "epoch/number") == [(10 * epoch, epoch) for epoch in range(1, 6)]
    steps = [step for step, _ in column(points, "step/loss")]
    assert len(steps) == len(set(steps)), "a step that was done again is told once"
    assert steps == sorted(steps)
    assert [text for _, text in column(points, "event")][-1].startswith("epoch 4: rolled back")


# MLflow


def mlflow_run(store: Path) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("training-aware-nas")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


@pytest.mark.slow
def test_mlflow_goes_on_with_the_same_run(directory: TrainingDirectory) -> None:
    pytest.importorskip("mlflow")
    interrupted_training(("mlflow",), directory)
    client, run = mlflow_run(directory.path / "mlflow.db")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "a run"
    assert run.data.params["train.source"] == "imagefolder:/a <b>"
    epochs = client.get_metric_history(run.info.run_id, "epoch/number")
    assert [(point.step, point.value) for point in epochs] == [(10 * epoch, epoch) for epoch in range(1, 6)]
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "step/loss")]
    assert len(steps) == len(set(steps))
    events = sorted(tag for key, tag in run.data.tags.items() if key.startswith("event."))
    assert events == ["epoch 3: resumed: from step 20", "epoch 4: rolled back: the loss was not finite"]


@pytest.mark.slow
def test_mlflow_begins_anew_in_another_store(directory: TrainingDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    first = make_trackers(("mlflow",), directory)
    first.start(CONFIG, training_record())
    train(first, range(1, 3))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{directory.path / 'other.db'}")
    second = make_trackers(("mlflow",), directory)
    second.start(CONFIG, training_record(), step=10)
    train(second, range(2, 4))
    client, run = mlflow_run(directory.path / "other.db")
    assert [point.value for point in client.get_metric_history(run.info.run_id, "epoch/number")] == [2, 3]


# What all services have in common


class Memory:
    """A service that writes down what it was told."""

    name = "memory"

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.opened: list[str | None] = []

    def open(self, run_id: str | None, config: Mapping[str, object]) -> str:
        self.opened.append(run_id)
        return run_id or "an-id"

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self.logged.append((step, dict(values)))

    def note(self, text: str, *, step: int) -> None:
        self.logged.append((step, {"note": math.nan}))

    def close(self, state: str) -> None: ...


def test_steps_told_to_a_service_never_decrease_nor_repeat(tmp_path: Path) -> None:
    memory = Memory()
    for start in (0, 20, 0, 10):
        trackers = Trackers([RemoteRun(memory, tmp_path / "told.json")])
        trackers.start({}, training_record(), step=start)
        train(trackers, range(start // STEPS + 1, start // STEPS + 4))
        trackers.rewind(step=start)
        train(trackers, range(start // STEPS + 1, start // STEPS + 2))
        trackers.event(Event(epoch=1, kind="resumed", text=""), step=start)
    assert memory.opened == [None, "an-id", "an-id", "an-id"]
    steps = [step for step, values in memory.logged if "note" not in values]
    assert steps == [3, 6, 10, 13, 16, 20, 23, 26, 30, 33, 36, 40, 43, 46, 50]
    assert [step for step, _ in memory.logged] == sorted(step for step, _ in memory.logged)


@pytest.mark.parametrize("kept", ["", "{", '{"run_id": "x", "other": 1}', "[]"])
def test_a_damaged_memory_means_a_new_run(tmp_path: Path, kept: str) -> None:
    (tmp_path / "told.json").write_text(kept)
    memory = Memory()
    RemoteRun(memory, tmp_path / "told.json").start({}, step=5)
    assert memory.opened == [None]


class Broken(Memory):
    name = "broken"

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        raise ConnectionError("the network\nis gone")


def test_a_tracker_that_fails_says_so_once_and_the_others_go_on(tmp_path: Path) -> None:
    complaints, memory = Complaints(), Memory()
    trackers = Trackers(
        [RemoteRun(Broken(), tmp_path / "broken.json"), RemoteRun(memory, tmp_path / "told.json")], complain=complaints
    )
    trackers.start({}, training_record())
    train(trackers, range(1, 4))
    trackers.close("finished")
    assert complaints == ["broken tracks no more: ConnectionError: the network"]
    assert len(memory.logged) == 9


def test_a_tracker_that_cannot_start_ends_nothing(directory: TrainingDirectory) -> None:
    directory.tensorboard_folder.write_text("a file stands where the folder should be")
    complaints = Complaints()
    trackers = make_trackers((), directory, complain=complaints)
    trackers.start(CONFIG, training_record())
    train(trackers, range(1, 3))
    trackers.close("diverged")
    assert len(complaints) == 1


def test_points_within_an_epoch_come_at_intervals() -> None:
    times: Iterator[float] = iter([0.0, 4.9, 5.0, 5.1, 7.0, 10.2])
    trackers = Trackers([RemoteRun(Memory(), Path("unused"))], clock=lambda: next(times), interval_s=5.0)
    assert [trackers.is_due(), trackers.is_due()] == [False, True]
    trackers._tell = lambda tell: None  # type: ignore[method-assign]
    trackers.step(1, loss=1.0, learning_rate=0.1, images_per_s=1.0)
    assert [trackers.is_due(), trackers.is_due()] == [False, True]


def test_only_the_first_process_tracks(directory: TrainingDirectory) -> None:
    trackers = make_trackers((), directory, rank=1)
    assert not trackers.is_due()
    trackers.start(CONFIG, training_record())
    train(trackers, range(1, 3))
    trackers.close("finished")
    assert list(directory.path.iterdir()) == []


def test_unknown_trackers_are_refused(directory: TrainingDirectory) -> None:
    with pytest.raises(ValueError, match="a tracker must be one of tensorboard, wandb, mlflow, got 'comet'"):
        make_trackers(("comet",), directory)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_named_with_what_to_install(
    directory: TrainingDirectory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == name else object())
    with pytest.raises(ValueError, match=r'pip install "training-aware-nas\[tracking\]"'):
        make_trackers((name,), directory)
