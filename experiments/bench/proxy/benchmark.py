"""From what was asked for to tables, each by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from nas.cli.console import table_console
from proxies.zero_cost import require_score
from search_spaces.messages import did_you_mean

_WIDTH = 170
"""Of tables where they go to a file."""
_PRUNING_SEEDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all tables are made from; each takes what it needs."""

    tables: tuple[str, ...]
    out: Path
    """Folder of what was found; the same again carries on."""
    data: Path | None
    """Accel-NASBench's file, or its folder."""
    audit: Path | None
    """An audit's directory, of whatever state."""
    architectures: int
    """Of Accel-NASBench that are scored."""
    resolution: int
    images: int
    scores: tuple[str, ...]
    """That play."""
    seeds: int | None
    """Searches of each kind; None: as many as the table has by default."""
    trials: int | None
    """Trainings of a search; likewise."""
    device: str


def make_plan(
    *,
    tables: str,
    out: Path,
    data: Path | None,
    audit: Path | None,
    architectures: int,
    resolution: int,
    images: int,
    scores: str,
    seeds: int | None,
    trials: int | None,
    device: str,
) -> Plan:
    """Check what was asked for.

    Raises:
        ValueError: In one line, if a table, score or device is unknown, or what a table is made from is missing.
    """
    from proxies.device import find_device

    names = _names(tables)
    for name in names:
        if name not in TABLES:
            raise ValueError(f"no table {name!r}; {did_you_mean(name, list(TABLES))}")
    if audit is None and (needy := [name for name in names if name in ("audit", "pruning-bounds")]):
        raise ValueError(f"the {needy[0]} table needs an audit's directory: --audit DIR")
    if set(names) & {"zero-cost", "zero-cost-search"}:
        from experiments.accel_nasbench.rows import find_data

        find_data(data)
    return Plan(
        tables=names,
        out=out,
        data=data,
        audit=audit,
        architectures=architectures,
        resolution=resolution,
        images=images,
        scores=tuple(map(require_score, _names(scores))),
        seeds=seeds,
        trials=trials,
        device=find_device(device).spec,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def run_benchmark(plan: Plan) -> None:
    """Make every table that was asked for, and print it."""
    plan.out.mkdir(parents=True, exist_ok=True)
    console = table_console(_WIDTH)
    for name in plan.tables:
        TABLES[name](plan, console)


def _zero_cost(plan: Plan, console: Console) -> None:
    from .zero_cost_tables import print_zero_cost

    print_zero_cost(plan, console)


def _zero_cost_search(plan: Plan, console: Console) -> None:
    from .zero_cost_tables import print_zero_cost_search

    print_zero_cost_search(plan, console)


def _audit(plan: Plan, console: Console) -> None:
    from .zero_cost_tables import print_audit

    print_audit(plan, console)


def _pruning(plan: Plan, console: Console) -> None:
    from nas.cli.errors import usage_errors

    from .pruning import plan_pruning, run_pruning

    with usage_errors():
        searches = plan_pruning(plan.out / "pruning", seeds=plan.seeds or _PRUNING_SEEDS, trials=plan.trials)
    console.print(run_pruning(searches))


def _pruning_bounds(plan: Plan, console: Console) -> None:
    from nas.audit.run import read_audit

    from .pruning_replay import audited_trainings, coverage_table, replay_table

    assert plan.audit is not None  # make_plan's rule
    trainings = audited_trainings(read_audit(plan.audit))
    console.print(coverage_table(trainings), replay_table(trainings), sep="\n\n")


TABLES: Mapping[str, Callable[[Plan, Console], None]] = {
    "zero-cost": _zero_cost,
    "zero-cost-search": _zero_cost_search,
    "audit": _audit,
    "pruning": _pruning,
    "pruning-bounds": _pruning_bounds,
}
"""Makers by the names that ``--tables`` takes; what each needs is imported when it is made."""
