"""Everything in a run directory that is only looked at, refreshed from what the study says."""

from .run import Run
from .trials_csv import write_best, write_trials


def write_views(run: Run, *, report: bool) -> None:
    """Write `trials.csv`, `best.yaml` and, if asked, `report.html`.

    Raises:
        OSError: If one of them cannot be written.
    """
    write_trials(run.records, run.reward(), run.directory.trials_file)
    entries = run.leaderboard()
    if entries:
        write_best(entries[0], run)
    if report:
        # Plotly is imported for reports only.
        from .report import write_report

        write_report(run, run.directory.report_file)
