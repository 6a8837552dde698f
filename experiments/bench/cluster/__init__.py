"""What our engine costs a search of many workers: trials an hour, overhead beside Ray Tune, and whether it grows."""

from typing import Annotated

import typer

from experiments.bench.options import Quick


def main(
    tables: Annotated[
        str, typer.Option(help="Comma-separated: throughput, overhead, flatness.")
    ] = "throughput,overhead,flatness",
    workers: Annotated[str, typer.Option(help="Comma-separated numbers of simulated workers.")] = "2,8,32,128",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each engine at each number of workers.")] = 3,
    source: Annotated[str, typer.Option(help="Images of the trainings: digits or fashion-mnist.")] = "digits",
    quick: Quick = False,
) -> None:
    """Two workers beside one, a trial that does nothing beside Ray Tune's, and the cost of a trial after thousands."""
    from nas.cli.errors import usage_errors

    from .asked import tables_of, workers_of

    with usage_errors():
        asked, numbers = tables_of(tables), workers_of(workers)
    if "throughput" in asked:
        from .throughput import compare_throughput

        compare_throughput(quick=quick, source=source)
    if "overhead" in asked:
        from .overhead import compare_overhead

        compare_overhead(numbers, rounds=rounds, quick=quick)
    if "flatness" in asked:
        from .flatness import show_flatness

        show_flatness(quick=quick)
