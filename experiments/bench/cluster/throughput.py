"""Trials an hour with one worker and with two: real short trainings, one thread each."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.bench.allowance import Allowance
from experiments.bench.no_op import NoOp
from nas.config import SearchConfig
from nas.dispatch import dispatch
from nas.executors.choice import make_executor
from nas.executors.interface import Executor
from nas.executors.local import LocalExecutor
from nas.prepared import Prepared, prepare
from nas.run_directory import RunDirectory
from nas.search import run_search
from nas.storage import open_study
from nas.study import StudyLoop

from .bare_training import BareTrainings
from .pace import Recorder, now, quartiles_text
from .ray_session import simulated_cluster

NUM_ROUNDS, NUM_TRIALS = 8, 8
"""Blocks of an arm, and trials in a block."""
TARGET = 0.9
ARMS = ("ours, processes", "ours, Ray", "bare processes")

RunBlock = Callable[[], float]
"""Trains the next candidates; returns trials a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Trials a second of one arm with one worker and with two, a pair for each round."""

    arm: str
    one: tuple[float, ...]
    two: tuple[float, ...]

    @property
    def efficiencies(self) -> tuple[float, ...]:
        """Round by round."""
        return tuple(two / (2 * one) for one, two in zip(self.one, self.two, strict=True))

    @property
    def efficiency(self) -> float:
        """Of all rounds together: every round trains as many candidates."""
        return statistics.harmonic_mean(self.two) / (2 * statistics.harmonic_mean(self.one))


def compare_throughput(*, quick: bool, source: str) -> None:
    """Print one row for each arm."""
    rounds, trials = (2, 2) if quick else (NUM_ROUNDS, NUM_TRIALS)
    found = measure(rounds=rounds, trials=trials, source=source, epochs=1 if quick else 6)
    Console().print(throughput_table(found))
    for each in found:
        if each.arm != ARMS[-1]:
            word = "met" if each.efficiency >= TARGET else "missed"
            print(f"{each.arm}: efficiency {each.efficiency:.2f}, at least {TARGET:g}: {word}")


def measure(*, rounds: int, trials: int, source: str, epochs: int) -> list[Rates]:
    """Let all arms train the same candidates in turn; every second round runs backwards."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = training_config(folder, trials=(rounds + 1) * trials, source=source, epochs=epochs)
        prepared = prepare(config)
        stack.enter_context(simulated_cluster(4))
        blocks = {
            (arm, workers): stack.enter_context(_arm(arm, workers, prepared, trials))
            for arm in ARMS
            for workers in (1, 2)
        }
        rates: dict[tuple[str, int], list[float]] = {key: [] for key in blocks}
        for number in track(range(rounds + 1), description="throughput", transient=True):
            order = list(blocks) if number % 2 == 0 else list(reversed(blocks))
            for key in order:
                rates[key].append(blocks[key]())
    # The first block starts processes and reads images.
    return [Rates(arm=arm, one=tuple(rates[arm, 1][1:]), two=tuple(rates[arm, 2][1:])) for arm in ARMS]


def training_config(folder: Path, *, trials: int, source: str, epochs: int) -> SearchConfig:
    """Small networks and few epochs; nothing is timed."""
    return SearchConfig.model_validate(
        {
            "space": {"name": "efficientnetv2", "scale": [0.25, 0.5], "resolution": 32}, "sampler": "random",
            "data": {"source": source}, "fidelity": {"epochs": epochs}, "step_time": {"method": "macs"},
            "trials": trials, "finalists": 0, "threads": 1, "device": "cpu", "out": folder / "prepared",
        }
    )  # fmt: skip


@contextlib.contextmanager
def _arm(arm: str, workers: int, prepared: Prepared, trials: int) -> Iterator[RunBlock]:
    changes = {"workers": workers, "out": prepared.config.out.parent / f"{arm.replace(', ', '-')}-{workers}"}
    config = prepared.config.model_copy(update=changes | {"executor": "ray" if arm == "ours, Ray" else "local"})
    if arm == "bare processes":
        with BareTrainings(prepared, workers=workers) as bare:
            candidates = iter(proposals(config))
            yield lambda: trials / bare.seconds([next(candidates) for _ in range(trials)])
        return
    executor = make_executor(config)
    try:
        yield our_search(config, prepared, executor, trials)
    finally:
        executor.close()


def our_search(config: SearchConfig, prepared: Prepared, executor: Executor, trials: int) -> RunBlock:
    """A search that runs so many trials a time."""
    directory, recorder = RunDirectory(config.out), Recorder()
    directory.create()
    loop = StudyLoop(
        open_study(directory, config),
        config=config,
        space=prepared.space,
        preparation=prepared.preparation,
        costs=prepared.costs,
        records=[],
        observer=recorder,
        on_table=lambda table: prepared.costs,
    )

    def block() -> float:
        start, before = now().wall_s, len(recorder.marks)
        dispatch(Allowance(loop, trials), executor, stop_requested=lambda: False, on_drain=lambda running: None)
        ends = [mark.wall_s for mark in recorder.marks[before:]]
        if len(ends) != trials:
            raise RuntimeError(f"a block has {trials} trials, {len(ends)} ended")
        return trials / (mean_end(ends, executor.capacity) - start)

    return block


def mean_end(ends: Sequence[float], workers: int) -> float:
    """When a worker had nothing left to do, on average: in a search there would have been a further candidate.

    Args:
        ends: Of the trials.
        workers: Each of the last so many trials was some worker's last.
    """
    return statistics.mean(sorted(ends)[-workers:])


def proposals(config: SearchConfig) -> list[str]:
    """What a search proposes, found by one that trains nothing."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        config = config.model_copy(update={"out": Path(folder) / "run"})
        run_search(config, observer=recorder, make_executor=lambda config: LocalExecutor(NoOp))
    return recorder.architectures


def throughput_table(found: Sequence[Rates]) -> Table:
    """One row for each arm, and what our engine costs beside the bare processes."""
    bare = found[-1]
    result = Table(title="Short trainings, one thread each, trials an hour", box=None, padding=(0, 2, 0, 0))
    for name in ("workers", "1", "2", "efficiency", "quartiles", "1 ÷ bare", "2 ÷ bare"):
        result.add_column(name, justify="left" if name == "workers" else "right", no_wrap=True)
    for each in found:
        one, two = statistics.harmonic_mean(each.one), statistics.harmonic_mean(each.two)
        result.add_row(
            each.arm,
            f"{3600 * one:.0f}",
            f"{3600 * two:.0f}",
            f"{each.efficiency:.3f}",
            quartiles_text(each.efficiencies),
            f"{one / statistics.harmonic_mean(bare.one):.3f}",
            f"{two / statistics.harmonic_mean(bare.two):.3f}",
        )
    return result
