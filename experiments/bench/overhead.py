"""Engine time per trial with a no-op objective, against a bare Optuna loop with the same sampler and storage."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.bench.allowance import Allowance
from experiments.bench.no_op import PREPARATION, NoOp, fake_accuracy
from experiments.bench.options import Quick
from nas.config import SearchConfig
from nas.dispatch import dispatch
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.pricing import make_cost_model
from nas.run_directory import RunDirectory
from nas.storage import open_study
from nas.study import StudyLoop
from nas.trials import distributions
from proxies.costs import CostModel
from proxies.step_time_table import StepTimeTable

_SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
NUM_TRIALS = 1_000
BLOCK = 50
"""Trials between two changes of turn: drift of the machine meets both alike."""
TARGET = 1.3


def main(*, quick: Quick = False) -> None:
    """Print one row for each sampler: milliseconds a trial, ours and bare, over all trials and at the end."""
    num_trials = 4 * BLOCK if quick else NUM_TRIALS
    table = Table(title=f"Engine time per trial, no-op objective, {num_trials} trials, SQLite")
    for name in ("sampler", "bare Optuna, ms", "ours, ms", "ratio", "ratio by block, quartiles", "last block, ratio"):
        table.add_column(name, justify="right")
    for sampler in _SAMPLERS:
        bare, ours = _race(sampler, num_trials)
        ratios = [mine / theirs for mine, theirs in zip(ours, bare, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        total = sum(ours) / sum(bare)
        table.add_row(
            sampler,
            f"{1e3 * sum(bare) / num_trials:.1f}",
            f"{1e3 * sum(ours) / num_trials:.1f}",
            f"{total:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{ratios[-1]:.2f}",
        )
    Console().print(table)
    print(f"target: at most {TARGET}")


def _race(sampler: str, num_trials: int) -> tuple[list[float], list[float]]:
    """Seconds of each block: the bare loop's and ours, in turn."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        config = SearchConfig.model_validate(
            {
                "space": {"name": "efficientnetv2", "scale": "b0"}, "sampler": sampler, "trials": num_trials,
                "step_time": "macs",
            }
        )  # fmt: skip
        bare = _bare_loop(Path(folder) / "bare.db", config)
        executor = LocalExecutor(NoOp)
        try:
            ours = _our_loop(Path(folder), config, executor)
            bare_s, our_s = [], []
            for _ in track(range(num_trials // BLOCK), description=sampler, transient=True):
                bare_s.append(_seconds(bare))
                our_s.append(_seconds(ours))
        finally:
            executor.close()
    return bare_s, our_s


def _bare_loop(path: Path, config: SearchConfig) -> Callable[[], None]:
    """What a user would write: ask, evaluate, tell."""
    study = optuna.create_study(
        direction="maximize",
        sampler=_SAMPLERS[config.sampler](seed=config.seed),
        storage=RDBStorage(f"sqlite:///{path}"),
    )
    space = distributions(config.search_space())

    def block() -> None:
        for _ in range(BLOCK):
            trial = study.ask(space)
            study.tell(trial, fake_accuracy(trial.number))

    return block


def _our_loop(folder: Path, config: SearchConfig, executor: LocalExecutor) -> Callable[[], None]:
    study = open_study(RunDirectory(folder), config)
    loop = StudyLoop(
        study,
        config=config,
        space=config.search_space(),
        preparation=PREPARATION,
        costs=make_cost_model(config, PREPARATION, tables=()),
        records=[],
        observer=Observer(),
        on_table=_no_table,
    )

    def block() -> None:
        dispatch(Allowance(loop, BLOCK), executor, stop_requested=lambda: False, on_drain=lambda running: None)

    return block


def _no_table(table: StepTimeTable) -> CostModel:
    raise RuntimeError("nothing is calibrated where multiply-adds stand in for step time")


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
