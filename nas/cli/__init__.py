"""The command line. This module and what it imports need Typer only, so that ``nas --help`` answers at once."""

import sys
from importlib import metadata

import typer

from . import (
    audit_command,
    bench_command,
    dashboard_command,
    doctor_command,
    evaluate_command,
    export_command,
    inspect_commands,
    measure_commands,
    run_commands,
    scale_command,
    search_command,
    train_command,
)

# Typer keeps the base class of its usage errors private: BadParameter ← UsageError ← ClickException.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="nas",
    help="Find vision backbones that train fast: training-aware neural architecture search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    search_command, audit_command, inspect_commands, measure_commands, run_commands, dashboard_command, scale_command,
    train_command, evaluate_command, export_command, doctor_command, bench_command,
)  # fmt: skip
for commands in _COMMANDS:
    commands.register(app)


def main() -> None:
    """Run the command line; a mistake in it ends with one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except _CommandLineError as error:
        message = error.format_message()  # type: ignore[attr-defined]
        print(f"nas: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _print_version(value: bool) -> None:
    if value:
        print(metadata.version("training-aware-nas"))
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Find vision backbones that train fast: training-aware neural architecture search."""
