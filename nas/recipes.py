"""Recipes: complete searches in YAML, found by path, or by name among those that are installed."""

from importlib import resources
from pathlib import Path

from search_spaces.messages import did_you_mean

_PACKAGE = "experiments"


def recipe_names() -> list[str]:
    """Names of the installed recipes."""
    folder = resources.files(_PACKAGE)
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: A path, or the name of an installed recipe.

    Raises:
        ValueError: If there is no such file or recipe.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise ValueError(f"no such recipe file: {name}")
        return Path(name)
    if name not in recipe_names():
        raise ValueError(f"no recipe {name!r}; {did_you_mean(name, recipe_names())}")
    return Path(str(resources.files(_PACKAGE) / f"{name}.yaml"))


def describe_recipe(name: str) -> str:
    """The recipe's own first comment."""
    first = find_recipe(name).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
