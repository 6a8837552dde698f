"""Parts of a recipe in files of their own, such as the proxy that an audit recommends."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from search_spaces.strict_yaml import read_yaml

INCLUDE = "include"


def included_files(values: Mapping[str, object], *, folder: Path, source: str) -> list[Path]:
    """The files that a recipe includes, from its own folder; one may stand without a list.

    Raises:
        ValueError: If they are not named as texts.
    """
    given = values.get(INCLUDE, [])
    files = [given] if isinstance(given, str) else given
    if not isinstance(files, list) or not all(isinstance(file, str) and file for file in files):
        raise ValueError(f"{source}: {INCLUDE} must name a file or a list of files, got {given!r}")
    return [folder / Path(file).expanduser() for file in files]


def read_part(path: Path) -> dict[str, object]:
    """Read a file that recipes include.

    Raises:
        ValueError: In one line, if it cannot be read, or includes others itself.
    """
    values = read_yaml(path)
    if INCLUDE in values:
        raise ValueError(f"{path}: an included file must not include others, got {INCLUDE}: {values[INCLUDE]!r}")
    return values


def merge(layers: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Lay settings over each other, key by key in all their parts; what comes later wins, and a list as a whole.

    >>> merge([{"train": {"lr": 0.01, "augment": False}}, {"train": {"lr": 0.02}}])
    {'train': {'lr': 0.02, 'augment': False}}
    """
    merged: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            under = merged.get(key)
            merged[key] = merge([under, value]) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged
