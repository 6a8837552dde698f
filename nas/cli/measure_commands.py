"""``nas measure`` and ``nas calibrate``: the time of a training step, measured for one network or for a whole space."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors
from .inspect_commands import ARCH, CHANNELS, CLASSES, RESOLUTION, require_size

if TYPE_CHECKING:
    from proxies.device import Device
    from proxies.step_time import StepTime, StepTimeSetting
    from proxies.step_time_table import StepTimeTable
    from search_spaces.architecture import Architecture
    from search_spaces.space import SearchSpace

_DEVICE = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
_BATCH = Annotated[int, typer.Option(min=2, help="Images in a step.")]
_DTYPE = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
_THREADS = Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all cores.")]
_INFERENCE = Annotated[bool, typer.Option("--inference", help="A step of inference in place of training.")]


def register(app: typer.Typer) -> None:
    app.command("measure")(measure)
    app.command("calibrate")(calibrate)


def measure(
    arch: ARCH,
    device: _DEVICE = "auto",
    batch_size: _BATCH = 32,
    resolution: RESOLUTION = None,
    dtype: _DTYPE = "auto",
    threads: _THREADS = None,
    num_pairs: Annotated[int, typer.Option("--pairs", min=3, help="Timed steps of a visit.")] = 30,
    visits: Annotated[int, typer.Option(min=1, help="Visits, at least.")] = 3,
    budget_s: Annotated[
        float, typer.Option("--budget", min=0, help="Seconds in which visits go on until S is known within 2 %.")
    ] = 60.0,
    num_classes: CLASSES = None,
    in_channels: CHANNELS = None,
    inference: _INFERENCE = False,
    memory: Annotated[bool, typer.Option("--memory", help="Measure the peak memory of a training step, too.")] = False,
    against: Annotated[str | None, typer.Option(help="A network to alternate with, in place of the canary.")] = None,
) -> None:
    """Time whole training steps: forward, loss, backward, optimizer, zero_grad."""
    from ..reference import find_network

    with usage_errors():
        network = find_network(arch)
        architecture = network.architecture
        num_classes, in_channels = num_classes or network.num_classes, in_channels or network.in_channels
        reference = find_network(against).architecture if against else None
        setting = _setting(
            device=device, batch_size=batch_size, resolution=require_size(architecture, resolution), dtype=dtype,
            threads=threads, num_pairs=num_pairs, visits=visits, budget_s=budget_s,
        )  # fmt: skip
        found = _find_device(device)
    from rich.console import Console

    from proxies.infeasible import InfeasibleError
    from proxies.step_time_measurement import DtypeError, measure_step_time

    try:
        with Console(stderr=True).status("finding the fastest correct execution mode") as status:
            measured = measure_step_time(
                architecture,
                reference=reference,
                setting=setting,
                num_classes=num_classes,
                in_channels=in_channels,
                phase="inference" if inference else "training",
                device=found,
                on_visit=lambda so_far: status.update(_so_far(so_far)),
            )
        _print_step_time(measured)
        if memory:
            _print_memory(architecture, measured, num_classes, in_channels, found)
    except DtypeError as error:
        fail(error)
    except InfeasibleError as error:
        fail(error.reason, 1)


def calibrate(
    out: Annotated[Path, typer.Option(help="The table's file.")],
    space: Annotated[
        str, typer.Option(help="A name, a file, or e.g. '{name: efficientnetv2, scale: [0.5, 0.5]}'.")
    ] = "efficientnetv2",
    device: _DEVICE = "auto",
    batch_size: _BATCH = 32,
    resolution: Annotated[int | None, typer.Option(min=1, help="Pixels per side; by default the space's own.")] = None,
    dtype: _DTYPE = "auto",
    threads: _THREADS = None,
    budget_s: Annotated[float, typer.Option("--budget", min=0, help="Seconds.")] = 90.0,
    num_classes: Annotated[int, typer.Option(min=1, help="Width of the classifier.")] = 1000,
    in_channels: Annotated[int, typer.Option(min=1, help="Channels of the images.")] = 3,
    inference: _INFERENCE = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of measurements.")] = 0,
) -> None:
    """Measure a space's blocks on this device once; the table then predicts the step time of every member."""
    with usage_errors():
        found_space = _read_space(space)
        if resolution is not None:
            require_size(found_space.backbone, resolution)
        setting = _setting(
            device=device, batch_size=batch_size, resolution=resolution, dtype=dtype, threads=threads
        )  # fmt: skip
        _find_device(device)
        if not out.absolute().parent.is_dir():
            raise ValueError(f"no such folder: {out.absolute().parent}")
    from rich.console import Console
    from rich.progress import Progress

    from proxies.infeasible import InfeasibleError
    from proxies.step_time_measurement import DtypeError
    from proxies.step_time_table import StepTimeTable

    try:
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=1.0)
            table = StepTimeTable.calibrate(
                found_space,
                setting=setting,
                num_classes=num_classes,
                in_channels=in_channels,
                phase="inference" if inference else "training",
                budget_s=budget_s,
                seed=seed,
                on_progress=lambda fraction, doing: progress.update(task, completed=fraction, description=doing),
            )
    except DtypeError as error:
        fail(error)
    except InfeasibleError as error:
        fail(error.reason, 1)
    _write_table(table, out)
    _print_table(table, found_space, out)


