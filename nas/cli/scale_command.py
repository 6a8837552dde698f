"""``nas scale``: the S, M and L of one network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors
from .inspect_commands import ARCH, read_architecture

if TYPE_CHECKING:
    from search_spaces.scaling import Coefficients

    from ..family.members import Family
    from ..family.source import Source


def register(app: typer.Typer) -> None:
    app.command("scale")(scale)


def scale(
    arch: ARCH,
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--member",
            metavar="NAME[:BUDGET,…]",
            help="A size of the ladder, or any name with budgets, e.g. m:params=60M,macs=20G,step-time=2.5x,"
            "memory=16GiB,test-size=384; may be repeated. By default s, m and l.",
        ),
    ] = None,
    ladder: Annotated[str, typer.Option(help="efficientnetv2, or efficientnet: uniform growth, no cap.")] = (
        "efficientnetv2"
    ),
    max_size: Annotated[
        int | None, typer.Option(min=1, help="Cap on inference sizes, pixels; by default the ladder's (480).")
    ] = None,
    no_cap: Annotated[bool, typer.Option("--no-cap", help="Lift the cap.")] = False,
    coefficients: Annotated[
        str | None, typer.Option(metavar="α,β,γ", help="Growth of depth, width and size, in place of the ladder's.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A step-time table of `nas calibrate`; a run directory has its own.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a training step of each member here.")] = False,
    device: Annotated[str, typer.Option(help="Where members are measured: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    budget_s: Annotated[float, typer.Option("--measure-budget", min=0, help="Seconds of each measurement.")] = 60.0,
    num_classes: Annotated[int, typer.Option(min=1, help="Of an architecture; a run or a table has its own.")] = 1000,
    in_channels: Annotated[int, typer.Option(min=1, help="Likewise.")] = 3,
    batch_size: Annotated[int, typer.Option(min=2, help="Likewise: images in a training step.")] = 32,
    out: Annotated[Path | None, typer.Option(help="family.yaml; by default in the run directory.")] = None,
) -> None:
    """Scale a network into a family: S, M, L, or whatever fits your budgets.

    Beside the file goes a drawing of the growth, as HTML.
    """
    from search_spaces.ladders import EFFICIENTNET_V2, LADDERS

    from ..family.budget import parse_request
    from ..family.plan import Planner
    from ..family.start import start_from

    with usage_errors():
        source = _source(arch, table, num_classes, in_channels, batch_size)
        chosen = LADDERS.get(ladder)
        if chosen is None:
            raise ValueError(f"--ladder must be one of {', '.join(LADDERS)}, got {ladder!r}")
        names = members or (["s", "m", "l"] if chosen is EFFICIENTNET_V2 else ["b0", "b1", "b2", "b3"])
        planner = Planner(
            start=start_from(source.network, chosen, source.scale),
            costs=source.costs(),
            max_size=_cap(chosen.max_size, max_size, no_cap),
            coefficients=_coefficients(coefficients),
        )
        family = planner.plan([parse_request(text) for text in names], source.setting())
        path = _require_folder(out or _default_out(arch))
    if measure:
        family = _measured(family, source, device, budget_s)
    _write(family, path)
    _print(family, path)


def _source(arch: str, table: Path | None, num_classes: int, in_channels: int, batch_size: int) -> "Source":
    from proxies.step_time_table import read_table

    from ..family.source import source_of_network, source_of_run, source_of_table
    from ..run import read_run

    if Path(arch).is_dir():
        if table is not None:
            raise ValueError("a run directory has step-time tables of its own, so --table is not for it")
        return source_of_run(read_run(Path(arch)))
    network = read_architecture(arch)
    if table is not None:
        return source_of_table(network, read_table(table))
    return source_of_network(network, num_classes=num_classes, in_channels=in_channels, batch_size=batch_size)


def _cap(of_ladder: int | None, max_size: int | None, no_cap: bool) -> int | None:
    if no_cap and max_size is not None:
        raise ValueError("--no-cap and --max-size exclude each other")
    return None if no_cap else max_size or of_ladder


def _coefficients(text: str | None) -> "Coefficients | None":
    from search_spaces.scaling import Coefficients

    if text is None:
        return None
    try:
        alpha, beta, gamma = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--coefficients takes three numbers such as 1.2,1.1,1.15, got {text!r}") from None
    return Coefficients(alpha=alpha, beta=beta, gamma=gamma)


def _default_out(arch: str) -> Path:
    from ..run_directory import RunDirectory

    return RunDirectory(Path(arch)).family_file if Path(arch).is_dir() else Path("family.yaml")


def _require_folder(path: Path) -> Path:
    if not path.absolute().parent.is_dir():
        raise ValueError(f"no such folder: {path.absolute().parent}")
    return path


def _measured(family: "Family", source: "Source", device: str, budget_s: float) -> "Family":
    from rich.console import Console

    from proxies.device import find_device

    from ..family.measure import measure_family

    with usage_errors():
        found = find_device(device)
    with Console(stderr=True).status("measuring") as status:
        measured, problems = measure_family(
            family, source, found, budget_s=budget_s, on_progress=lambda doing: status.update(doing)
        )
    for problem in problems:
        print(f"not measured: {problem}")
    return measured


def _write(family: "Family", path: Path) -> None:
    from ..family.members import dump_family
    from ..report.family_page import write_family_page
    from ..run_directory import write_whole

    try:
        write_whole(path, dump_family(family))
        write_family_page(family, path.with_suffix(".html"))
    except OSError as error:
        fail(f"cannot write {path}: {error}", 1)


def _print(family: "Family", path: Path) -> None:
    from rich.console import Console

    from .family_table import family_table

    Console().print(family_table(family))
    print(f"written: {path} and {path.with_suffix('.html')}")
