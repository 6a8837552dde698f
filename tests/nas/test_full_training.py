"""A network trained to the end: what it leaves, what it refuses, and what it does when something goes wrong."""

import csv
import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_sets import write_folder
from tiny_training import NUM_IMAGES, curves_of, state_of, tiny_config
from torch import Tensor

from nas.full_training import keeping, session
from nas.full_training.config import TrainingConfig
from nas.full_training.directory import TrainingDirectory
from nas.full_training.observer import TrainingObserver
from nas.full_training.preparation import read_images
from nas.full_training.record import EpochRecord, TrainingRecord, read_record
from nas.full_training.run import RefusedTrainingError, plan, train
from nas.full_training.session import DivergedTrainingError
from nas.run_directory import RunDirectoryError
from nas.run_lock import locked
from proxies.device import find_device
from proxies.infeasible import MemoryInfeasibleError
from proxies.training.checkpoint import read_checkpoint
from proxies.training.progressive import PlannedEpoch, ProgressiveStage
from proxies.training_step import TrainingStep
from search_spaces.architecture import parse
from search_spaces.tensor_files import read_tensors
from search_spaces.weights import load_pretrained

CPU = find_device("cpu")
LEARN: dict[str, object] = {
    "data.test_share": 0.1, "epochs": 4, "train.batch_size": 32, "progressive.num_stages": 2, "train.lr": 0.02,
    "train.warmup_epochs": 0.5, "train.ema_decay": 0.95,
}  # fmt: skip
SHORT: dict[str, object] = {"epochs": 3, "progressive.num_stages": 3}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    config = tiny_config(tmp_path_factory.mktemp("trained") / "run", LEARN)
    train(config)
    return config


def record_of(config: TrainingConfig) -> TrainingRecord:
    return read_record(TrainingDirectory(config.out).record_file)


def count_correct(network: torch.nn.Module, config: TrainingConfig, size: int) -> int:
    """On the judging images, by a plain loop."""
    network.eval()
    correct = 0
    for images, labels in read_images(config, CPU).minival.in_order(batch_size=50, resolution=size):
        with torch.no_grad():
            correct += int((network(images).argmax(1) == labels).sum())
    return correct


# What it leaves


def test_it_learns(trained: TrainingConfig) -> None:
    record = record_of(trained)
    assert record.state == "finished"
    losses = [entry.train_loss for entry in record.epochs]
    assert losses[-1] < 0.8 * losses[0]
    assert record.epochs[-1].accuracy > 0.5, "one in ten is chance"
    assert record.best is not None
    assert record.best.judged_accuracy == max(entry.judged_accuracy for entry in record.epochs)
    assert [stage.resolution for stage in record.stages] == [16, 24]
    assert [entry.stage for entry in record.epochs] == [1, 1, 2, 2]
    assert (record.source, record.num_classes, record.in_channels, record.test_size) == ("digits", 10, 1, 24)
    assert record.num_judged == {entry.num_judged for entry in record.epochs}.pop()
    assert all(entry.num_trained == 32 * (record.num_train // 32) for entry in record.epochs)
    assert all(entry.train_seconds > 0 and entry.eval_seconds > 0 for entry in record.epochs)


def test_its_directory_holds_all_of_it(trained: TrainingConfig) -> None:
    directory = TrainingDirectory(trained.out)
    record = record_of(trained)
    rows = list(csv.DictReader(directory.curves_file.open()))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["train_loss"]) for row in rows] == [entry.train_loss for entry in record.epochs]
    assert [row["resolution"] for row in rows] == ["16", "16", "24", "24"]
    assert directory.config_file.exists()
    assert directory.environment_file.exists()
    assert directory.last_checkpoint.exists()
    assert list(directory.tensorboard_folder.iterdir())
    assert not list(trained.out.rglob("*.tmp"))


