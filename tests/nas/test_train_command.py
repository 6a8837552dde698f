"""``nas train``: what it shows, what it refuses in one line, how it ends; alone, and under ``torchrun``."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from tiny_training import ARCHITECTURE, tiny_config

from nas.cli import main
from nas.full_training.directory import TrainingDirectory
from nas.full_training.preparation import read_images
from nas.full_training.record import TrainingRecord, read_record
from nas.full_training.request import request_training
from nas.full_training.run import train
from proxies.device import find_device
from proxies.infeasible import MemoryInfeasibleError
from proxies.training.checkpoint import read_checkpoint
from proxies.training_step import TrainingStep
from search_spaces.architecture import parse
from search_spaces.weights import load_pretrained

ROOT = Path(__file__).parents[2]
SMALL = (
    "--data", "digits", "--device", "cpu", "--mode", "float32-contiguous", "--batch-size", "36", "--epochs", "2",
    "--stages", "2",
    "--set", "data.test_share=0.8", "--set", "progressive.image_size=[16, 24]", "--set", "deterministic=true",
)  # fmt: skip


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_of(out: Path) -> TrainingRecord:
    return read_record(TrainingDirectory(out).record_file)


def test_it_shows_its_schedule_and_every_epoch(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, "--data", "digits", *SMALL, "--out", "run") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "16 px" in shown.out
    assert "24 px" in shown.out
    assert shown.out.index("RandAugment") < shown.out.index("epoch 1/2") < shown.out.index("epoch 2/2")
    assert "epoch 2/2 · stage 2, 24 px" in shown.out
    record = record_of(Path("run"))
    assert f"{record.num_train:,} images to learn from, {record.num_judged:,} to judge by" in shown.out
    # Again, it has nothing to do.
    assert nas(monkeypatch, "train", "--out", "run") == 0
    assert "epoch 1/2" not in capsys.readouterr().out


def test_the_plan_is_shown_and_nothing_else_happens(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, "--data", "digits", *SMALL, "--plan") == 0
    assert "24 px" in capsys.readouterr().out
    assert not list(in_tmp.iterdir())


def test_the_installed_recipes_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(monkeypatch, "train", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        path.stem for path in (ROOT / "experiments" / "training").glob("*.yaml")
    )
    assert all(len(line.split()) > 5 for line in lines), "each is described"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a network, or with --out the directory of a training to resume"),
        (("--out", "nowhere"), "name a network, or with --out the directory"),
        (("efficientnetv9",), "efficientnetv9"),
        ((ARCHITECTURE, "--set", "train.momentum=0.9"), "train.momentum"),
        ((ARCHITECTURE, "--preset", "peper"), "progressive.preset"),
        ((ARCHITECTURE, "--preset", "paper"), "progressive.preset paper is for efficientnetv2-s"),
        ((ARCHITECTURE, "--set", "progressive.image_size=[4, 24]"), "at least the total stride 8, got 4"),
        (
            (ARCHITECTURE, "--set", "progressive.image_size=[24, 16]"),
            "progressive.image_size must not shrink, got (24,",
        ),
        ((ARCHITECTURE, "--set", "test_size=7"), "test_size must be at least the total stride 8, got 7"),
        ((ARCHITECTURE, "--epochs", "0"), "epochs"),
        ((ARCHITECTURE, "--weights", "nowhere.safetensors"), "nowhere.safetensors"),
        ((ARCHITECTURE, "--weights", "text.safetensors"), "text.safetensors"),
        ((ARCHITECTURE, "--weights", "others.pt"), "others.pt"),
        ((ARCHITECTURE, "--data", "imagefolder:nowhere"), "nowhere"),
        ((ARCHITECTURE, "--data", "digitz"), "digitz"),
        ((ARCHITECTURE, "--recipe", "papers"), "papers"),
        ((ARCHITECTURE, "--mode", "float8-contiguous"), "mode"),
        ((ARCHITECTURE, "--device", "tpu"), "tpu"),
        ((ARCHITECTURE, "--set", 'track=["neptune"]'), "track"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    message: str,
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("text.safetensors").write_text("no tensors")
    torch.save({"conv_stem.weight": torch.zeros(3, 3)}, "others.pt")
    images = () if "--data" in arguments else ("--data", "digits")
    assert nas(monkeypatch, "train", *arguments, *images) == 2
    error = capsys.readouterr().err
    assert error.startswith("nas: ")
    assert error.count("\n") == 1
    assert message in error


def test_weights_of_another_network_are_refused(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--out", "run") == 0
    capsys.readouterr()
    wider = ARCHITECTURE.replace("c24", "c32")
    weights = ("--weights", "run/weights.safetensors")
    assert nas(monkeypatch, "train", wider, *SMALL, *weights, "--out", "other") == 2
    error = capsys.readouterr().err
    assert error.startswith("nas: ")
    assert error.count("\n") == 1


def test_a_mistake_may_be_put_right_in_the_same_directory(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--data", "imagefolder:nowhere", "--out", "run") == 2
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--data", "digits", "--out", "run") == 0
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--data", "digits", "--out", "run", "--seed", "1") == 2
    assert "run holds another training: seed was 0, now 1; " in capsys.readouterr().err


def test_images_must_be_named(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, "--recipe", "paper") == 2
    assert capsys.readouterr().err.startswith("nas: name the images with --data: digits, ")


def test_a_training_takes_its_images_along_and_needs_no_recipe_to_go_on(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--out", "run") == 0
    config = request_training("run", None, {"out": "other"})
    assert (config.data.source, config.architecture) == ("digits", record_of(Path("run")).architecture)
    capsys.readouterr()
    assert nas(monkeypatch, "train", "run", "--recipe", "code") == 2
    assert capsys.readouterr().err.startswith(
        "nas: a training that goes on has its settings already; leave --recipe code"
    )


def test_nothing_is_left_in_a_folder_that_is_refused(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("of somebody")
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--out", "mine") == 2
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]


# How it ends


@pytest.mark.parametrize(
    ("poison", "message", "state"),
    [
        (lambda loss: loss * float("nan"), "nas: loss is not finite in epoch 1, after 3 roll-backs", "diverged"),
        (MemoryInfeasibleError("no room"), "nas: out of memory in epoch 1; smaller train.batch_size", "running"),
    ],
    ids=["not finite", "no memory"],
)
def test_what_cannot_go_on_ends_in_one_line(
    poison: object,
    message: str,
    state: str,
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    honest = TrainingStep.__call__

    def poisoned(self: TrainingStep, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if isinstance(poison, Exception):
            raise poison
        assert callable(poison)
        return poison(honest(self, images, targets))  # type: ignore[no-any-return]

    monkeypatch.setattr(TrainingStep, "__call__", poisoned)
    assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--out", "run") == 1
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert record_of(Path("run")).state == state


def test_a_full_disk_is_one_line(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert nas(monkeypatch, "train", ARCHITECTURE, *SMALL, "--out", "run") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err
    assert error.startswith("nas: File too large (run); ")
    assert error.count("\n") == 1
    assert nas(monkeypatch, "train", "--out", "run") == 0


# Several processes


def torchrun(out: Path, *arguments: str, processes: int = 2) -> "subprocess.Popen[str]":
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m", "nas")
    settings = (
        "--data", "digits", "--device", "cpu", "--mode", "float32-contiguous", "--batch-size", "36", "--epochs", "12",
        "--stages", "2",
        "--set", "data.test_share=0.8", "--set", "progressive.image_size=[16, 24]", "--set", "deterministic=true",
        "--set", "progressive.mixup=[0.2, 0.2]", "--set", "progressive.dropout=[0.1, 0.2]",
        "--set", "checkpoint_minutes=0.001",
    )  # fmt: skip
    command = [sys.executable, *launcher, "train", ARCHITECTURE, *settings, "--out", str(out), *arguments]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def has_kept(out: Path, epochs: int) -> Callable[[], bool]:
    return lambda: TrainingDirectory(out).record_file.exists() and len(record_of(out).epochs) >= epochs


def rank_of(process: "subprocess.Popen[str]", rank: int) -> psutil.Process:
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if child.environ().get("RANK") == str(rank))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_train_and_are_taken_up_by_any_number(tmp_path: Path) -> None:
    out = tmp_path / "run"

    # One of them is killed: none waits for it for ever.
    process = torchrun(out)
    until(has_kept(out, 1), process)
    rank_of(process, 1).send_signal(signal.SIGKILL)
    process.communicate(timeout=200)
    assert process.returncode != 0
    kept = read_checkpoint(TrainingDirectory(out).last_checkpoint)["training"]["steps_done"]
    assert kept >= 5

    # They are told to stop, and do so within some steps.
    process = torchrun(out)
    until(has_kept(out, len(record_of(out).epochs) + 1), process)
    process.terminate()
    _, errors = process.communicate(timeout=200)
    assert process.returncode != 0
    record = record_of(out)
    assert record.state == "stopped", errors
    assert record.world_size == 2
    assert [event.kind for event in record.events] == ["resumed"]
    assert len(record.epochs) < 12

    # One goes on alone.
    alone = tmp_path / "alone"
    shutil.copytree(out, alone)
    overrides: dict[str, object] = {
        "epochs": 12, "progressive.num_stages": 2, "progressive.mixup": [0.2, 0.2], "progressive.dropout": [0.1, 0.2],
    }  # fmt: skip
    command = [sys.executable, "-m", "nas", "train", "--out", str(alone)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert record_of(alone).state == "finished"
    assert record_of(alone).world_size == 1
    assert tiny_config(alone, overrides).epochs == record_of(alone).num_epochs

    # And two go on together; one of them speaks, and counts every image once.
    process = torchrun(out)
    shown, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert shown.count("epoch 12/12") == 1
    assert shown.count("weights:") == 1
    record = record_of(out)
    assert record.state == "finished"
    assert {entry.num_judged for entry in record.epochs} == {record.num_judged}
    assert record.best is not None
    config = tiny_config(out, {"data.test_share": 0.8})
    network = load_pretrained(parse(record.architecture), TrainingDirectory(out).weights_file).network.eval()
    correct = 0
    for images, labels in read_images(config, find_device("cpu")).minival.in_order(batch_size=64, resolution=24):
        with torch.no_grad():
            correct += int((network(images).argmax(1) == labels).sum())
    assert correct == record.best.ema_num_correct


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_one_process_meets_rolls_all_of_them_back(tmp_path: Path) -> None:
    """Once each, though one may have read the last checkpoint long before another: none may write a newer one first."""
    out = tmp_path / "run"
    support = ROOT / "tests" / "support"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, *launcher, str(support / "poisoned_worker.py"), str(out)]
    path = os.pathsep.join((str(ROOT), str(support)))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    record = record_of(out)
    assert record.state == "finished"
    assert [event.text for event in record.events] == [
        "loss is not finite in epoch 2; back to step 5, learning rate × 0.5",
        "weights are not finite after step 10; back to step 5, learning rate × 0.25",
    ]
    first, second, third = (entry.learning_rate for entry in record.epochs)
    alone = tiny_config(tmp_path / "alone", {"epochs": 3})
    expected = [entry.learning_rate for entry in train(alone).epochs]
    assert [first, 4 * second, 4 * third] == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_batch_that_two_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    process = torchrun(tmp_path / "run", "--batch-size", "35")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "nas: train.batch_size must be a multiple of the 2 processes" in errors


@pytest.mark.gpu
def test_on_cuda_a_training_learns_and_its_weights_are_the_recorded(tmp_path: Path) -> None:
    overrides: dict[str, object] = {
        "device": "cuda", "mode": "bfloat16-channels_last", "data.test_share": 0.1, "epochs": 6,
        "deterministic": False, "memory_gib": None, "batch": "auto",
    }  # fmt: skip
    config = tiny_config(tmp_path / "run", overrides)
    record = train(config)
    assert record.best is not None
    assert record.best.judged_accuracy > 0.5
    assert TrainingDirectory(config.out).weights_file.exists()


@pytest.mark.gpu
@pytest.mark.timeout(600)
def test_on_cuda_one_process_joins_a_group_of_nccl(tmp_path: Path) -> None:
    """One alone has no group; so two, where there are two GPUs."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    process = torchrun(tmp_path / "run", "--device", "cuda", "--set", "sync_batch_norm=true")
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert record_of(tmp_path / "run").world_size == 2
