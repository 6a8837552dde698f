"""Does progressive learning save time, and does adaptive regularisation make up for it? On Fashion-MNIST, in small."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.options import Quick


def main(
    out: Annotated[Path, typer.Option(help="Folder of the trainings; the same again carries on.")] = Path(
        "runs/bench-progressive"
    ),
    variants: Annotated[
        str, typer.Option(help="Comma-separated: fixed, progressive, adaptive, random, random-adaptive.")
    ] = "fixed,progressive,adaptive,random,random-adaptive",
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each variant, 3 by default.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each training, 12 by default.")] = None,
    images: Annotated[
        int | None, typer.Option(min=640, max=60_000, help="Of the 60,000 training images, 13,000 by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    mode: Annotated[str, typer.Option(help="Execution mode, the same for all.")] = "float32-channels_last-small_maps",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    quick: Quick = False,
) -> None:
    """Train one network at a fixed size, at growing and at random sizes, with even and with adaptive regularisation.

    All have the same network, images, epochs, last size and, at that size, the same regularisation; all are judged by
    the 10,000 test images at that size. Every cell is an ordinary `nas train`.
    """
    from nas.cli.errors import usage_errors

    from .benchmark import make_plan, run_benchmark

    with usage_errors():
        plan = make_plan(
            out=out,
            variants=variants,
            seeds=seeds,
            epochs=epochs,
            images=images,
            device=device,
            mode=mode,
            threads=threads,
            quick=quick,
        )
    run_benchmark(plan)
