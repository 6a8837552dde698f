"""One of two processes that train together; the second one alone meets numbers that are not finite."""

import sys
from pathlib import Path

import torch
from tiny_training import tiny_config
from torch import Tensor

from nas.full_training.run import train
from proxies.training.distributed import started_by_torchrun
from proxies.training_step import TrainingStep

NAN_LOSS, INFINITE_STATISTICS = 8, 15
"""Steps over all attempts: in the second epoch; and, from step 5 again, the last of it."""


def main() -> None:
    torch.set_num_threads(1)
    rank, honest, count = started_by_torchrun().rank, TrainingStep.__call__, 0

    def poisoned(self: TrainingStep, images: Tensor, targets: Tensor) -> Tensor:
        nonlocal count
        count += 1
        loss = honest(self, images, targets)
        if rank == 1 and count == NAN_LOSS:
            return loss * float("nan")
        if rank == 1 and count == INFINITE_STATISTICS:
            next(value for name, value in self.network.named_buffers() if name.endswith("running_var"))[0] = float(
                "inf"
            )
        return loss

    TrainingStep.__call__ = poisoned  # type: ignore[method-assign]
    train(tiny_config(Path(sys.argv[1]), {"epochs": 3}))


if __name__ == "__main__":
    main()