def test_the_weights_to_take_away_have_the_accuracy_they_are_told_to_have(trained: TrainingConfig) -> None:
    record = record_of(trained)
    path = TrainingDirectory(trained.out).weights_file
    pretrained = load_pretrained(parse(record.architecture), path)
    assert (pretrained.settings.num_classes, pretrained.settings.in_channels) == (10, 1)
    assert record.best is not None
    assert count_correct(pretrained.network, trained, record.test_size) == record.best.ema_num_correct
    metadata = read_tensors(path)[1]
    assert float(metadata["accuracy"]) == pytest.approx(record.best.judged_accuracy, abs=1e-6)
    assert int(metadata["epoch"]) == record.best.epoch


def test_weights_and_their_average_are_judged_each(trained: TrainingConfig) -> None:
    record = record_of(trained)
    last = read_checkpoint(TrainingDirectory(trained.out).last_checkpoint)["training"]
    network = load_pretrained(parse(record.architecture), TrainingDirectory(trained.out).weights_file).network
    for name, expected in (("network", record.epochs[-1].num_correct), ("ema", record.epochs[-1].ema_num_correct)):
        network.load_state_dict(last[name])
        assert count_correct(network, trained, record.test_size) == expected


@pytest.mark.slow
def test_without_an_average_the_weights_count(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "run", {**SHORT, "train.ema_decay": None})
    record = train(config)
    assert {entry.ema_num_correct for entry in record.epochs} == {None}
    best = read_checkpoint(TrainingDirectory(config.out).best_checkpoint)
    weights = read_tensors(TrainingDirectory(config.out).weights_file)[0]
    assert all(torch.equal(best["network"][name], value) for name, value in weights.items())


def test_fine_tuning_takes_all_but_the_classifier(trained: TrainingConfig, tmp_path: Path) -> None:
    weights = TrainingDirectory(trained.out).weights_file
    photos = write_folder(tmp_path / "photos", ("a", "b", "c"), mode="L")
    told: list[str] = []

    class Notes(TrainingObserver):
        def planned(self, record: TrainingRecord, *, notes: tuple[str, ...], steps_done: int, num_steps: int) -> None:
            told.extend(notes)

    overrides: dict[str, object] = {
        "weights": str(weights), "data.source": f"imagefolder:{photos}", "data.test_share": 0.34,
        "data.minival_share": 0.34, "train.batch_size": 2, "train.lr": 1e-9, "epochs": 1, "train.ema_decay": None,
    }  # fmt: skip
    config = tiny_config(tmp_path / "run", overrides)
    record = train(config, Notes())
    assert (record.num_classes, record.initial_weights) == (3, str(weights))
    assert any("classifier" in note for note in told), told
    before = read_tensors(weights)[0]
    after = read_checkpoint(TrainingDirectory(config.out).last_checkpoint)["training"]["network"]
    for name, value in before.items():
        if "classifier" in name:
            assert after[name].shape[0] == 3
        elif "running" not in name and "num_batches" not in name and after[name].shape == value.shape:
            torch.testing.assert_close(after[name], value, atol=1e-5, rtol=0, msg=name)


def test_a_training_with_sizes_drawn_is_judged_at_the_largest(tmp_path: Path) -> None:
    for seed in range(5):
        config = tiny_config(tmp_path / "run", {"progressive.resize": "random", "seed": seed})
        record = plan(config)
        assert record.test_size == parse(record.architecture).resolution == 24
    assert not (tmp_path / "run").exists()


# What it refuses


