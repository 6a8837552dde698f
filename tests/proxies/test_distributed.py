"""Several processes that train one network do what one does that computes their parts one after another."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from distributed_steps import WORLD_SIZE, gradients_of_steps, make_step

from proxies.training.distributed import ALONE, Processes, device_of, started_by_torchrun

SUPPORT = Path(__file__).parents[1] / "support"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(rank: int, port: int, arguments: list[str]) -> "subprocess.Popen[str]":
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": WORLD_SIZE, "MASTER_PORT": port}
    environment = {
        **os.environ,
        **{name: str(value) for name, value in place.items()},
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join((str(SUPPORT.parents[1]), str(SUPPORT))),
    }
    command = [sys.executable, str(SUPPORT / "gloo_worker.py"), *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def micro_batches(request: pytest.FixtureRequest) -> int:
    """Parts in which each process computes its share."""
    return int(request.param)


@pytest.fixture(scope="module")
def found(micro_batches: int, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each process found."""
    out, port = tmp_path_factory.mktemp("ranks"), free_port()
    workers = [start(rank, port, [str(out), str(micro_batches)]) for rank in range(WORLD_SIZE)]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


def test_they_get_the_gradients_of_one_that_accumulates(found: list[dict[str, Any]], micro_batches: int) -> None:
    """Batch norm sees the same parts of every batch in both. In float64, and as closely as it adds up."""
    alone: dict[str, Any] = gradients_of_steps(make_step(WORLD_SIZE * micro_batches))
    for rank in found:
        for number, gradients in enumerate(alone["gradients"]):
            assert rank["gradients"][number].keys() == gradients.keys()
            for name, gradient in gradients.items():
                torch.testing.assert_close(
                    rank["gradients"][number][name], gradient, rtol=1e-6, atol=1e-9, msg=f"{name}, step {number}"
                )
        for kind in ("weights", "averaged"):
            for name, weight in alone[kind].items():
                torch.testing.assert_close(rank[kind][name], weight, rtol=1e-6, atol=1e-9, msg=f"{kind} {name}")
    # Each has the mean loss of its own part.
    for number, loss in enumerate(alone["losses"]):
        torch.testing.assert_close((found[0]["losses"][number] + found[1]["losses"][number]) / 2, loss)
        assert found[0]["losses"][number] != found[1]["losses"][number]


def test_they_stay_one_network_bit_for_bit(found: list[dict[str, Any]]) -> None:
    for kind in ("weights", "averaged", "statistics"):
        for name, value in found[0][kind].items():
            assert torch.equal(found[1][kind][name], value), f"{kind} {name}"


def test_without_the_others_gradients_it_would_differ() -> None:
    """The comparison above can fail: half a batch alone has other gradients."""
    alone: dict[str, Any] = gradients_of_steps(make_step(WORLD_SIZE))
    half: dict[str, Any] = gradients_of_steps(make_step(1), rank=0, world_size=WORLD_SIZE)
    name = "conv_stem.weight"
    difference = (alone["gradients"][0][name] - half["gradients"][0][name]).abs().max()
    assert difference > 1e-3 * alone["gradients"][0][name].abs().max()


def test_what_they_tell_each_other(found: list[dict[str, Any]]) -> None:
    for rank, each in enumerate(found):
        told = each["collectives"]
        assert told["own"].item() == rank + 1, "a question leaves its own value as it was"
        assert [told[name].item() for name in ("sum", "mean", "least", "tensor")] == [3.0, 1.5, 1.0, 1.0]
        assert told["object"] == "of 0"


def test_one_alone_asks_nobody() -> None:
    value = torch.tensor([3.0])
    assert ALONE.is_first
    assert [each.item() for each in (ALONE.sum(value), ALONE.mean(value), ALONE.least(value))] == [3.0] * 3
    assert ALONE.object_from_first("x") == "x"
    ALONE.wait()


# The environment


def test_the_place_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started_by_torchrun() == ALONE
    for name, value in (("WORLD_SIZE", "8"), ("RANK", "5"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert started_by_torchrun() == Processes(rank=5, size=8, local_rank=1, local_size=4)
    monkeypatch.setenv("RANK", "8")
    with pytest.raises(ValueError, match=r"^RANK must lie in \[0, 8\), got 8$"):
        started_by_torchrun()
    monkeypatch.delenv("RANK")
    with pytest.raises(ValueError, match=r"^WORLD_SIZE is set, so RANK"):
        started_by_torchrun()


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Processes(rank=3, size=4, local_rank=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(second, name) for name in ("auto", "cuda", "cpu")] == ["cuda:1", "cuda:1", "cpu"]
    assert [device_of(ALONE, name) for name in ("auto", "cuda:3", "mps")] == ["auto", "cuda:3", "mps"]
    for name in ("cuda:0", "mps"):
        with pytest.raises(ValueError, match=f"a device of its own, got {name}$"):
            device_of(second, name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(second, "auto") == "cpu"
