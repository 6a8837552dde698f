"""``nas bench``: our benchmarks, each as ratios against a peer in the same run."""

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from .errors import usage_errors

_GROUP = "training_aware_nas.bench"


def register(app: typer.Typer) -> None:
    app.command("bench")(bench)


def bench(
    name: Annotated[str | None, typer.Argument(help="Of the benchmark.")] = None,
    show_names: Annotated[bool, typer.Option("--list", help="Name the benchmarks and end.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A small setting that ends within a minute or so.")] = False,
) -> None:
    """Run a benchmark and print its table."""
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if show_names or name is None:
        for point_name in sorted(found):
            print(point_name)
        return
    with usage_errors():
        point = _require(found, name)
    point.load()(quick=quick)


def _require(found: dict[str, EntryPoint], name: str) -> EntryPoint:
    from search_spaces.messages import did_you_mean

    if name not in found:
        raise ValueError(f"no benchmark {name!r}; {did_you_mean(name, list(found))}")
    return found[name]
