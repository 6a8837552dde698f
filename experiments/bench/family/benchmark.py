"""From what was asked for to tables, a file and a verdict."""

from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from nas.cli.console import table_console
from proxies.device import find_device
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.step_time import StepTimeSetting
from proxies.step_time_measurement import choose_mode
from proxies.training.config import TrainConfig
from proxies.workload import Workload

from .networks import SameNetwork, network_of, require_same
from .pairs import Bench, compare
from .report import SUFFIXES, table, write_rows
from .rows import Row, verdict_of_all

NUM_VISITS, NUM_PAIRS = 3, 8
QUICK_VISITS, QUICK_PAIRS, QUICK_RESOLUTION = 2, 3, 64
CPU_RESOLUTION, CPU_BATCH_SIZE, BATCH_SIZE = 128, 8, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole benchmark."""

    networks: tuple[SameNetwork, ...]
    bench: Bench
    out: Path | None


def make_plan(
    *,
    networks: tuple[str, ...],
    mode: str,
    device: str,
    batch_size: int | None,
    resolution: int | None,
    threads: int,
    pairs: int | None,
    out: Path | None,
    quick: bool,
) -> Plan:
    """Check what was asked for, and fill in what was not.

    Raises:
        ValueError: If a network, mode, device or file format is unknown.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise ValueError(f"out must end in {' or '.join(SUFFIXES)}, got {str(out)!r}")
    here = find_device(device)
    is_cpu = here.kind == "cpu"
    setting = StepTimeSetting(
        device=here.spec,
        resolution=resolution or (QUICK_RESOLUTION if quick else CPU_RESOLUTION if is_cpu else None),
        batch_size=batch_size or (CPU_BATCH_SIZE if is_cpu else BATCH_SIZE),
        threads=threads,
        num_pairs=pairs or (QUICK_PAIRS if quick else NUM_PAIRS),
        visits=QUICK_VISITS if quick else NUM_VISITS,
    )
    asked = networks[:1] if quick else networks
    bench = Bench(device=here, setting=setting, mode=PLAIN if mode == "plain" else parse_mode(mode))
    return Plan(networks=tuple(map(network_of, asked)), bench=bench, out=out)


def run_benchmark(plan: Plan) -> None:
    """Print one table for each network, and the verdict; write the rows where that was asked for.

    Raises:
        DifferentNetworkError: If a peer's network is not ours.
    """
    console = table_console()
    rows: list[Row] = []
    with Progress(console=console, transient=True) as progress:
        for network in plan.networks:
            errors = [require_same(network.ours, peer) for peer in network.peers]
            found = compare(network, plan.bench, our_mode(network, plan.bench), progress)
            console.print(table(network, plan.bench, found, errors))
            rows += found
            if plan.out is not None:
                write_rows(plan.out, rows)
    console.print(verdict_of_all(rows), str(plan.bench.identity), sep="\n", highlight=False)


def our_mode(network: SameNetwork, bench: Bench) -> ExecutionMode:
    """The fastest correct one here, chosen as for every training of ours."""
    return choose_mode(
        network.architecture,
        setting=bench.setting,
        train=TrainConfig(),
        device=bench.device,
        num_classes=Workload().num_classes,
        in_channels=Workload().in_channels,
    )
