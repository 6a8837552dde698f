"""``nas audit``: how well cheaper trainings rank the candidates of a search."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import TRY_AGAIN, fail, usage_errors

if TYPE_CHECKING:
    from ..audit.config import AuditConfig

# Flags that override a key of the recipe, by the parameter's name.
_KEYS = {
    "search": "search", "architectures": "num_architectures", "target_epochs": "target.epochs",
    "target_seeds": "target_seeds", "proxy_seeds": "proxy_seeds", "seed": "seed", "out": "out",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(
    recipe: Annotated[str | None, typer.Argument(help="An audit's file, or the name of an installed one.")] = None,
    search: Annotated[
        str | None, typer.Option(help="The search whose proxy is audited: a recipe's file or name.")
    ] = None,
    architectures: Annotated[int | None, typer.Option(help="Members of the space that are trained.")] = None,
    target_epochs: Annotated[int | None, typer.Option(help="Of the training whose ranking counts.")] = None,
    target_seeds: Annotated[int | None, typer.Option(help="Trainings of each architecture at the target.")] = None,
    proxy_seeds: Annotated[int | None, typer.Option(help="Trainings of each architecture at every proxy.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sample and of every training.")] = None,
    out: Annotated[Path | None, typer.Option(help="The audit's directory; the same one again resumes.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, e.g. search.workers=2.")
    ] = None,
    take_over_lock: Annotated[
        bool, typer.Option("--take-over", help="Of a directory whose run was on another host that is certainly gone.")
    ] = False,
    show_recipes: Annotated[bool, typer.Option("--list", help="Name the installed audits and end.")] = False,
) -> None:
    """Find the cheapest short training that ranks a search's candidates as a long one does.

    Running it again on the same directory resumes. Its proxy.yaml is what nas search --include takes.
    """
    if show_recipes:
        _print_recipes()
        return
    given = {name: value for name, value in locals().items() if name in _KEYS and value is not None}
    with usage_errors():
        config = _read(recipe, {_KEYS[name]: value for name, value in given.items()}, settings or [])
        _require_no_search(config.out)
        if take_over_lock:
            from ..run_lock import take_over

            take_over(config.out)
    _run(config)


def _read(recipe: str | None, overrides: dict[str, object], settings: list[str]) -> "AuditConfig":
    from ..audit.config import read_audit_config
    from ..config_values import parse_override
    from ..recipes import AUDITS, find_recipe
    from ..run_directory import RunDirectory

    for text in settings:
        key, value = parse_override(text)
        overrides[key] = value
    if recipe is not None:
        return read_audit_config(find_recipe(recipe, AUDITS), overrides)
    out = overrides.get("out")
    if isinstance(out, Path) and RunDirectory(out).is_started:
        _require_no_search(out)
        return read_audit_config(RunDirectory(out).config_file, overrides)
    if "search" not in overrides:
        raise ValueError("name an audit (nas audit --list), or with --search the recipe whose proxy is audited")
    return read_audit_config(None, overrides)


def _require_no_search(out: Path) -> None:
    from ..audit.directory import holds_audit
    from ..run_directory import RunDirectory

    if RunDirectory(out).is_started and not holds_audit(RunDirectory(out)):
        raise ValueError(f"{out} holds a search, no audit: take another --out")


def _run(config: "AuditConfig") -> None:
    from ..audit.run import run_audit
    from ..executors.interface import RefusedError
    from ..opening import InterruptedSearchError
    from ..pricing import TableError
    from ..run_directory import RunDirectoryError
    from ..run_lock import LeasedError
    from .audit_display import AuditDisplay

    with AuditDisplay(config) as display:
        try:
            results = run_audit(config, observer=display)
            display.completed(results)
        except (RefusedError, RunDirectoryError, TableError) as error:
            display.close()
            fail(error, TRY_AGAIN if isinstance(error, LeasedError) else 2)
        except InterruptedSearchError:
            display.close()
            _write_so_far(config.out)
            print(f"interrupted; to resume: nas audit --out {config.out}", file=sys.stderr)
            raise typer.Exit(130) from None
        except OSError as error:
            display.close()
            fail(f"{error.strerror or error} ({config.out}); what was trained is kept, run it again to resume", 1)


def _write_so_far(out: Path) -> None:
    """Write what the trainings show that there are, if there are any."""
    from ..audit.analysis import analyse
    from ..audit.run import read_audit
    from ..audit.views import write_views
    from ..run_directory import RunDirectoryError

    with suppress(RunDirectoryError):
        write_views(analyse(read_audit(out)), out)


def _print_recipes() -> None:
    from ..recipes import AUDITS, describe_recipe, recipe_names

    for name in recipe_names(AUDITS):
        print(f"{name:<16} {describe_recipe(name, AUDITS)}")
