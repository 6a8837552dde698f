"""``nas doctor``: what is wrong with a run directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors

if TYPE_CHECKING:
    from ..doctor.examination import Treatment


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    directory: Annotated[Path, typer.Argument(help="The directory of a search or of a training.")],
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended, after a backup.")] = False,
) -> None:
    """Say what is wrong with a run directory; by default nothing in it is changed.

    Ends with 0 if nothing is wrong, or nothing any more, and with 1 otherwise.
    """
    from ..doctor.examination import examine, is_healthy
    from .doctor_table import print_findings

    with usage_errors():
        findings = _repair(directory).remaining if repair else examine(directory)
    print_findings(findings)
    if not is_healthy(findings):
        if not repair and any(finding.repair for finding in findings):
            print(f"to repair what can be repaired: nas doctor {directory} --repair")
        raise typer.Exit(1)


def _repair(directory: Path) -> "Treatment":
    from ..doctor.examination import treat
    from .doctor_table import print_repairs

    try:
        treatment = treat(directory)
    except OSError as error:
        fail(f"{error.strerror or error} ({directory}); what was mended is kept, the rest is as it was", 1)
    print_repairs(treatment)
    return treatment
