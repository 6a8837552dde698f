"""A short training that is ended, killed, or denied its disk comes to the very result of one that was left alone."""

import errno
import itertools
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_trial
import torch
from tiny_trial import NUM_EPOCHS, STEPS_PER_EPOCH, TINY, Asker, Watched, tiny_proxy, watch

import proxies.accuracy
import proxies.short_training
from proxies.accuracy import AccuracyProxy, train_and_score
from proxies.accuracy_result import EpochProgress
from proxies.device import find_device
from proxies.infeasible import InfeasibleError
from proxies.training import checkpoint as files
from proxies.training.config import DataConfig, Fidelity, TrainConfig
from proxies.training_step import TrainingStep
from proxies.trial_checkpoint import InterruptedTrainingError, TrialCheckpoint

NUM_ASKED = NUM_EPOCHS * (STEPS_PER_EPOCH - 1 + 5) + NUM_EPOCHS - 1
"""After every step but an epoch's last, after each of 5 judged batches, and after every epoch but the last."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def proxy() -> AccuracyProxy:
    return tiny_proxy()


@pytest.fixture(scope="module")
def alone(proxy: AccuracyProxy) -> Watched:
    """The training that nobody interrupts."""
    torch.set_num_threads(1)
    asker = Asker()
    found = watch(proxy, checkpoint=TrialCheckpoint(stop_requested=asker))
    assert asker.count == NUM_ASKED
    return found


def attempt(proxy: AccuracyProxy, path: Path, *, stop_at: int | None = None, every_s: float = 1e9) -> Watched:
    notes: list[str] = []
    kept = TrialCheckpoint(path=path, every_s=every_s, stop_requested=Asker(stop_at), tell=notes.append)
    return watch(proxy, checkpoint=kept, notes=notes)


@pytest.fixture(scope="module")
def ended(proxy: AccuracyProxy, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a training that was ended after step 7 of 12, in its second epoch."""
    path = tmp_path_factory.mktemp("ended") / "trial.pt"
    with pytest.raises(InterruptedTrainingError):
        attempt(proxy, path, stop_at=12)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_ended_at_any_moment_it_goes_on_to_the_same_result(
    seed: int, proxy: AccuracyProxy, alone: Watched, tmp_path: Path
) -> None:
    """Between steps, while an epoch is judged, between epochs; again and again."""
    print(f"moments: seed {seed}")
    rng, path = random.Random(seed), tmp_path / "trial.pt"
    left = NUM_ASKED
    while left > 3:
        moment = rng.randrange(1, left)
        with pytest.raises(InterruptedTrainingError):
            attempt(proxy, path, stop_at=moment)
        left -= moment
    assert attempt(proxy, path).equals(alone)


@pytest.mark.slow
def test_every_single_moment_will_do(proxy: AccuracyProxy, alone: Watched, tmp_path: Path) -> None:
    for moment in range(1, NUM_ASKED + 1):
        path = tmp_path / f"{moment}.pt"
        with pytest.raises(InterruptedTrainingError):
            attempt(proxy, path, stop_at=moment)
        assert attempt(proxy, path).equals(alone), moment


