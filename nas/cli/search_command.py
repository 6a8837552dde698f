"""``nas search``: the main job."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import TRY_AGAIN, fail, usage_errors

if TYPE_CHECKING:
    from ..config import SearchConfig

# Flags that override a key of the recipe, by the parameter's name.
_KEYS = {
    "space": "space", "data": "data.source", "trials": "trials", "sampler": "sampler", "executor": "executor",
    "workers": "workers", "ray_address": "cluster.address", "cpus_per_trial": "cluster.cpus_per_trial",
    "gpus_per_trial": "cluster.gpus_per_trial", "device": "device", "seed": "seed", "timeout": "timeout_s",
    "w": "w", "v": "v", "warm_start": "warm_start", "pruner": "pruners", "out": "out",
}  # fmt: skip

_OF_RAY = {"ray_address", "cpus_per_trial", "gpus_per_trial"}


def register(app: typer.Typer) -> None:
    app.command("search")(search)


def search(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's file, or the name of an installed one.")] = None,
    space: Annotated[str | None, typer.Option(help="Name of a space, a YAML file, or a single network.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, fashion-mnist, cifar10, imagefolder:PATH, imagenet:PATH …, see docs/data.md."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Candidates to judge; a finished search can be extended.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="known-cost, tpe, gp, nsga2, evolution, reinforce or random.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="local: processes on this machine; ray: on a cluster, see docs/cluster.md.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Candidates trained at once; on a cluster, as many as fit.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; auto: the one this machine belongs to.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="On a Ray cluster; a part of one lets trials share it.")
    ] = None,
    cpus_per_trial: Annotated[int | None, typer.Option(help="On a Ray cluster; CPUs and threads of a trial.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of proposals and trainings.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Propose nothing more after this many seconds.")] = None,
    w: Annotated[float | None, typer.Option(help="Exponent of step time in the reward.")] = None,
    v: Annotated[float | None, typer.Option(help="Exponent of parameters in the reward.")] = None,
    include: Annotated[
        list[Path] | None, typer.Option(help="A file of settings over the recipe's, e.g. an audit's proxy.yaml.")
    ] = None,
    pruner: Annotated[
        list[str] | None, typer.Option(help="known-cost, halving or hyperband: ends trainings early; may be repeated.")
    ] = None,
    warm_start: Annotated[
        list[Path] | None, typer.Option(help="An earlier run on this space to learn from; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; the same one again resumes.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, e.g. train.lr=0.01.")
    ] = None,
    take_over_lock: Annotated[
        bool, typer.Option("--take-over", help="Of a directory whose run was on another host that is certainly gone.")
    ] = False,
    show_recipes: Annotated[bool, typer.Option("--list", help="Name the installed recipes and end.")] = False,
) -> None:
    """Search a space for the architecture with the best reward on your images.

    Running it again on the same directory resumes, or says that the search is complete.
    """
    if show_recipes:
        _print_recipes()
        return
    given = {name: value for name, value in locals().items() if name in _KEYS and value is not None}
    with usage_errors():
        overrides = {_KEYS[name]: value for name, value in given.items()}
        config = _read(recipe, include or [], overrides, settings or [])
        if config.executor != "ray" and (ignored := given.keys() & _OF_RAY):
            raise ValueError(f"--{min(ignored).replace('_', '-')} needs --executor ray, got {config.executor}")
        _require_no_audit(config.out)
        if take_over_lock:
            from ..run_lock import take_over

            take_over(config.out)
    _run(config)


def _read(recipe: str | None, include: list[Path], overrides: dict[str, object], settings: list[str]) -> "SearchConfig":
    from ..config import make_config, read_config
    from ..config_values import parse_override
    from ..recipes import find_recipe
    from ..run_directory import RunDirectory

    for text in settings:
        key, value = parse_override(text)
        overrides[key] = value
    if recipe is not None:
        return read_config(find_recipe(recipe), overrides, include=include)
    out = overrides.get("out")
    if isinstance(out, Path) and RunDirectory(out).is_started:
        _require_no_audit(out)
        return read_config(RunDirectory(out).config_file, overrides, include=include)
    if not {"space", "data.source"} & overrides.keys():
        raise ValueError("name a recipe (nas search --list), or give --space or --data")
    return make_config({}, overrides, include=include)


def _require_no_audit(out: Path) -> None:
    from ..audit.directory import holds_audit
    from ..run_directory import RunDirectory

    if holds_audit(RunDirectory(out)):
        raise ValueError(f"{out} holds an audit, no search: take another --out")


def _run(config: "SearchConfig") -> None:
    from ..executors.interface import RefusedError
    from ..opening import InterruptedSearchError
    from ..pricing import TableError
    from ..run_directory import RunDirectoryError
    from ..run_lock import LeasedError
    from ..search import run_search
    from ..study import Ending
    from .search_display import SearchDisplay

    with SearchDisplay(config) as display:
        try:
            _, ending = run_search(config, observer=display)
        except (RefusedError, RunDirectoryError, TableError) as error:
            display.close()
            fail(error, TRY_AGAIN if isinstance(error, LeasedError) else 2)
        except InterruptedSearchError:
            ending = Ending.INTERRUPTED
        except OSError as error:
            display.close()
            fail(f"{error.strerror or error} ({config.out}); what was judged is kept, run it again to resume", 1)
    if ending is Ending.INTERRUPTED:
        print(f"interrupted; to resume: nas search --out {config.out}", file=sys.stderr)
        raise typer.Exit(130)


def _print_recipes() -> None:
    from ..recipes import describe_recipe, recipe_names

    for name in recipe_names():
        print(f"{name:<16} {describe_recipe(name)}")
