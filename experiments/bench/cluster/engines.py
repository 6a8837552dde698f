"""Our engine with candidates that cost nothing, on the executors that searches use."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from experiments.bench.no_op import make_gathering_no_op
from nas.config import SearchConfig
from nas.evaluation_tasks import demand_of
from nas.executors.interface import Executor
from nas.executors.local import LocalExecutor
from nas.search import run_search

from .pace import Mark, Recorder

SPACE = {"name": "efficientnetv2", "scale": "b0"}


def search_config(out: Path, *, trials: int, workers: int) -> SearchConfig:
    """A random search that measures nothing and trains no finalists."""
    return SearchConfig.model_validate(
        {
            "space": SPACE, "sampler": "random", "trials": trials, "workers": workers, "finalists": 0,
            "step_time": "macs", "cluster": {"gpus_per_trial": 0.0}, "device": "cpu", "out": out,
        }
    )  # fmt: skip


def on_processes(folder: Path, config: SearchConfig) -> Executor:
    """Worker processes of this machine."""
    workers = config.workers or 1
    return LocalExecutor(partial(make_gathering_no_op, folder, workers), workers=workers)


def on_ray(folder: Path, config: SearchConfig) -> Executor:
    """Seats of the Ray cluster that this process has joined."""
    from nas.executors.ray_cluster import RayExecutor

    workers = config.workers or 1
    factory = partial(make_gathering_no_op, folder, workers)
    return RayExecutor(factory, cluster=config.cluster, demand_of=partial(demand_of, config), workers=workers)


def run_ours(
    folder: Path, *, workers: int, trials: int, executor: Callable[[Path, SearchConfig], Executor]
) -> list[Mark]:
    """The whole of `nas search`: its lock, its study and its views; returns the ends of the trials.

    Args:
        folder: Empty.
        workers: All of them are up before the first trial ends.
        trials: In all.
        executor: Made of the folder and the configuration.
    """
    recorder = Recorder()
    config = search_config(folder / "run", trials=trials, workers=workers)
    run_search(config, observer=recorder, make_executor=partial(executor, folder))
    return recorder.marks
