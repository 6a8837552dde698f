"""A real search of short trainings whose steps are slow and counted, so that it can be hit in one; run as a script."""

import os
import resource
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nas.config import SearchConfig, read_config
from nas.evaluation_tasks import Judge, demand_of, make_evaluator
from nas.executors.interface import Evaluate, Executor, Report
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.run import Run
from nas.search import run_search
from nas.study import Ending

SETTING: dict[str, Any] = {
    "space": {
        "resolution": 16,
        "stem_channels": 8,
        "head_channels": 32,
        "stages": [
            {"out_channels": 8, "stride": 2, "num_repeats": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 4]}
        ],
    },
    "device": "cpu",
    "threads": 1,
    "trials": 2,
    "sampler": "random",
    "finalists": 0,
    "fidelity": {"epochs": 2, "data_share": 0.5},
    "step_time": {
        "method": "macs", "batch_size": 8, "threads": 1, "num_pairs": 3, "visits": 1, "budget_s": 0.0,
    },
    "checkpoint_every_s": 0.001,
}  # fmt: skip
"""Of a search whose results are the same wherever it runs; every step is kept."""


class Notes(Observer):
    """Keeps what workers tell."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progressed(self, number: int, fraction: float, doing: str) -> None:
        self.notes.append(doing)


def make_slow_evaluator(config: SearchConfig, log: Path, step_s: float, worker: int) -> Evaluate:
    """Each training step adds a line to a file and takes a while longer."""
    from proxies.trial_checkpoint import TrialKeeper

    honest = TrialKeeper.after_step

    def counted(self: TrialKeeper, training: Any) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {training.steps_done} {training.plan.num_steps}\n")
        time.sleep(step_s)
        honest(self, training)

    TrialKeeper.after_step = counted  # type: ignore[method-assign]
    return make_evaluator(config, worker)


class _Cramped(Evaluate):
    """Gives the first candidate that it is asked for large images and no more memory than it has."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate, self._is_cramped = evaluate, True

    def __call__(self, work: object, report: Report) -> object:
        if not (isinstance(work, Judge) and self._is_cramped):
            return self._evaluate(work, report)
        self._is_cramped = False
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**27, hard))
        try:
            return self._evaluate(replace(work, train_size=384), report)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def make_cramped_evaluator(config: SearchConfig, worker: int) -> Evaluate:
    return _Cramped(make_evaluator(config, worker))


def search(config: SearchConfig, factory: Any, observer: Observer | None = None) -> tuple[Run, Ending]:
    return run_search(
        config, observer=observer or Observer(), make_executor=lambda config: _make_executor(config, factory)
    )


def _make_executor(config: SearchConfig, factory: Any) -> Executor:
    if config.executor == "local":
        return LocalExecutor(factory, workers=config.workers or 1)
    from nas.executors.ray_cluster import RayExecutor

    return RayExecutor(factory, cluster=config.cluster, demand_of=partial(demand_of, config), workers=config.workers)


def main(recipe: str, log: str, step_s: str, deadly_verdict: str) -> None:
    """Train so slowly, and be killed when the so-manieth verdict would be told."""
    # A worker on another machine knows a function by its module, and has no such script.
    from faulty_search import die_before_telling
    from slow_search import make_slow_evaluator

    config = read_config(Path(recipe))
    if int(deadly_verdict):
        die_before_telling(int(deadly_verdict))
    _, ending = search(config, partial(make_slow_evaluator, config, Path(log), float(step_s)))
    sys.exit(130 if ending is Ending.INTERRUPTED else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
