"""How soon samplers find the best architecture: whole searches played offline on beds where every accuracy is known."""

import os
from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.options import Quick

DEFAULT_BEDS, QUICK_BEDS = ("trees", "network"), ("network",)
QUICK_SEEDS, QUICK_TRIALS = 3, 50
OUT = Path("nas-bench-samplers")


def main(
    data: Annotated[
        Path | None,
        typer.Option(help="Accel-NASBench's file or its folder; by default in the folder that NAS_DATA_DIR names."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run directory: a bed where the architectures it has judged are all there is.")
    ] = None,
    beds: Annotated[
        str | None, typer.Option(help="Comma-separated; trees,network by default, or the run alone.")
    ] = None,
    samplers: Annotated[
        str | None, typer.Option(help="Comma-separated; all but gp, which is slow, by default.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Games of each sampler on each bed, 30 by default.")] = None,
    trials: Annotated[int | None, typer.Option(min=2, help="Trainings of a game, 200 by default.")] = None,
    noise: Annotated[bool, typer.Option("--noise", help="Accuracies with the spread of training seeds.")] = False,
    final_choice: Annotated[str, typer.Option(help="How a noisy search picks its winner.")] = "best-observed",
    batch: Annotated[int, typer.Option(min=1, help="Proposals asked before their results are told.")] = 1,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Several objectives in place of the reward: accuracy, step time, params.")
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder of samplers.csv and report.html; games found there are not played again.")
    ] = OUT,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as cores by default.")] = None,
    quick: Quick = False,
) -> None:
    """Play whole searches in seconds and compare samplers on the same seeds.

    The gap is (R* - best) / R*, R* being the highest reward of the space, found by local search with restarts.
    """
    from nas.cli.errors import usage_errors

    from .benchmark import make_plan, run_benchmark

    with usage_errors():
        plan = make_plan(
            data=data,
            run=run,
            beds=_names(beds) if beds else () if run else QUICK_BEDS if quick else DEFAULT_BEDS,
            samplers=_names(samplers) if samplers else None,
            seeds=seeds or (QUICK_SEEDS if quick else 30),
            trials=trials or (QUICK_TRIALS if quick else 200),
            noise=noise,
            final_choice=final_choice,
            batch=batch,
            pareto=pareto,
            out=out,
            jobs=jobs or len(os.sched_getaffinity(0)),
        )
    run_benchmark(plan)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
