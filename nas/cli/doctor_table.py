"""What ``nas doctor`` prints."""

from collections.abc import Sequence

from rich.text import Text

from ..doctor.examination import Treatment
from ..doctor.findings import Finding, Severity
from .console import table_console
from .tables import plain_table

_STYLES = {Severity.NOTE: "dim", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def print_findings(findings: Sequence[Finding]) -> None:
    """A row for each finding on a terminal; elsewhere a line for each, its parts between tabs."""
    console = table_console()
    if not findings:
        console.print("nothing is wrong", highlight=False)
        return
    if not console.is_terminal:
        for finding in findings:
            print(finding.severity, finding.file, finding.what, finding.advice, sep="\t")
        return
    table = plain_table()
    for head in ("", "file", "what", "what to do"):
        table.add_column(head, overflow="fold")
    for finding in sorted(findings, key=lambda each: list(Severity).index(each.severity), reverse=True):
        severity = Text(finding.severity, style=_STYLES[finding.severity])
        table.add_row(severity, Text(finding.file), Text(finding.what), Text(finding.advice))
    console.print(table)


def print_repairs(treatment: Treatment) -> None:
    """A line for each repair, and where the backup is."""
    for finding, outcome in treatment.done:
        print(f"{finding.file}: {finding.what} → {outcome}")
    if treatment.backup is not None:
        print(f"as it was before: {treatment.backup}")
