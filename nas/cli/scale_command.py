"""``nas scale``: the S, M and L of one network."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors
from .inspect_commands import ARCH

if TYPE_CHECKING:
    from proxies.device import Device
    from search_spaces.scaling import Coefficients

    from ..family.budget import Request
    from ..family.members import Family, Fit
    from ..family.plan import Planner
    from ..family.source import Source
    from ..reference import Reference
    from ..run import Run

_USUAL = {"efficientnetv2": ("s", "m", "l"), "efficientnet": ("b0", "b1", "b2", "b3")}


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
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Find the growth with the best reward, by short trainings of a run directory's search: at about twice "
            "the MACs, or under the budgets of the first member that has some.",
        ),
    ] = False,
    survivors: Annotated[int, typer.Option(min=2, help="Directions of growth that a fit trains.")] = 6,
    trainings: Annotated[int, typer.Option(min=1, help="Of each, with different seeds.")] = 2,
    table: Annotated[
        Path | None, typer.Option(help="A step-time table of `nas calibrate`; a run directory has its own.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a training step of each member here.")] = False,
    device: Annotated[str, typer.Option(help="Where members are measured: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    budget_s: Annotated[float, typer.Option("--measure-budget", min=0, help="Seconds of each measurement.")] = 60.0,
    num_classes: Annotated[
        int | None, typer.Option(min=1, help="By default as ARCH or the table says, else 1000; a run has its own.")
    ] = None,
    in_channels: Annotated[int | None, typer.Option(min=1, help="Likewise, else 3.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Likewise, else 32: images in a training step.")] = None,
    out: Annotated[Path | None, typer.Option(help="family.yaml; by default in the run directory.")] = None,
) -> None:
    """Scale a network into a family: S, M, L, or whatever fits your budgets.

    Beside the file goes a drawing of the growth, as HTML.
    """
    from ..family.budget import parse_request
    from ..reference import find_network

    with usage_errors():
        step = {"--num-classes": num_classes, "--in-channels": in_channels, "--batch-size": batch_size}
        reference = find_network(arch)
        run = _require_run(reference.run, arch) if fit else reference.run
        source = _source(reference, table, step)
        requests = [parse_request(text) for text in members or _USUAL.get(ladder, ())]
        planner = _planner(source, ladder, _cap(ladder, max_size, no_cap), _coefficients(coefficients, fit))
        path = _require_place(out or (run.directory.family_file if run else Path("family.yaml")))
        family = planner.plan(requests, source.setting())
        found_device = _device(device) if measure else None
    if fit and run is not None:
        chosen, found = _fitted(run, planner, requests, survivors, trainings)
        with usage_errors():  # what one growth can keep, another may not
            family = replace(planner, coefficients=chosen).plan(requests, source.setting())
        family = replace(family, fit=found)
    if found_device is not None:
        family = _measured(family, source, found_device, budget_s)
    _write(family, path)
    _print(family, path)


def _require_run(run: "Run | None", arch: str) -> "Run":
    if run is None:
        raise ValueError(f"--fit needs a run directory, whose images and training judge; got {arch!r}")
    if not run.tables:
        raise ValueError(f"--fit needs step times that are predicted, and {arch} has no step-time table")
    return run


def _source(reference: "Reference", table: Path | None, step: dict[str, int | None]) -> "Source":
    """The network, and the step whose costs count; what a run or a table says of it cannot be said otherwise."""
    from proxies.step_time_table import read_table

    from ..family.source import source_of_network, source_of_run, source_of_table

    given = [flag for flag, value in step.items() if value is not None]
    if reference.run is not None:
        _refuse("a run directory", ["--table"] * (table is not None) + given)
        return source_of_run(reference.run)
    if table is not None:
        _refuse("a step-time table", given)
        return source_of_table(reference.architecture, read_table(table))
    return source_of_network(
        reference.architecture,
        num_classes=step["--num-classes"] or reference.num_classes,
        in_channels=step["--in-channels"] or reference.in_channels,
        batch_size=step["--batch-size"] or 32,
    )


def _refuse(what: str, flags: list[str]) -> None:
    if flags:
        raise ValueError(f"{what} has its own, so {' and '.join(flags)} must not be given")


def _planner(source: "Source", ladder: str, max_size: int | None, coefficients: "Coefficients | None") -> "Planner":
    from search_spaces.ladders import LADDERS

    from ..family.plan import Planner
    from ..family.start import start_from

    return Planner(
        start=start_from(source.network, LADDERS[ladder], source.scale),
        costs=source.costs(),
        max_size=max_size,
        coefficients=coefficients,
    )


def _cap(ladder: str, max_size: int | None, no_cap: bool) -> int | None:
    from search_spaces.ladders import LADDERS

    if ladder not in LADDERS:
        raise ValueError(f"--ladder must be one of {', '.join(LADDERS)}, got {ladder!r}")
    if no_cap and max_size is not None:
        raise ValueError("--no-cap and --max-size exclude each other")
    return None if no_cap else max_size or LADDERS[ladder].max_size


def _coefficients(text: str | None, fit: bool) -> "Coefficients | None":
    from search_spaces.scaling import Coefficients

    if text is None:
        return None
    if fit:
        raise ValueError("--fit finds the coefficients, so --coefficients is not for it")
    try:
        alpha, beta, gamma = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"--coefficients takes three numbers such as 1.2,1.1,1.15, got {text!r}") from None
    return Coefficients(alpha=alpha, beta=beta, gamma=gamma)


def _fitted(
    run: "Run", planner: "Planner", requests: "list[Request]", survivors: int, trainings: int
) -> "tuple[Coefficients | None, Fit]":
    from rich.console import Console
    from rich.progress import Progress

    from ..executors.interface import RefusedError
    from ..family.fit_run import FitPlan, InterruptedFitError, fit_growth
    from ..run_directory import RunDirectoryError

    budgeted = next((request for request in requests if not request.budget.is_open), None)
    plan = FitPlan(request=budgeted, num_survivors=survivors, num_trainings=trainings)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("comparing directions of growth", total=None)

        def show(done: float, total: int, doing: str) -> None:
            progress.update(task, completed=done, total=total, description=f"scaled networks: {doing}")

        try:
            return fit_growth(run, planner, plan, on_progress=show)
        except (RefusedError, RunDirectoryError) as error:
            fail(error)
        except InterruptedFitError:
            fail("interrupted; what was trained is kept, run it again to go on", 130)


def _require_place(path: Path) -> Path:
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--out must name a YAML file such as family.yaml, got {path}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"no such folder: {path.absolute().parent}")
    if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise ValueError(f"cannot write a file there: {path}")
    return path


def _device(name: str) -> "Device":
    """Looked for first, so that a long fit does not end at a mistake in its name; imports torch."""
    from proxies.device import find_device

    return find_device(name)


def _measured(family: "Family", source: "Source", device: "Device", budget_s: float) -> "Family":
    from rich.console import Console

    from ..family.measure import measure_family

    with Console(stderr=True).status("measuring") as status:
        measured, problems = measure_family(
            family, source, device, budget_s=budget_s, on_progress=lambda doing: status.update(doing)
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
