"""Whether the driver's work for a trial grows with the trials that are there already."""

import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from optuna.samplers import BaseSampler
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy.stats import theilslopes

from experiments.bench.no_op import PREPARATION, NoOp, fake_accuracy
from nas.config import SearchConfig
from nas.driver_storage import ask
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.pricing import make_cost_model
from nas.reward import Reward
from nas.run_directory import RunDirectory
from nas.samplers import make_sampler
from nas.search import refresh_views, run_search
from nas.search_problem import search_problem
from nas.storage import open_study
from nas.trials import TrialRecord, distributions

from .engines import search_config
from .pace import now, quartiles_text

NUM_TRIALS = 5_000
BLOCK = 50
"""Trials between two changes of turn."""
ROWS = (500, 1_000, 2_000, 3_000, 4_000, 5_000)
"""Finished trials at the ends of the table's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The driver's CPU seconds for each of some trials."""

    finished: int
    """Trials at its end."""
    ours_s: float
    bare_s: float
    """Of the same sampler and the same storage, asked and told and nothing else."""

    @property
    def engine_s(self) -> float:
        """What is ours and not the sampler's or the storage's."""
        return self.ours_s - self.bare_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A straight line through the blocks, which a few blocks that other work fell into do not bend."""

    start_s: float
    """At no trial."""
    growth_s: float
    """From the first trial to the last."""
    growth_low_s: float
    growth_high_s: float
    """Its 95 % interval."""

    @property
    def is_flat(self) -> bool:
        """Whether no growth can be told, or less than a tenth of where it starts."""
        return self.growth_low_s <= 0 or self.growth_s <= 0.1 * self.start_s


@dataclass(frozen=True, slots=True)
class Flatness:
    """What a long search took."""

    blocks: list[Block]
    refresh_s: float
    """CPU seconds of bringing the views up to date at the end; during a search at most once a minute."""


def show_flatness(*, quick: bool) -> None:
    """Print one row for each range of finished trials."""
    found = measure(4 * BLOCK if quick else NUM_TRIALS)
    Console().print(flatness_table(found.blocks))
    for what, seconds in (("ours", _ours), ("bare", _bare), ("ours - bare", _engine)):
        line = trend(found.blocks, seconds)
        low, growth, high = (f"{1e3 * value:+.1f}" for value in (line.growth_low_s, line.growth_s, line.growth_high_s))
        print(
            f"{what}: {1e3 * line.start_s:.1f} ms and {growth} [{low}, {high}] ms over {found.blocks[-1].finished} "
            f"trials: {'flat' if line.is_flat else 'grows'}"
        )
    print(f"views of {found.blocks[-1].finished} trials, at most once a minute: {found.refresh_s:.1f} s")


def measure(num_trials: int) -> Flatness:
    """Run a whole search, and a bare loop in turn with it, a block at a time."""
    with tempfile.TemporaryDirectory() as folder:
        config = search_config(Path(folder) / "ours", trials=num_trials, workers=1)
        turns = _Turns(bare_loop(Path(folder), config), num_trials)
        with turns.progress:
            run_search(config, observer=turns, make_executor=lambda config: LocalExecutor(NoOp))
        before = now()
        refresh_views(RunDirectory(config.out))
        return Flatness(turns.blocks, now().cpu_s - before.cpu_s)


class _Turns(Observer):
    """Lets the bare loop do as many trials whenever ours has done a block."""

    def __init__(self, bare: Callable[[], None], num_trials: int) -> None:
        self.blocks: list[Block] = []
        self.progress = Progress(transient=True)
        self._bar = self.progress.add_task("flatness", total=num_trials)
        self._bare, self._finished, self._since = bare, 0, now()

    def started(self, number: int, architecture: str) -> None:
        if self._finished == 0:
            self._since = now()

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        self._finished += 1
        if self._finished % BLOCK:
            return
        middle = now()
        for _ in range(BLOCK):
            self._bare()
        end = now()
        ours, bare = ((to.cpu_s - since.cpu_s) / BLOCK for since, to in pairwise((self._since, middle, end)))
        self.blocks.append(Block(finished=self._finished, ours_s=ours, bare_s=bare))
        self.progress.update(self._bar, completed=self._finished)
        self._since = now()


def bare_loop(folder: Path, config: SearchConfig) -> Callable[[], None]:
    """One trial of what a user would write, with our sampler and our storage: ask and tell."""
    directory = RunDirectory(folder / "bare")
    directory.create()
    study = open_study(directory, config)
    samplers, space, numbers = _samplers(config), distributions(config.search_space()), itertools.count()

    def one_trial() -> None:
        study.sampler = samplers(next(numbers))
        trial = ask(study, space)
        study.tell(trial, fake_accuracy(trial.number))

    return one_trial


def _samplers(config: SearchConfig) -> Callable[[int], BaseSampler]:
    known = PREPARATION
    reward = Reward(w=config.w, v=config.v, step_time_ref_s=known.step_time_ref_s, params_ref=known.params_ref)
    problem = search_problem(config, known, reward, make_cost_model(config, known, tables=()))
    return make_sampler(config.sampler, problem)


def trend(blocks: Sequence[Block], seconds: Callable[[Block], float]) -> Trend:
    """By the median of the slopes between any two blocks (Theil and Sen)."""
    finished = [block.finished for block in blocks]
    line = theilslopes([seconds(block) for block in blocks], finished)
    growth, low, high = (float(slope) * finished[-1] for slope in (line.slope, line.low_slope, line.high_slope))
    return Trend(start_s=float(line.intercept), growth_s=growth, growth_low_s=low, growth_high_s=high)


def flatness_table(blocks: Sequence[Block]) -> Table:
    """Medians of the blocks in each range."""
    result = Table(title="The driver's CPU time for a trial, ms", box=None, padding=(0, 2, 0, 0))
    for name in ("finished trials", "ours", "bare", "ours - bare", "quartiles"):
        result.add_column(name, justify="right", no_wrap=True)
    ends = [end for end in ROWS if end <= blocks[-1].finished] or [blocks[-1].finished]
    for start, end in pairwise((0, *ends)):
        inside = [block for block in blocks if start < block.finished <= end]
        result.add_row(
            f"{start}–{end}",
            *(f"{1e3 * statistics.median(map(seconds, inside)):.1f}" for seconds in (_ours, _bare, _engine)),
            quartiles_text([block.engine_s for block in inside], 1e3, 1),
        )
    return result


def _ours(block: Block) -> float:
    return block.ours_s


def _bare(block: Block) -> float:
    return block.bare_s


def _engine(block: Block) -> float:
    return block.engine_s
