"""Our built EfficientNetV2-S and -M beside timm's and torchvision's same networks: speed and memory, in one run."""

from pathlib import Path
from typing import Annotated

import typer

from experiments.bench.options import Quick


def main(
    networks: Annotated[str, typer.Option(help="Comma-separated sizes: s, m.")] = "s,m",
    mode: Annotated[
        str, typer.Option(help='Execution mode of all three, e.g. float32-channels_last; "plain" asks for nothing.')
    ] = "plain",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Images in a step; 8 by default, 128 on an accelerator.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=32, help="Pixels per side; 128 by default, an accelerator's: the network's own.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of every step.")] = 1,
    pairs: Annotated[
        int | None, typer.Option(min=3, help="Timed steps of each pair in each visit, 8 by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this file too: .csv or .json.")] = None,
    quick: Quick = False,
) -> None:
    """Time our networks in alternation with each peer, and with a second copy of themselves, which shows the noise.

    Ours is not slower if its images per second are not below the peer's by more than two copies of ours differ.
    """
    from nas.cli.errors import usage_errors

    from .benchmark import make_plan, run_benchmark

    with usage_errors():
        plan = make_plan(
            networks=tuple(name.strip() for name in networks.split(",")),
            mode=mode,
            device=device,
            batch_size=batch_size,
            resolution=resolution,
            threads=threads,
            pairs=pairs,
            out=out,
            quick=quick,
        )
    run_benchmark(plan)
