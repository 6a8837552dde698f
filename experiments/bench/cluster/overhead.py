"""Driver overhead: what a trial that does nothing costs, with our engine and with Ray Tune."""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .engines import on_processes, on_ray, run_ours
from .pace import Mark, Pace, chunk_paces, pace, quartiles_text
from .ray_session import simulated_cluster
from .tune_engine import run_tune

Run = Callable[[Path, int, int], list[Mark]]
"""From an empty folder, workers and trials to the ends of the trials."""

OURS, DEFAULT, REUSED = "ours, Ray", "Tune", "Tune, reuse_actors"
LEAST_TO_DEFAULT, LEAST_TO_REUSED = 3.0, 1.0
NUM_CHUNKS = 8
_QUICK_WORKERS = (2,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One that is compared."""

    name: str
    run: Run
    trials: int
    """That are timed, after as many as there are workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """What an engine took for a trial at one number of workers."""

    engine: str
    workers: int
    runs: tuple[Pace, ...]
    chunks: tuple[Pace, ...]
    """Of all runs."""

    @property
    def wall_s(self) -> float:
        """Median of the runs."""
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """Of the driver, median of the runs."""
        return statistics.median(run.cpu_s for run in self.runs)


def engines(*, quick: bool) -> list[Engine]:
    """Ours on both executors, and Tune twice."""
    many, few = (40, 8) if quick else (240, 32)
    return [
        Engine(name=OURS, run=partial(_run_ours, on_ray), trials=many),
        Engine(name=REUSED, run=partial(_run_tune, True), trials=many),
        Engine(name=DEFAULT, run=partial(_run_tune, False), trials=few),
        Engine(name="ours, processes", run=partial(_run_ours, on_processes), trials=many),
    ]


def compare_overhead(workers: Sequence[int], *, rounds: int, quick: bool) -> None:
    """Print a block of rows for each number of workers as soon as it is there."""
    for number in _QUICK_WORKERS if quick else workers:
        with simulated_cluster(number):
            found = measure(engines(quick=quick), number, rounds=1 if quick else rounds)
        Console().print(overhead_table(found))
        print(verdict(found), flush=True)


def measure(chosen: Sequence[Engine], workers: int, *, rounds: int) -> list[Overhead]:
    """Let the engines take turns; every second round runs backwards."""
    runs: dict[str, list[list[Mark]]] = {engine.name: [] for engine in chosen}
    for number in range(rounds):
        for engine in chosen if number % 2 == 0 else reversed(chosen):
            with tempfile.TemporaryDirectory() as folder:
                marks = engine.run(Path(folder), workers, workers + engine.trials)
            # From the moment when every worker has done one.
            runs[engine.name].append(marks[workers - 1 :])
    return [
        Overhead(
            engine=engine.name,
            workers=workers,
            runs=tuple(map(pace, runs[engine.name])),
            chunks=tuple(chunk for marks in runs[engine.name] for chunk in chunk_paces(marks, NUM_CHUNKS)),
        )
        for engine in chosen
    ]


def overhead_table(found: Sequence[Overhead]) -> Table:
    """One row for each engine, ratios to ours on Ray."""
    ours = _named(found, OURS)
    result = Table(
        title=f"A trial that does nothing, {ours.workers} workers, ms (CPU: the driver's)",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for name in ("engine", "wall", "quartiles", "÷ ours", "CPU", "quartiles", "÷ ours"):
        result.add_column(name, justify="left" if name == "engine" else "right", no_wrap=True)
    for each in found:
        result.add_row(
            each.engine,
            f"{1e3 * each.wall_s:.1f}",
            quartiles_text([chunk.wall_s for chunk in each.chunks], 1e3, 0),
            f"{each.wall_s / ours.wall_s:.2f}",
            f"{1e3 * each.cpu_s:.1f}",
            quartiles_text([chunk.cpu_s for chunk in each.chunks], 1e3, 0),
            f"{each.cpu_s / ours.cpu_s:.2f}",
        )
    return result


def verdict(found: Sequence[Overhead]) -> str:
    """Whether the targets are met, in wall time and in the driver's CPU time."""
    ours = _named(found, OURS)
    parts = []
    for name, least in ((DEFAULT, LEAST_TO_DEFAULT), (REUSED, LEAST_TO_REUSED)):
        peer = _named(found, name)
        ratios = (peer.wall_s / ours.wall_s, peer.cpu_s / ours.cpu_s)
        word = "met" if min(ratios) >= least else "missed"
        parts.append(f"{name} ÷ ours at least {least:g}: {word} ({ratios[0]:.2f} wall, {ratios[1]:.2f} CPU)")
    return "; ".join(parts)


def _named(found: Sequence[Overhead], name: str) -> Overhead:
    return next(each for each in found if each.engine == name)


def _run_ours(executor: Callable, folder: Path, workers: int, trials: int) -> list[Mark]:
    return run_ours(folder, workers=workers, trials=trials, executor=executor)


def _run_tune(reuse_actors: bool, folder: Path, workers: int, trials: int) -> list[Mark]:
    return run_tune(folder, workers=workers, trials=trials, reuse_actors=reuse_actors)