def test_running_again_on_a_finished_one_does_nothing(trained: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def times() -> dict[Path, int]:
        kept = [path for path in trained.out.rglob("*") if path.suffix in (".pt", ".safetensors", ".csv")]
        return {path: path.stat().st_mtime_ns for path in [*kept, TrainingDirectory(trained.out).record_file]}

    def never(*_: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(TrainingStep, "__call__", never)
    before = times()
    assert train(trained) == record_of(trained)
    assert times() == before


@pytest.mark.parametrize(
    ("change", "name"),
    [({"seed": 1}, "seed"), ({"train.lr": 0.03}, "train"), ({"progressive.num_stages": 3}, "progressive"),
     ({"data.split_seed": 4}, "data"), ({"deterministic": False}, "deterministic")],
)  # fmt: skip
def test_another_training_is_refused_by_what_changed(
    change: dict[str, object], name: str, trained: TrainingConfig
) -> None:
    with pytest.raises(RunDirectoryError, match=f"holds another training: {name} was .*, now .*--out$") as caught:
        train(tiny_config(trained.out, {**LEARN, **change}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"checkpoint_minutes": 1.0}, {"threads": 1}, {"data.num_workers": 1}])
def test_what_does_not_change_the_weights_may_change(change: dict[str, object], trained: TrainingConfig) -> None:
    assert train(tiny_config(trained.out, {**LEARN, **change})).state == "finished"


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    search, foreign = tmp_path / "search", tmp_path / "foreign"
    for folder, names in ((search, ("study.db", "config.yaml")), (foreign, ("thesis.tex",))):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("dear to somebody")
    with pytest.raises(RunDirectoryError, match=r"holds a search; give the training a directory of its own"):
        train(tiny_config(search))
    with pytest.raises(RunDirectoryError, match=r"is not empty and holds no training: thesis\.tex$"):
        train(tiny_config(foreign))
    assert [path.name for path in foreign.iterdir() if not path.name.startswith(".")] == ["thesis.tex"]


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunDirectoryError, match=f"^{tmp_path} is in use by process "):
        train(tiny_config(tmp_path))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"weights": "/nowhere/net.safetensors"}, "/nowhere/net.safetensors"),
        ({"data.source": "imagefolder:/nowhere"}, "/nowhere"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"micro_batches": 30}, "micro_batches must be at least 1 and leave 2 images"),
        ({"progressive.preset": "paper"}, "progressive.preset paper is for efficientnetv2-s"),
    ],
)
def test_what_cannot_begin_is_refused_in_a_line(overrides: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedTrainingError, match=message) as caught:
        train(tiny_config(tmp_path / "run", overrides))
    assert "\n" not in str(caught.value)


# When the loss is not finite