def test_seconds_of_all_attempts_add_up(proxy: AccuracyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves on with every step, and with whatever is not training."""
    now, honest = [0.0], TrainingStep.__call__

    def takes_a_second(self: TrainingStep, *batch: Any) -> Any:
        now[0] += 1.0
        return honest(self, *batch)

    def stop_and_take_an_hour() -> bool:
        now[0] += 3600.0
        return next(asked) == 6

    monkeypatch.setattr(TrainingStep, "__call__", takes_a_second)
    asked = itertools.count(1)
    kept = TrialCheckpoint(path=tmp_path / "trial.pt", every_s=1.0, stop_requested=stop_and_take_an_hour)
    settings: dict[str, Any] = {
        "data": proxy.data, "config": proxy.train_config, "fidelity": proxy.fidelity, "seed": 5, "mode": proxy.mode,
        "device": proxy.device, "clock": lambda: now[0],
    }  # fmt: skip
    with pytest.raises(InterruptedTrainingError):
        train_and_score(TINY, checkpoint=kept, **settings)
    result = train_and_score(TINY, checkpoint=kept, **settings)
    assert [each.train_seconds for each in result.curve] == [STEPS_PER_EPOCH * epoch for epoch in (1, 2, 3)]


def test_epochs_of_earlier_attempts_are_told_again(proxy: AccuracyProxy, tmp_path: Path) -> None:
    kept = TrialCheckpoint(path=tmp_path / "trial.pt", stop_requested=Asker(NUM_ASKED - 3))
    told: list[EpochProgress] = []
    with pytest.raises(InterruptedTrainingError):
        proxy.evaluate(TINY, checkpoint=kept, on_epoch=told.append)
    again: list[EpochProgress] = []
    result = proxy.evaluate(TINY, checkpoint=replace(kept, stop_requested=Asker()), on_epoch=again.append)
    assert [each.epoch for each in again] == [1, 2, 3]
    assert tuple(again) == result.curve
    assert again[:2] == told


def script(path: Path, every_s: float, at: int, worse: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, tiny_trial.__file__, str(path), str(every_s), str(at), worse]
    root = str(Path(proxies.accuracy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", "")))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_goes_on_to_the_same_result(
    seed: int, proxy: AccuracyProxy, alone: Watched, tmp_path: Path
) -> None:
    """By SIGKILL, in the midst of writing a state; with a state after every step."""
    path, moment = tmp_path / "trial.pt", random.Random(seed).randrange(3, NUM_ASKED - 1)
    print(f"killed: seed {seed}, moment {moment}")
    assert script(path, 0.0, moment, "write").returncode == -9
    assert len(list(tmp_path.iterdir())) == 2, "what the killed one began to write lies beside its last state"
    last = attempt(proxy, path)
    assert [re.fullmatch(r"goes on after step \d+ of 12", note) is not None for note in last.notes] == [True]
    assert last.equals(alone)
    assert [each.name for each in tmp_path.iterdir()] == ["trial.pt"]


@pytest.mark.slow
def test_killed_between_states_it_goes_on_to_the_same_result(
    proxy: AccuracyProxy, alone: Watched, tmp_path: Path
) -> None:
    path = tmp_path / "trial.pt"
    assert script(path, 0.0, 12, "die").returncode == -9
    assert script(path, 0.0, 12, "die").returncode == -9
    assert attempt(proxy, path).equals(alone)


CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 6},
    "plan": {"resolution": 24},
    "parts": {"micro_batches": 2},
}


@pytest.mark.parametrize("change", CHANGES)
def test_of_another_training_nothing_is_taken_up(
    change: str, proxy: AccuracyProxy, ended: bytes, tmp_path: Path
) -> None:
    path, notes = tmp_path / "trial.pt", list[str]()
    path.write_bytes(ended)
    found = watch(proxy, checkpoint=TrialCheckpoint(path=path, tell=notes.append), **CHANGES[change])
    name = "plan" if change == "parts" else change
    assert notes == [f"begins anew; a checkpoint is left aside: it is of other {name}"]
    assert found.equals(watch(proxy, checkpoint=TrialCheckpoint(), **CHANGES[change]))
    assert path.read_bytes() == ended, "it may be the other's"


def test_of_other_images_or_another_recipe_nothing_is_taken_up(ended: bytes, tmp_path: Path) -> None:
    path, notes = tmp_path / "trial.pt", list[str]()
    path.write_bytes(ended)
    other = tiny_proxy(lr=1e-3)
    found = watch(other, checkpoint=TrialCheckpoint(path=path, images="others", tell=notes.append))
    assert found.equals(watch(other, checkpoint=TrialCheckpoint()))
    assert notes == ["begins anew; a checkpoint is left aside: it is of other train, images"]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_network(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["training"]["network"] = {
        name: value[:1] for name, value in state["training"]["network"].items() if value.ndim
    }
    torch.save(state, path)


DAMAGES: dict[str, Any] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "flipped": flipped,
    "zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "a list": lambda path: torch.save([1, 2], path),
    "nothing in it": lambda path: torch.save({}, path),
    "half of it": lambda path: torch.save(torch.load(path, weights_only=True) | {"training": None}, path),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "other shapes": of_another_network,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_left_aside(
    damage: str, proxy: AccuracyProxy, alone: Watched, ended: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "trial.pt"
    path.write_bytes(ended)
    DAMAGES[damage](path)
    found = attempt(proxy, path, every_s=0.0)
    reason = "it does not fit the network" if damage == "other shapes" else "it is damaged"
    assert found.notes[0] == f"begins anew; a checkpoint is left aside: {reason}"
    assert found.equals(alone)
    assert found.notes[1:] == (["goes on without a checkpoint: Is a directory"] if path.is_dir() else [])
    if path.is_file():
        assert attempt(proxy, path).facts == alone.facts
        assert path.stat().st_size < 5000, "it has been written over"


def test_a_full_disk_is_told_once_and_does_no_harm(
    proxy: AccuracyProxy, alone: Watched, ended: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: object, file: Any) -> None:
        file.write(b"a part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "trial.pt"
    path.write_bytes(ended)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_save", full)
        found = attempt(proxy, path, every_s=0.0)
    assert found.notes == ["goes on after step 7 of 12", "goes on without a checkpoint: No space left on device"]
    assert found.equals(alone)
    assert path.read_bytes() == ended, "the old one stays"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_a_really_full_disk_does_no_harm(alone: Watched, tmp_path: Path) -> None:
    """A file system of 32 KiB, in a mount namespace of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs unshare, and user namespaces")
    command = f"mount -t tmpfs -o size=32k tmpfs {tmp_path} && mkdir {tmp_path}/trials && exec {sys.executable} "
    command += f"{tiny_trial.__file__} {tmp_path}/trials/trial.pt 0 0 live"
    root = str(Path(proxies.accuracy.__file__).parents[1])
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *epochs, note = ended.stdout.splitlines()
    assert note == "goes on without a checkpoint: No space left on device"
    assert epochs == [f"{correct} {loss}" for correct, loss in alone.facts]


def test_no_folder_is_made_where_there_is_no_run(proxy: AccuracyProxy, tmp_path: Path) -> None:
    found = attempt(proxy, tmp_path / "run" / "checkpoints" / "trial.pt", every_s=0.0)
    assert found.notes == ["goes on without a checkpoint: No such file or directory"]
    assert not list(tmp_path.iterdir())


def test_a_short_training_writes_nothing_and_a_long_one_its_result(
    proxy: AccuracyProxy, alone: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trial.pt"
    assert attempt(proxy, path, every_s=1e9).equals(alone)
    assert not path.exists()
    assert attempt(proxy, path, every_s=0.0).equals(alone)
    assert path.stat().st_size < 5000, "what counts of a finished training is its curve"

    def built(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to be trained")

    monkeypatch.setattr(proxies.short_training, "build", built)
    assert attempt(proxy, path).facts == alone.facts


def test_a_slow_disk_is_written_to_less_often(
    proxy: AccuracyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of a second, states that take five: at most a twentieth of the time is spent with them."""
    now, writes, honest = [0.0], list[float](), TrainingStep.__call__

    def takes_a_second(self: TrainingStep, *batch: Any) -> Any:
        now[0] += 1.0
        return honest(self, *batch)

    def takes_long(state: object, path: Path, *, writer: str) -> None:
        writes.append(now[0])
        now[0] += 0.3

    monkeypatch.setattr(TrainingStep, "__call__", takes_a_second)
    monkeypatch.setattr("proxies.trial_checkpoint.write_checkpoint", takes_long)
    train_and_score(
        TINY, data=proxy.data, config=proxy.train_config, fidelity=proxy.fidelity, seed=5, mode=proxy.mode,
        device=proxy.device, clock=lambda: now[0],
        checkpoint=TrialCheckpoint(path=tmp_path / "trial.pt", every_s=2.0),
    )  # fmt: skip
    assert writes == pytest.approx([2.0, 8.3, 12.6]), "after 2 s; after 20 × 0.3 s; the result"


def test_writers_have_names_of_their_own_and_only_dead_ones_are_tidied(
    proxy: AccuracyProxy, alone: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, host = tmp_path / "trial.pt", socket.gethostname()
    with subprocess.Popen(["true"]) as process:
        pass
    living, dead = f".trial.pt.{host}.{os.getppid()}.aa.tmp", f".trial.pt.{host}.{process.pid}.aa.tmp"
    fresh, old = ".trial.pt.elsewhere.example.org.1.aa.tmp", ".trial.pt.elsewhere.example.org.2.aa.tmp"
    strange, others = ".trial.pt.tmp", f".other.pt.{host}.{process.pid}.aa.tmp"
    for name in (living, dead, fresh, old, strange, others):
        (tmp_path / name).write_text("part")
    os.utime(tmp_path / old, (time.time() - 7200,) * 2)
    opened: list[str] = []
    replaced = os.replace

    def watched(source: Path, target: Path) -> None:
        opened.append(source.name)
        replaced(source, target)

    monkeypatch.setattr(files.os, "replace", watched)
    assert attempt(proxy, path, every_s=0.0).equals(alone)
    with pytest.raises(InterruptedTrainingError):
        proxy.evaluate(TINY, seed=9, checkpoint=TrialCheckpoint(path=path, stop_requested=Asker(4)))
    assert {each.name for each in tmp_path.iterdir()} == {living, fresh, strange, others, "trial.pt"}
    assert len(set(opened)) == 2, "one for each attempt, of one process"
    assert all(name.startswith(f".trial.pt.{host}.{os.getpid()}.") for name in opened)


@pytest.mark.slow
def test_two_at_once_write_whole_states(tmp_path: Path, alone: Watched, proxy: AccuracyProxy) -> None:
    """The orphan of a driver that was killed, beside the next attempt."""
    path = tmp_path / "trial.pt"
    root = str(Path(proxies.accuracy.__file__).parents[1])
    orphan = subprocess.Popen(
        [sys.executable, tiny_trial.__file__, str(path), "0", "0", "live"], stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    rounds = 0
    while orphan.poll() is None or rounds < 2:
        assert attempt(proxy, path, every_s=0.0).facts == alone.facts
        path.unlink(missing_ok=True)
        rounds += 1
    assert orphan.returncode == 0


def test_memory_that_fails_after_it_went_on_lets_go_of_the_candidate(
    proxy: AccuracyProxy, ended: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, networks, honest = tmp_path / "trial.pt", list[weakref.ref[Any]](), proxies.short_training.build
    path.write_bytes(ended)

    def allocate_too_much(*_: object) -> None:
        torch.empty(2**50, dtype=torch.uint8)  # refused by the real allocator

    def build_and_fail(*args: Any, **settings: Any) -> Any:
        network = honest(*args, **settings)
        networks.append(weakref.ref(network))
        network.conv_stem.register_forward_hook(allocate_too_much)
        return network

    monkeypatch.setattr(proxies.short_training, "build", build_and_fail)
    with pytest.raises(InfeasibleError, match="out of memory on cpu"):
        attempt(proxy, path)
    assert [network() for network in networks] == [None]


@pytest.mark.gpu
def test_on_cuda_it_goes_on_to_nearly_the_same_result(tmp_path: Path) -> None:
    cuda = AccuracyProxy(
        data=DataConfig(), train=TrainConfig(ema_decay=0.9), fidelity=Fidelity(epochs=5, resolution=16),
        device=find_device("cuda"),
    )  # fmt: skip
    path, notes = tmp_path / "trial.pt", list[str]()
    kept = TrialCheckpoint(path=path, stop_requested=Asker(100), tell=notes.append)
    with pytest.raises(InterruptedTrainingError):
        cuda.evaluate(TINY, checkpoint=kept)
    found = cuda.evaluate(TINY, checkpoint=replace(kept, stop_requested=Asker()))
    assert len(notes) == 1
    assert abs(found.accuracy - cuda.evaluate(TINY).accuracy) < 0.1
