"""``nas bench``: our benchmarks, each as ratios against a peer in the same run."""

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from .errors import usage_errors

_GROUP = "training_aware_nas.bench"


def register(app: typer.Typer) -> None:
    # What follows the benchmark's name is the benchmark's, --help included.
    app.command("bench", context_settings={"allow_interspersed_args": False})(bench)


def bench(
    name: Annotated[str | None, typer.Argument(help="Of the benchmark.")] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The benchmark's own options: nas bench NAME --help.")
    ] = None,
    show_names: Annotated[bool, typer.Option("--list", help="Name the benchmarks and end.")] = False,
) -> None:
    """Run a benchmark and print its table."""
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if show_names or name is None:
        for point_name in sorted(found):
            print(point_name)
        return
    with usage_errors():
        point = _require(found, name)
    benchmark = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    benchmark.command()(point.load())
    code = benchmark(args=arguments or [], prog_name=f"nas bench {name}", standalone_mode=False)
    if code:
        raise typer.Exit(code)


def _require(found: dict[str, EntryPoint], name: str) -> EntryPoint:
    from search_spaces.messages import did_you_mean

    if name not in found:
        raise ValueError(f"no benchmark {name!r}; {did_you_mean(name, list(found))}")
    return found[name]