class Events(TrainingObserver):
    """What was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def happened(self, event: session.Event) -> None:
        self.texts.append(f"{event.kind}: {event.text}")


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[TrainingStep, int, Tensor], Tensor]) -> None:
    """Change the network or the loss after steps, by their number over all attempts, from 1."""
    honest, count = TrainingStep.__call__, 0

    def tampered(self: TrainingStep, images: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return change(self, count, honest(self, images, targets))

    monkeypatch.setattr(TrainingStep, "__call__", tampered)


def is_finite(tensors: dict[str, Tensor]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in tensors.values())


def test_a_loss_that_is_not_finite_rolls_back_with_half_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tiny_config(tmp_path / "quiet", SHORT))
    tamper(monkeypatch, lambda _, count, loss: loss * float("nan") if count == 8 else loss)
    events = Events()
    record = train(tiny_config(tmp_path / "run", SHORT), events)
    assert events.texts == ["rolled back: loss is not finite in epoch 2; back to step 5, learning rate × 0.5"]
    assert [event.kind for event in record.events] == ["rolled back"]
    assert record.state == "finished"
    assert curves_of(record)[0] == curves_of(expected)[0]
    rates = [entry.learning_rate for entry in record.epochs]
    assert rates == pytest.approx(
        [f * entry.learning_rate for f, entry in zip((1, 0.5, 0.5), expected.epochs, strict=True)]
    )


def test_after_three_roll_backs_it_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, lambda _, count, loss: loss * float("inf") if count > 7 else loss)
    config = tiny_config(tmp_path / "run", SHORT)
    with pytest.raises(DivergedTrainingError, match=r"^loss is not finite in epoch 2, after 3 roll-backs"):
        train(config)
    record = record_of(config)
    assert record.state == "diverged"
    assert [event.text.split(", ")[-1] for event in record.events] == [
        "learning rate × 0.5", "learning rate × 0.25", "learning rate × 0.125"
    ]  # fmt: skip
    assert len(record.epochs) == 1
    assert is_finite(read_checkpoint(TrainingDirectory(config.out).last_checkpoint)["training"]["network"])


def break_weight(step: TrainingStep) -> None:
    next(step.network.parameters()).data[0] = float("nan")


def break_statistics(step: TrainingStep) -> None:
    """As activations of 10²⁰ do in single precision, while the loss stays finite: they are normalised."""
    next(value for name, value in step.network.named_buffers() if name.endswith("running_var"))[0] = float("inf")


@pytest.mark.parametrize("break_it", [break_weight, break_statistics])
@pytest.mark.parametrize("at", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_what_is_not_finite_is_never_kept(
    at: int, break_it: Callable[[TrainingStep], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step of the first epoch, whose weights would be the best so far, or in mid-epoch."""

    def change(step: TrainingStep, count: int, loss: Tensor) -> Tensor:
        if count == at:
            break_it(step)
        return loss

    tamper(monkeypatch, change)
    writes: list[bool] = []
    write = keeping.write_checkpoint

    def watched(state: dict[str, dict[str, dict[str, Tensor]]], path: Path) -> None:
        networks = state.get("training", state)
        writes.append(is_finite(networks["network"]) and is_finite(networks["ema"]))  # type: ignore[arg-type]
        write(state, path)

    monkeypatch.setattr(keeping, "write_checkpoint", watched)
    config = tiny_config(tmp_path / "run", {**SHORT, "checkpoint_minutes": 1e-9})
    record = train(config)
    assert record.state == "finished"
    assert len(record.events) == 1
    assert f"weights are not finite after step {at}" in record.events[0].text or "loss" in record.events[0].text
    assert all(writes)
    assert is_finite(read_tensors(TrainingDirectory(config.out).weights_file)[0])


# When memory does not suffice


def fail_at(monkeypatch: pytest.MonkeyPatch, is_too_much: Callable[[int, TrainingStep], bool]) -> None:
    """The allocator's error, at parts of batches by their number over all attempts, from 1."""
    honest, count = TrainingStep._backward, 0

    def failing(self: TrainingStep, images: Tensor, targets: Tensor, *, share: float) -> Tensor:
        nonlocal count
        count += 1
        if is_too_much(count, self):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return honest(self, images, targets, share=share)

    monkeypatch.setattr(TrainingStep, "_backward", failing)


def test_after_a_lack_of_memory_batches_come_in_smaller_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the step that failed stays: neither its first part's gradients nor the steps after the checkpoint."""
    overrides = {**SHORT, "micro_batches": 2}
    ended = {}
    for name, failing in (("first part", 13), ("second part", 14)):
        with monkeypatch.context() as patch:
            fail_at(patch, lambda count, _, failing=failing: count == failing)
            config = tiny_config(tmp_path / name, overrides)
            record = train(config)
        assert record.state == "finished"
        assert [event.text for event in record.events] == ["out of memory; batches in 4 parts from step 5"]
        assert [stage.micro_batches for stage in record.stages] == [2, 4, 4]
        ended[name] = state_of(config.out)
    first, second = ended["first part"], ended["second part"]
    assert first["curves"] == second["curves"]
    for name, value in first["training"]["network"].items():
        assert torch.equal(second["training"]["network"][name], value), name


