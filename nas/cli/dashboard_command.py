"""``nas dashboard``: a search in the browser, while it runs."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from .errors import usage_errors


def register(app: typer.Typer) -> None:
    app.command("dashboard")(dashboard)


def dashboard(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default only this machine's browsers come in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="By default 8080, or the next that is free; 0: any.")
    ] = None,
) -> None:
    """Show a search in the browser, running or ended, in optuna-dashboard; nothing can be changed from there."""
    with usage_errors():
        from ..dashboard import make_dashboard
        from ..run_directory import RunDirectory

        server = make_dashboard(RunDirectory(directory), host=host, port=port)
    with server:
        print(server.url, flush=True)
        print("read-only, no password; Ctrl-C ends it", file=sys.stderr)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
