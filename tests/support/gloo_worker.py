"""One of two processes on this machine's loopback: computes what it is told, and leaves it in a file.

Started with the environment that ``torchrun`` gives. It prints nothing.
"""

import sys
from pathlib import Path

import torch
from distributed_steps import WORLD_SIZE, gradients_of_steps, make_step

from proxies.device import find_device
from proxies.training.distributed import joined, started_by_torchrun


def main() -> None:
    out, micro_batches = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    processes = started_by_torchrun()
    assert processes.size == WORLD_SIZE
    with joined(processes, find_device("cpu")):
        step = make_step(micro_batches, world_size=processes.size)
        found: dict[str, object] = gradients_of_steps(step, rank=processes.rank, world_size=processes.size)
        own = torch.tensor([float(processes.rank + 1)])
        found["collectives"] = {
            "sum": processes.sum(own), "mean": processes.mean(own), "least": processes.least(own),
            "own": own, "object": processes.object_from_first(f"of {processes.rank}"),
            "tensor": processes.from_first(own.clone()),
        }  # fmt: skip
        processes.share_statistics(step.network)
        found["statistics"] = dict(step.network.named_buffers())
        torch.save(found, out / f"{processes.rank}.pt")


if __name__ == "__main__":
    main()