@pytest.mark.slow
def test_later_stages_of_small_batches_keep_two_images_in_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, lambda _, step: step.micro_batches < 16)
    honest = session.Session.start

    def start(self: session.Session) -> None:
        stages = (self._record.stages[0], *(replace(stage, batch_size=6) for stage in self._record.stages[1:]))
        self._record = replace(self._record, stages=stages)
        self._training.plan = replace(self._training.plan, stages=stages)
        # Only the first stage is too large.
        honest(self)

    monkeypatch.setattr(session.Session, "start", start)
    with pytest.raises(MemoryInfeasibleError, match=r"^out of memory in epoch 2; smaller train.batch_size needs less"):
        train(config := tiny_config(tmp_path / "run", SHORT))
    assert [stage.micro_batches for stage in record_of(config).stages] == [16, 2, 2]


@pytest.mark.slow
def test_parts_of_two_images_are_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(monkeypatch, lambda *_: True)
    with pytest.raises(MemoryInfeasibleError, match=r"^out of memory in epoch 1; smaller train.batch_size needs less"):
        train(config := tiny_config(tmp_path / "run", SHORT))
    assert record_of(config).stages[0].micro_batches == 16


# When the disk is full, or a file is damaged


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FullDisk(TrainingObserver):
    """From the first step of the second epoch on."""

    def stepped(self, planned: object, *, steps_done: int) -> None:
        if steps_done == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    expected = tiny_config(tmp_path / "quiet", SHORT)
    train(expected)
    config = tiny_config(tmp_path / "run", SHORT)
    with largest_file(10_000_000), pytest.raises(OSError, match="File too large"):
        train(config, FullDisk())
    directory = TrainingDirectory(config.out)
    assert read_checkpoint(directory.last_checkpoint)["training"]["steps_done"] == 5
    assert not list(config.out.rglob("*.tmp"))
    assert train(config).state == "finished"
    first, second = state_of(config.out), state_of(expected.out)
    assert first["curves"] == second["curves"]
    assert all(torch.equal(value, first["weights"][0][name]) for name, value in second["weights"][0].items())