def _write_table(table: "StepTimeTable", out: Path) -> None:
    from proxies.step_time_table import dump_table

    from ..run_directory import write_whole

    try:
        write_whole(out, dump_table(table))
    except OSError as error:
        fail(f"cannot write {out}: {error}", 1)


def _print_table(table: "StepTimeTable", space: "SearchSpace", out: Path) -> None:
    from proxies.step_time import MAX_DISTURBED_SHARE

    workload = table.workload
    print(f"calibrated  {len(table.blocks)} blocks of {table.space} in {table.seconds:.0f} s on {table.device}")
    print(f"taken with  batch {workload.batch_size}, {workload.resolution_of(space.backbone)} px, {workload.mode}")
    print(
        f"networks    {len(table.networks)} timed: {table.scale:.3f} × the sums of their blocks, ± {table.residual:.1%}"
    )
    print(f"backbone    {1e3 * table.predict(space.backbone).median_s:.2f} ms")
    if table.disturbed_share > MAX_DISTURBED_SHARE:
        print(f"contaminated: something else used the device during {table.disturbed_share:.0%} of the measurements")
    print(f"written     {out}")


def _print_step_time(measured: "StepTime") -> None:
    """Everything that a figure must be cited with."""
    low, high = measured.quartiles_s
    bottom, top = measured.interval_s
    print(
        f"step time   {1e3 * measured.median_s:.2f} ms   95 % interval {1e3 * bottom:.2f}–{1e3 * top:.2f} ms   "
        f"quartiles {1e3 * low:.2f}–{1e3 * high:.2f} ms"
    )
    print(f"throughput  {measured.images_per_s:.1f} images/s")
    print(f"ratio       {measured.ratio:.3f} × {measured.reference} ({1e3 * measured.reference_s:.2f} ms)")
    print(f"verdict     {_so_far(measured)}{f': {measured.disturbance}' if measured.verdict == 'contaminated' else ''}")
    print(f"taken with  batch {measured.batch_size}, {measured.resolution} px, {measured.mode}, {measured.device}")
    load = measured.visits[-1].load
    if load is not None and load.sm_clock_mhz is not None:
        slowdowns = ", ".join(load.slowdowns or ()) or "none"
        print(
            f"GPU         {load.sm_clock_mhz} MHz, memory {load.memory_clock_mhz} MHz, {load.power_w} W, "
            f"{load.temperature_c} °C, lower clocks for: {slowdowns}"
        )


def _so_far(measured: "StepTime") -> str:
    visits = f"{len(measured.visits)} visit{'s' * (len(measured.visits) != 1)}"
    return f"{measured.verdict}, ± {measured.relative_half_width:.1%} after {visits}"


def _print_memory(
    architecture: "Architecture", measured: "StepTime", num_classes: int, in_channels: int, device: "Device"
) -> None:
    from proxies.execution import parse_mode
    from proxies.memory_measurement import measure_peak_memory

    peak = measure_peak_memory(
        architecture,
        batch_size=measured.batch_size,
        resolution=measured.resolution,
        mode=parse_mode(measured.mode),
        num_classes=num_classes,
        in_channels=in_channels,
        device=device,
    )
    print(f"memory      {peak / 2**30:.3f} GiB at the peak of a training step")


def _read_space(text: str) -> "SearchSpace":
    from search_spaces.strict_yaml import parse_yaml

    from ..config import make_config

    value = text if text.endswith((".yaml", ".yml")) else parse_yaml(f"space: {text}", source="--space")["space"]
    return make_config({"space": value}, {}, source="--space").search_space()


def _setting(**values: object) -> "StepTimeSetting":
    from pydantic import ValidationError

    from proxies.step_time import StepTimeSetting

    from ..config_errors import one_line

    try:
        return StepTimeSetting.model_validate(values)
    except ValidationError as error:
        fail(one_line(error, StepTimeSetting))


def _find_device(name: str) -> "Device":
    from proxies.device import find_device

    return find_device(name)
