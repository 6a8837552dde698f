"""Recipes: settings in YAML, found by path, or by name among those that are installed."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from search_spaces.messages import did_you_mean

_PACKAGE = "experiments"
SEARCHES = ""
"""Complete searches."""
AUDITS = "audit"
"""What is compared to find a proxy that ranks well."""
TRAININGS = "training"
"""How a network is trained; which one, and on which images, is said beside them."""


def recipe_names(kind: str = SEARCHES) -> list[str]:
    """Names of the installed recipes of a kind."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder(kind).iterdir() if path.name.endswith(".yaml"))


def find_recipe(name: str, kind: str = SEARCHES) -> Path:
    """The file of a recipe.

    Args:
        name: A path, or the name of an installed recipe.
        kind: `SEARCHES`, `AUDITS` or `TRAININGS`.

    Raises:
        ValueError: If there is no such file or recipe.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise ValueError(f"no such recipe file: {name}")
        return Path(name)
    if name not in recipe_names(kind):
        raise ValueError(f"no recipe {name!r}; {did_you_mean(name, recipe_names(kind))}")
    return Path(str(_folder(kind) / f"{name}.yaml"))


def describe_recipe(name: str, kind: str = SEARCHES) -> str:
    """The recipe's own first comment."""
    first = find_recipe(name, kind).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _folder(kind: str) -> Traversable:
    return resources.files(_PACKAGE) / kind
