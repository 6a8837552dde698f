"""``nas report``, ``nas rerank`` and ``nas compare``: searches, audits and trainings, looked at again."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .errors import usage_errors

_DIR = Annotated[Path, typer.Argument(help="A run directory.")]


def register(app: typer.Typer) -> None:
    app.command("report")(report)
    app.command("rerank")(rerank)
    app.command("compare")(compare)


def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a search, an audit or a training.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; by default report.html in the directory.")] = None,
) -> None:
    """Write the report of a search, an audit or a training, running or ended, as one HTML file without network."""
    with usage_errors():
        write, path = _reported(directory)
        path = out or path
        if not path.parent.is_dir():
            raise ValueError(f"no such folder for the report: {path.parent}")
    write(path)
    print(path)


def _reported(directory: Path) -> tuple[Callable[[Path], None], Path]:
    """What writes the report of a directory, and where by default; a training has a record, the others have a study."""
    from ..audit.directory import holds_audit
    from ..full_training.directory import TrainingDirectory
    from ..run_directory import RunDirectory

    training = TrainingDirectory(directory)
    if training.record_file.exists():
        from ..report.training_page import read_training, write_training_page

        return partial(write_training_page, read_training(training)), training.report_file
    if holds_audit(RunDirectory(directory)):
        from ..audit.analysis import analyse
        from ..audit.run import read_audit
        from ..report.audit_page import write_audit_page

        results = read_audit(directory)
        return lambda path: write_audit_page(analyse(results), path), RunDirectory(directory).report_file
    from ..report import write_report
    from ..run import read_run

    run = read_run(directory)
    return partial(write_report, run), run.directory.report_file


def rerank(
    directory: _DIR,
    w: Annotated[float | None, typer.Option(help="Exponent of step time; by default the run's.")] = None,
    v: Annotated[float | None, typer.Option(help="Exponent of parameters; by default the run's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 10,
) -> None:
    """Rank a finished search by other exponents, without training anything again; the run stays as it is."""
    from rich.console import Console

    from ..rerank import pruned_note, sensitivity_map
    from ..rerank import rerank as rank_again
    from ..run import read_run
    from .tables import leaderboard_table

    with usage_errors():
        run = read_run(directory)
        reward = run.reward(w=w, v=v)
        entries = rank_again(run, reward.w, reward.v)
        if not entries:
            raise ValueError(f"no candidate has been judged yet in {directory}")
    console = Console()
    console.print(leaderboard_table(entries, limit))
    print(f"with w = {reward.w:g}, v = {reward.v:g} (the run: w = {run.config.w:g}, v = {run.config.v:g})")
    if note := pruned_note(run):
        print(note)
    grid = sensitivity_map(entries, reward)
    print(
        f"\nOver w from {grid.ws[0]:g} to {grid.ws[-1]:g} and v from {grid.vs[0]:g} to {grid.vs[-1]:g} the leader is:"
    )
    for number, share in grid.shares.items():
        architecture = next(entry.architecture for entry in entries if entry.number == number)
        print(f"  trial {number:<4} in {share:4.0%}  {architecture}")


def compare(
    left: Annotated[Path, typer.Argument(help="A run directory.")],
    right: Annotated[Path, typer.Argument(help="Another.")],
) -> None:
    """Put two runs side by side, and say whether their rewards may be compared."""
    from rich.console import Console

    from ..comparison import compare_runs
    from ..run import read_run
    from .tables import comparison_table

    with usage_errors():
        runs = read_run(left), read_run(right)
    Console().print(comparison_table(compare_runs(*runs)))
