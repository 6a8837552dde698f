"""Plain data on its way to a configuration: overrides by key, and paths that hold wherever a run is resumed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from search_spaces.strict_yaml import parse_yaml

from .config_errors import one_line

Settings = TypeVar("Settings", bound=BaseModel)


def parse_override(text: str) -> tuple[str, object]:
    """Read ``KEY=VALUE`` as the command line gives it; VALUE is YAML.

    >>> parse_override("train.lr=0.01")
    ('train.lr', 0.01)

    Raises:
        ValueError: If the text is not of this form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--set takes KEY=VALUE, got {text!r}")
    return key, parse_yaml(f"value: {value}", source=f"--set {key}")["value"]


def validated(
    model: type[Settings],
    values: Mapping[str, object],
    overrides: Mapping[str, object],
    *,
    source: str,
    complete: Callable[[dict[str, object]], dict[str, object]],
) -> Settings:
    """Settings from plain data.

    Args:
        model: What they are.
        values: By key.
        overrides: Outweigh them; ``"train.lr"`` reaches into a part.
        source: Of the values, for the message about a wrong one.
        complete: What is done to the values once they are overridden.

    Raises:
        ValueError: In one line that names source, key, rule and value.
    """
    merged = dict(values)
    for key, value in overrides.items():
        set_key(merged, key, value)
    try:
        return model.model_validate(complete(merged))
    except ValidationError as error:
        raise ValueError(f"{source}: {one_line(error, model)}") from None


def set_key(values: dict[str, object], key: str, value: object) -> None:
    """Set a value; ``"train.lr"`` reaches into a part, which is copied.

    Raises:
        ValueError: If the part is no mapping.
    """
    part, dot, rest = key.partition(".")
    if not dot:
        values[part] = value
        return
    inner = values.get(part, {})
    if not isinstance(inner, Mapping):
        raise ValueError(f"{key} reaches into {part}, which is no mapping: {inner!r}")
    values[part] = dict(inner)
    set_key(values[part], rest, value)  # type: ignore[arg-type]


def absolute_images(values: dict[str, object]) -> dict[str, object]:
    """Name a folder of images from the root, so that the run can be resumed from anywhere."""
    data = values.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(source, str):
        return values
    kind, colon, folder = source.partition(":")
    # Under a root of its own, the folder is looked for there.
    if folder and data.get("root") is None:
        values["data"] = {**data, "source": f"{kind}{colon}{Path(folder).expanduser().absolute()}"}
    return values
