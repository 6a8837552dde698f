"""The same short trainings without our engine: processes that are told what to train, and nothing else."""

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from nas.prepared import Prepared
from proxies.seeds import derived_seed

_CONTEXT = multiprocessing.get_context("spawn")


class BareTrainings:
    """Processes that train lists of candidates; a context manager, since they live until it ends."""

    def __init__(self, prepared: Prepared, *, workers: int) -> None:
        self._pipes, self._processes = [], []
        for _ in range(workers):
            pipe, theirs = _CONTEXT.Pipe()
            process = _CONTEXT.Process(target=_train, args=(theirs, prepared), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(pipe)
            self._processes.append(process)

    def seconds(self, architectures: Sequence[str]) -> float:
        """Train them, dealt out in turn; returns after how long a process was done, on average."""
        start, workers = time.perf_counter(), len(self._pipes)
        for place, pipe in enumerate(self._pipes):
            pipe.send(architectures[place::workers])
        pending, ends = list(self._pipes), []
        while pending:
            ready = wait(pending)
            ends += [time.perf_counter()] * len(ready)
            pending = [pipe for pipe in pending if pipe not in ready]
        for pipe in self._pipes:
            pipe.recv()
        return statistics.mean(ends) - start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _train(pipe: Connection, prepared: Prepared) -> None:
    import torch

    from proxies.accuracy import AccuracyProxy
    from proxies.device import find_device
    from proxies.execution import parse_mode
    from search_spaces.architecture import parse

    torch.set_num_threads(1)
    config = prepared.config
    proxy = AccuracyProxy(
        data=config.data,
        train=config.train,
        fidelity=config.fidelity,
        device=find_device(config.device),
        mode=parse_mode(prepared.preparation.mode),
    )
    while True:
        for architecture in pipe.recv():
            proxy.evaluate(parse(architecture), seed=derived_seed(config.seed, architecture, 0))
        pipe.send(None)
