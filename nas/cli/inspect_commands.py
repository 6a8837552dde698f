"""``nas show``: one architecture, looked at."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import usage_errors

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture

ARCH = Annotated[
    str,
    typer.Argument(
        help="A catalog name, an architecture text, a file, FAMILY.yaml:MEMBER, a run or training directory."
    ),
]
CLASSES = Annotated[
    int | None,
    typer.Option("--num-classes", min=1, help="Of the classifier; by default as ARCH says, else 1000."),
]
CHANNELS = Annotated[
    int | None, typer.Option("--in-channels", min=1, help="Of the images; by default as ARCH says, else 3.")
]
RESOLUTION = Annotated[int | None, typer.Option(min=1, help="Pixels per side; by default the architecture's own.")]


def register(app: typer.Typer) -> None:
    app.command("show")(show)


def show(
    arch: ARCH,
    num_classes: CLASSES = None,
    in_channels: CHANNELS = None,
    resolution: RESOLUTION = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images in the training step whose memory is shown.")] = 32,
    table: Annotated[
        Path | None, typer.Option(help="A step-time table of `nas calibrate`, to predict the step time.")
    ] = None,
    by_module: Annotated[
        bool,
        typer.Option("--by-module", help="Also fvcore's count, module by module (it counts norms and pooling too)."),
    ] = False,
) -> None:
    """Show an architecture: its stages, parameters, multiply-adds, memory, and step time if a table is given."""
    from rich.console import Console

    from proxies.complexity import count_macs, count_params
    from proxies.memory import predict_peak_memory
    from proxies.step_time_table import read_table

    from ..reference import find_network
    from .tables import stage_table

    with usage_errors():
        found = find_network(arch)
        architecture = found.architecture
        num_classes, in_channels = num_classes or found.num_classes, in_channels or found.in_channels
        size = require_size(architecture, resolution)
        times = read_table(table) if table else None
        predicted = times.predict(replace(architecture, resolution=size)) if times else None
    console = Console()
    console.print(str(architecture), soft_wrap=True, highlight=False)
    console.print(stage_table(architecture))
    macs = count_macs(architecture, size, num_classes, in_channels)
    console.print(
        f"{count_params(architecture, num_classes, in_channels):,} parameters · {macs:,} MACs at {size} px "
        f"(convolutions and linear layers) · {num_classes} classes, {in_channels} image channels",
        soft_wrap=True,
    )
    memory = predict_peak_memory(
        architecture, batch_size=batch_size, resolution=size, num_classes=num_classes, in_channels=in_channels
    )
    print(f"training step of {batch_size} images in plain float32: about {memory / 2**30:.2f} GiB")
    if times and predicted:
        error = 100 * predicted.relative_standard_error
        print(f"step time {1e3 * predicted.median_s:.2f} ms ± {error:.1f} %, predicted for {times.device}")
    if by_module:
        _print_by_module(architecture, size, num_classes, in_channels)


def require_size(architecture: "Architecture", resolution: int | None) -> int:
    size = architecture.resolution if resolution is None else resolution
    if size < architecture.total_stride:
        raise ValueError(f"resolution must be at least the total stride {architecture.total_stride}, got {size}")
    return size


def _print_by_module(architecture: "Architecture", size: int, num_classes: int, in_channels: int) -> None:
    import logging

    import torch
    from fvcore.nn import FlopCountAnalysis, flop_count_table

    from search_spaces.network import build

    # fvcore warns of every operator that costs it nothing.
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    network = build(architecture, num_classes=num_classes, in_channels=in_channels).eval()
    analysis = FlopCountAnalysis(network, torch.zeros(1, in_channels, size, size))
    print("\nfvcore's own count (one multiply-add is one flop; norms and pooling are counted too):")
    print(flop_count_table(analysis, max_depth=3, show_param_shapes=False))
