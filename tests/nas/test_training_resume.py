"""A training that is killed at any moment, and taken up by the same call, ends with the same weights bit for bit."""

import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from data_sets import write_png
from tiny_training import EVERYTHING_ON, STEPS_PER_EPOCH, Death, Nursery, state_of, tiny_config

from nas.full_training.directory import TrainingDirectory
from nas.full_training.record import read_record
from proxies.training.checkpoint import read_checkpoint

OFTEN: dict[str, object] = {"checkpoint_minutes": 1e-9}
"""A checkpoint after every step."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def expected(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What an uninterrupted training leaves."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert nursery.run(tiny_config(out, EVERYTHING_ON)) == 0
    state = state_of(out)
    assert state["training"]["steps_done"] == 6 * STEPS_PER_EPOCH
    yield state
    shutil.rmtree(out.parent)


def assert_equal(actual: Any, expected: Any, place: str = "") -> None:
    """Bit for bit, with the place of a difference."""
    assert type(actual) is type(expected), place
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected), place
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_equal(actual[key], value, f"{place}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected), place
        for number, value in enumerate(expected):
            assert_equal(actual[number], value, f"{place}[{number}]")
    else:
        assert actual == expected, place


def end_after(nursery: Nursery, deaths: list[Death], out: Path, overrides: dict[str, object]) -> dict[str, Any]:
    """Killed so often, and then left alone."""
    config = tiny_config(out, overrides)
    for death in deaths:
        assert nursery.run(config, death) == -signal.SIGKILL, f"it ended before it could be killed: {death}"
    assert nursery.run(config) == 0
    return state_of(out)


def events_of(out: Path) -> list[str]:
    return [event.text for event in read_record(TrainingDirectory(out).record_file).events]


def test_killed_in_the_middle_of_a_stage_and_of_an_epoch(
    nursery: Nursery, tmp_path: Path, expected: dict[str, Any]
) -> None:
    overrides = {**EVERYTHING_ON, **OFTEN}
    assert_equal(end_after(nursery, [Death(step=13)], tmp_path / "run", overrides), expected)
    assert events_of(tmp_path / "run") == ["from step 12"]


@pytest.mark.slow
def test_killed_with_the_last_checkpoint_long_ago(nursery: Nursery, tmp_path: Path, expected: dict[str, Any]) -> None:
    assert_equal(end_after(nursery, [Death(step=19)], tmp_path / "run", EVERYTHING_ON), expected)
    assert events_of(tmp_path / "run") == ["from step 15"]


@pytest.mark.slow
def test_killed_at_a_stage_border(nursery: Nursery, tmp_path: Path, expected: dict[str, Any]) -> None:
    """First when the last step of a stage is done, and then when that has been kept."""
    deaths = [Death(step=10), Death(file="last.pt", moment="after")]
    assert_equal(end_after(nursery, deaths, tmp_path / "run", EVERYTHING_ON), expected)
    assert events_of(tmp_path / "run") == ["from step 5", "from step 10"]


@pytest.mark.slow
def test_killed_between_the_checkpoint_and_the_best_weights(
    nursery: Nursery, tmp_path: Path, expected: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    config = tiny_config(out, EVERYTHING_ON)
    assert nursery.run(config, Death(file="best.pt", moment="before")) == -signal.SIGKILL
    assert not TrainingDirectory(out).best_checkpoint.exists()
    assert len(read_record(TrainingDirectory(out).record_file).epochs) == 1
    # Taken up, the weights of the first epoch are there before a step is done.
    assert nursery.run(config, Death(step=6)) == -signal.SIGKILL
    assert read_checkpoint(TrainingDirectory(out).best_checkpoint)["epoch"] == 1
    assert nursery.run(config) == 0
    assert_equal(state_of(out), expected)


def test_killed_while_a_checkpoint_is_written(nursery: Nursery, tmp_path: Path, expected: dict[str, Any]) -> None:
    out = tmp_path / "run"
    deaths = [Death(file="last.pt", count=3, moment="during"), Death(file="best.pt", moment="during")]
    assert_equal(end_after(nursery, deaths, out, EVERYTHING_ON), expected)
    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert names == {"last.pt", "judged.pt", "best.pt"}, "what a killed process left half written is gone"


@pytest.mark.slow
def test_killed_before_the_first_checkpoint(nursery: Nursery, tmp_path: Path, expected: dict[str, Any]) -> None:
    deaths = [Death(file="last.pt", count=1, moment="before"), Death(file="last.pt", count=1, moment="during")]
    assert_equal(end_after(nursery, deaths, tmp_path / "run", EVERYTHING_ON), expected)


@pytest.mark.slow
def test_killed_after_the_last_step(nursery: Nursery, tmp_path: Path, expected: dict[str, Any]) -> None:
    deaths = [Death(step=30), Death(file="last.pt", count=1, moment="after")]
    assert_equal(end_after(nursery, deaths, tmp_path / "run", EVERYTHING_ON), expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_within_a_step_and_loses_nothing(
    nursery: Nursery, number: signal.Signals, tmp_path: Path, expected: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    config = tiny_config(out, EVERYTHING_ON)
    assert nursery.run(config, Death(step=8, number=number)) == 130
    assert read_record(TrainingDirectory(out).record_file).state == "stopped"
    assert read_checkpoint(TrainingDirectory(out).last_checkpoint)["training"]["steps_done"] == 8
    assert nursery.run(config) == 0
    assert_equal(state_of(out), expected)
    assert events_of(out) == ["from step 8"]


@pytest.mark.slow
@pytest.mark.parametrize("case", range(3))
def test_killed_at_random_steps(nursery: Nursery, case: int, tmp_path: Path, expected: dict[str, Any]) -> None:
    rng = random.Random(case)
    steps = sorted(rng.sample(range(1, 31), 5))
    often = {"checkpoint_minutes": rng.choice([1e-9, 0.1 / 60])}
    print(f"seed {case}: killed after steps {steps}, {often}")
    assert_equal(
        end_after(nursery, [Death(step=step) for step in steps], tmp_path / "run", EVERYTHING_ON | often), expected
    )


def write_photos(folder: Path) -> Path:
    for label, name in enumerate(("cat", "cow", "dog")):
        for number in range(30):
            write_png(folder / name / f"{number}.png", 60 * label + number, size=(30, 28))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["rmsproptf", "sgd"])
def test_images_streamed_from_disk_by_any_number_of_processes(nursery: Nursery, optimizer: str, tmp_path: Path) -> None:
    overrides = {
        **EVERYTHING_ON, "data.source": f"imagefolder:{write_photos(tmp_path / 'photos')}",
        "data.memory_limit_gib": 0.0, "data.test_share": 0.1, "train.batch_size": 12, "train.optimizer": optimizer,
        "epochs": 3,
    }  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert nursery.run(tiny_config(whole, overrides)) == 0
    deaths = [Death(step=2), Death(step=8)]
    assert_equal(end_after(nursery, deaths, killed, overrides | OFTEN | {"data.num_workers": 1}), state_of(whole))


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        {"mode": "bfloat16-channels_last", "micro_batches": 3},
        {"train.optimizer": "lamb", "train.lr_schedule": "exponential", "train.ema_decay": None},
        {"progressive.resize": "random", "batch": "auto", "activation_checkpointing": True},
    ],
    ids=["parts in bfloat16", "lamb without average", "random sizes, recomputed"],
)
def test_other_settings(nursery: Nursery, overrides: dict[str, object], tmp_path: Path) -> None:
    everything = {**EVERYTHING_ON, **overrides}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert nursery.run(tiny_config(whole, everything)) == 0
    deaths = [Death(step=3), Death(step=17), Death(file="best.pt", moment="before")]
    assert_equal(end_after(nursery, deaths, killed, everything | OFTEN), state_of(whole))
