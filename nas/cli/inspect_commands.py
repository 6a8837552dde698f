"""``nas show``: one architecture, looked at."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import usage_errors

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture

ARCH = Annotated[
    str, typer.Argument(help="A catalog name, an architecture text, a file, FAMILY.yaml:MEMBER, or a run directory.")
]
CLASSES = Annotated[int, typer.Option("--num-classes", min=1, help="Width of the classifier.")]
CHANNELS = Annotated[int, typer.Option("--in-channels", min=1, help="Channels of the images.")]
RESOLUTION = Annotated[int | None, typer.Option(min=1, help="Pixels per side; by default the architecture's own.")]


def register(app: typer.Typer) -> None:
    app.command("show")(show)


def show(
    arch: ARCH,
    num_classes: CLASSES = 1000,
    in_channels: CHANNELS = 3,
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

    from .tables import stage_table

    with usage_errors():
        architecture = read_architecture(arch)
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


def read_architecture(text: str) -> "Architecture":
    """An architecture by catalog name, text, file, member of a family or run directory.

    Raises:
        ValueError: If it is none of these.
    """
    from search_spaces import catalog
    from search_spaces.architecture import parse

    if text in catalog.names():
        return catalog.get(text).architecture
    path = Path(text)
    if path.is_dir():
        return _best_of(path)
    if path.is_file():
        return _architecture_in(path)
    if text.startswith("stem"):
        return parse(text)
    file, colon, member = text.rpartition(":")
    if colon and Path(file).is_file():
        from ..family.members import read_family

        return read_family(Path(file)).member(member).parsed()
    raise ValueError(f"no architecture text, file, run directory or catalog name: {text!r}")


def _best_of(path: Path) -> "Architecture":
    from search_spaces.architecture import parse

    from ..run import read_run

    entries = read_run(path).leaderboard()
    if not entries:
        raise ValueError(f"no candidate has been judged yet in {path}")
    return parse(entries[0].architecture)


def _architecture_in(path: Path) -> "Architecture":
    """From `best.yaml`, or from a file that holds nothing but the text."""
    from search_spaces.architecture import parse
    from search_spaces.strict_yaml import read_yaml

    if path.suffix in (".yaml", ".yml"):
        written = read_yaml(path)
        if "members" in written:
            raise ValueError(f"{path} holds a family; name a member of it, e.g. {path}:m")
        return parse(written.get("architecture"))  # type: ignore[arg-type]  # parse checks the type itself
    try:
        return parse(path.read_text(encoding="utf-8").strip())
    except UnicodeDecodeError:
        raise ValueError(f"not a text file: {path}") from None


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
