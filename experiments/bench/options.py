"""Options that every benchmark has."""

from typing import Annotated

import typer

Quick = Annotated[bool, typer.Option("--quick", help="A small setting that ends within a minute or so.")]
