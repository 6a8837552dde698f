"""What stands in for a long training, and how well: zero-cost scores, and audits of shorter trainings."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.options import Quick


def main(
    tables: Annotated[
        str, typer.Option(help="Comma-separated: zero-cost, zero-cost-search, audit, pruning, pruning-bounds.")
    ] = "zero-cost,zero-cost-search",
    out: Annotated[Path, typer.Option(help="Folder of what was found; the same again carries on.")] = Path(
        "runs/bench-proxy"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="Accel-NASBench's file or its folder; by default in the folder that NAS_DATA_DIR names."),
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="Directory of the audit, finished or not.")] = None,
    architectures: Annotated[
        int | None, typer.Option(min=5, help="Of Accel-NASBench that are scored, 300 by default.")
    ] = None,
    resolution: Annotated[int, typer.Option(min=32, help="Of the noise they are scored with, pixels.")] = 64,
    images: Annotated[int, typer.Option(min=2, help="Images they are scored with.")] = 32,
    scores: Annotated[
        str, typer.Option(help="Comma-separated: those that help the sampler in zero-cost-search.")
    ] = "snip,params",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Searches of each player on each bed, 20 by default.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=10, help="Trainings of a search, 100 by default.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "cpu",
    quick: Quick = False,
) -> None:
    """Rank architectures of known accuracy by scores of untrained networks, and let these scores help a search.

    zero-cost: Kendall's τ of each score. zero-cost-search: whole searches of the known-cost sampler with and without
    scores. audit: an audit's table, and τ of the scores on its architectures and images. pruning: searches on
    Fashion-MNIST with the known-cost pruner and without. pruning-bounds: how often final accuracies of an audit exceed
    what was forecast of them at most, and what the pruner would have saved among them.
    """
    from nas.cli.errors import usage_errors

    from .benchmark import make_plan, run_benchmark

    with usage_errors():
        plan = make_plan(
            tables=tables,
            out=out,
            data=data,
            audit=audit,
            architectures=architectures or (20 if quick else 300),
            resolution=resolution,
            images=images,
            scores=scores,
            seeds=seeds or (2 if quick else None),
            trials=trials or (20 if quick else None),
            device=device,
        )
    run_benchmark(plan)
