"""The processes that train one network together, as ``torchrun`` starts them: gradients averaged, work shared."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..device import Device

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: the first one may be judging, or reading a large data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process among those that train together; one that trains alone needs no process group."""

    rank: int = 0
    """Of this process, from 0."""
    size: int = 1
    local_rank: int = 0
    """Among those of this machine: which of its accelerators is this process's own."""
    local_size: int = 1
    """Of this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and talks to people."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Of a value over all processes; all must ask at the same time."""
        return self.sum(value) / self.size

    def sum(self, value: Tensor) -> Tensor:
        """Over all processes; all must ask at the same time."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def least(self, value: Tensor) -> Tensor:
        """Over all processes; all must ask at the same time."""
        if self.size == 1:
            return value
        least = value.clone()
        dist.all_reduce(least, op=dist.ReduceOp.MIN)
        return least

    def object_from_first(self, value: T) -> T:
        """The first process's value, whatever it is; only for small things, seldom."""
        if self.size == 1:
            return value
        values: list[T] = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def from_first(self, value: Tensor) -> Tensor:
        """The first process's value."""
        if self.size > 1:
            dist.broadcast(value, src=0)
        return value

    def share_statistics(self, network: nn.Module) -> None:
        """Give every process the first one's statistics of batch normalisation: each has seen its own part only."""
        for buffer in network.buffers():
            self.from_first(buffer)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


ALONE = Processes()


def started_by_torchrun() -> Processes:
    """This process's place, as ``torchrun`` tells it in the environment; alone where nothing does.

    Raises:
        ValueError: If the environment is incomplete or contradicts itself.
    """
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    try:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    except (KeyError, ValueError):
        raise ValueError(
            "WORLD_SIZE is set, so RANK and LOCAL_RANK must be whole numbers, as torchrun sets them"
        ) from None
    if not 0 <= rank < size:
        raise ValueError(f"RANK must lie in [0, {size}), got {rank}")
    return Processes(rank=rank, size=size, local_rank=local_rank, local_size=local_size)


def device_of(processes: Processes, name: str) -> str:
    """The device that this process trains on: of several processes on CUDA, each its own.

    >>> device_of(Processes(rank=5, size=8, local_rank=1), "cuda")
    'cuda:1'

    Raises:
        ValueError: If all processes would train on one accelerator.
    """
    if processes.size == 1 or name == "cpu":
        return name
    if name == "auto" and not torch.cuda.is_available():
        return "cpu"
    if name in ("auto", "cuda"):
        return f"cuda:{processes.local_rank}"
    raise ValueError(f"several processes train on cuda or cpu, each on a device of its own, got {name}")


@contextmanager
def joined(processes: Processes, device: Device) -> Iterator[None]:
    """Be in the group of processes: NCCL between GPUs, Gloo between CPUs."""
    if processes.size == 1:
        yield
        return
    if device.kind == "cuda":
        torch.cuda.set_device(device.torch_device)
    dist.init_process_group(
        "nccl" if device.kind == "cuda" else "gloo", rank=processes.rank, world_size=processes.size, timeout=PATIENCE
    )
    try:
        with warnings.catch_warnings():
            # Of 1×1 convolutions, whose two layouts are one: nothing is slower for it.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            yield
    finally:
        dist.destroy_process_group()