@pytest.mark.parametrize(
    "function",
    [
        "write_checkpoint",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("write_tensors", "write_record", "write_curves")),
    ],
)
def test_whatever_cannot_be_written_it_goes_on_later(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, count = getattr(keeping, function), 0

    def full(*arguments: object) -> None:
        nonlocal count
        count += 1
        # The third write of a checkpoint is the best's, after the first epoch; of other files it is a later one.
        if count == (3 if function == "write_checkpoint" else 2):
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(*arguments)

    config = tiny_config(tmp_path / "run", SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(keeping, function, full)
        with pytest.raises(OSError, match="No space left"):
            train(config)
    assert train(config).state == "finished"
    best = read_checkpoint(TrainingDirectory(config.out).best_checkpoint)
    record = record_of(config)
    assert record.best is not None
    assert best["epoch"] == record.best.epoch
    assert int(read_tensors(TrainingDirectory(config.out).weights_file)[1]["epoch"]) == record.best.epoch


class StopIn(TrainingObserver):
    class Stop(Exception):
        pass

    def epoch(self, record: EpochRecord, stage: ProgressiveStage, *, is_best: bool) -> None:
        if record.epoch == 2:
            raise self.Stop


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(StopIn.Stop):
        train(tiny_config(out, SHORT), StopIn())
    return out


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "a text"])
def test_a_damaged_checkpoint_is_refused_in_a_line_that_helps(damage: str, interrupted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(interrupted, tmp_path / "run")
    path = TrainingDirectory(out).last_checkpoint
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "truncated": whole[:1000], "garbage": bytes(range(256)) * 9, "a text": b"x: 1"}[damage]
    )
    with pytest.raises(
        RefusedTrainingError, match=r"must be a whole checkpoint, .* remove it to begin anew: "
    ) as caught:
        train(tiny_config(out, SHORT))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_without_its_checkpoint_a_training_begins_anew(interrupted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(interrupted, tmp_path / "run")
    TrainingDirectory(out).last_checkpoint.unlink()
    record = train(tiny_config(out, SHORT))
    assert record.state == "finished"
    assert [entry.epoch for entry in record.epochs] == [1, 2, 3]


def test_images_that_changed_meanwhile_are_refused(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "photos", mode="L")
    overrides: dict[str, object] = {
        **SHORT, "data.source": f"imagefolder:{photos}", "data.test_share": 0.34, "data.minival_share": 0.34,
        "train.batch_size": 2, "judge_every": 1,
    }  # fmt: skip
    config = tiny_config(tmp_path / "run", overrides)
    with pytest.raises(StopIn.Stop):
        train(config, StopIn())
    for number in range(8):
        shutil.copy(photos / "cat" / "0.png", photos / "cat" / f"more{number}.png")
    with pytest.raises(RefusedTrainingError, match=r"^imagefolder:.* has changed since: num_train was \d+, now \d+$"):
        train(config)


@pytest.mark.parametrize("name", ["training.json", "config.yaml"])
def test_other_damaged_files_are_refused_in_a_line(name: str, interrupted: Path, tmp_path: Path) -> None:
    out = shutil.copytree(interrupted, tmp_path / "run")
    (out / name).write_text("{[")
    with pytest.raises((RefusedTrainingError, RunDirectoryError), match=name) as caught:
        train(tiny_config(out, SHORT))
    assert "\n" not in str(caught.value)


# What a fresh pair of eyes found


def test_a_state_that_leads_nowhere_is_given_up_for_the_last_one_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest checkpoint is finite, but already on its way out: whoever goes on from there diverges again."""
    bad: list[bool] = []

    def poisoned(step: TrainingStep, count: int, loss: Tensor) -> Tensor:
        # After step 8 the checkpoint in mid-epoch is poisoned; twice what goes on from it diverges.
        bad.append(count in (9, 10))
        return loss * float("nan") if bad[-1] else loss

    tamper(monkeypatch, poisoned)
    config = tiny_config(tmp_path / "run", {**SHORT, "checkpoint_minutes": 1e-9})
    record = train(config)
    steps = [event.text.split("; back to ")[1].split(",")[0] for event in record.events]
    assert steps == ["step 8", "step 5"]
    assert record.state == "finished"


def test_epochs_of_a_step_are_judged_several_at_a_time(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "run", {"train.batch_size": NUM_IMAGES, "epochs": 12})
    record = train(config)
    assert [entry.epoch for entry in record.epochs] == [5, 10, 12]
    assert [entry.num_trained for entry in record.epochs] == [5 * NUM_IMAGES, 5 * NUM_IMAGES, 2 * NUM_IMAGES]
    again = tiny_config(tmp_path / "again", {"train.batch_size": NUM_IMAGES, "epochs": 12, "judge_every": 3})
    assert [entry.epoch for entry in train(again).epochs] == [3, 6, 9, 12]


class StopAfter(TrainingObserver):
    """Asks for an end, as a scheduler does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def stepped(self, planned: PlannedEpoch, *, steps_done: int) -> None:
        if steps_done == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_other_labels_of_the_same_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path / "run", SHORT)
    stop = StopAfter(3)
    with pytest.raises(session.StoppedTrainingError):
        train(config, stop)
    path = TrainingDirectory(config.out).last_checkpoint
    state = read_checkpoint(path)
    state["record"] = state["record"].replace('"data_digest": "', '"data_digest": "0')
    torch.save(state, path)
    with pytest.raises(RefusedTrainingError, match="digits has changed since: other images, or other labels"):
        train(config)


def test_what_differs_in_memory_may_be_asked_for_anew(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "run", SHORT)
    with pytest.raises(session.StoppedTrainingError):
        train(config, StopAfter(3))
    record = train(tiny_config(tmp_path / "run", {**SHORT, "micro_batches": 3}))
    assert {stage.micro_batches for stage in record.stages} == {3}
    assert record.state == "finished"
