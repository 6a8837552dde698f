"""A user's own space, written in YAML in a few lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .architecture import Architecture, parse
from .space import SearchSpace, StageChoices
from .strict_yaml import read_yaml

_SPACE_KEYS = ("name", "resolution", "stem_channels", "head_channels", "stages", "backbone")
_LIST_AXES = ("block", "num_repeats", "kernel_size", "expand_ratio", "se_ratio")
_STAGE_KEYS = (*_LIST_AXES, "out_channels", "stride")


def read_space(path: Path) -> SearchSpace:
    """Read a space from a file; `space_from_mapping` says what it holds.

    Raises:
        ValueError: In one line that names path, key, rule and value.
    """
    mapping = read_yaml(path)
    try:
        return space_from_mapping(mapping)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def space_from_mapping(mapping: Mapping[str, object]) -> SearchSpace:
    """Make a space from plain data.

    Keys: ``resolution``, ``stem_channels``, ``head_channels``, ``stages`` (each with ``out_channels``, ``stride``,
    ``num_repeats`` and, with defaults, ``block``, ``kernel_size``, ``expand_ratio``, ``se_ratio``; a list offers a
    choice, a single value fixes it), and optionally ``name`` and ``backbone`` (an architecture text; by default the
    first value of every list).

    Raises:
        ValueError: In one line that names key, rule and value.
    """
    _check_keys(mapping, allowed=_SPACE_KEYS, required=_SPACE_KEYS[1:5], where="space")
    stages = mapping["stages"]
    if not isinstance(stages, list) or not stages:
        raise ValueError(f"stages must be a list with one entry for each stage, got {stages!r}")
    choices = tuple(_stage_choices(stage, f"stage {number}") for number, stage in enumerate(stages, start=1))
    shape = {name: _whole_number(mapping[name], name) for name in ("stem_channels", "head_channels", "resolution")}
    name = mapping.get("name", "custom")
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a text, got {name!r}")
    backbone = _backbone(mapping.get("backbone"), choices, shape)
    return SearchSpace(name=name, stages=choices, backbone=backbone, **shape)


def space_to_mapping(space: SearchSpace) -> dict[str, object]:
    """The inverse of `space_from_mapping`, as plain data for YAML or JSON."""
    return {
        "name": space.name,
        "resolution": space.resolution,
        "stem_channels": space.stem_channels,
        "head_channels": space.head_channels,
        "backbone": str(space.backbone),
        "stages": [_stage_mapping(choices) for choices in space.stages],
    }


def _stage_mapping(choices: StageChoices) -> dict[str, object]:
    fixed = {"out_channels": choices.out_channels, "stride": choices.stride}
    return fixed | {axis: list(getattr(choices, axis)) for axis in _LIST_AXES}


def _stage_choices(mapping: object, where: str) -> StageChoices:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where} must be a mapping, got {mapping!r}")
    _check_keys(mapping, allowed=_STAGE_KEYS, required=("out_channels", "stride", "num_repeats"), where=where)
    # StageChoices checks the values themselves.
    lists: dict[str, Any] = {axis: _values(mapping[axis]) for axis in _LIST_AXES if axis in mapping}
    try:
        return StageChoices(
            out_channels=_whole_number(mapping["out_channels"], "out_channels"),
            stride=_whole_number(mapping["stride"], "stride"),
            **lists,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _backbone(text: object, choices: tuple[StageChoices, ...], shape: Mapping[str, int]) -> Architecture:
    if text is not None:
        try:
            return parse(text)  # type: ignore[arg-type]  # parse checks the type itself
        except ValueError as error:
            raise ValueError(f"backbone: {error}") from None
    stages = tuple(choice.stage({axis: getattr(choice, axis)[0] for axis in _LIST_AXES}) for choice in choices)
    return Architecture(stages=stages, **shape)


def _values(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _whole_number(value: object, name: str) -> int:
    if type(value) is not int:
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    return value


def _check_keys(
    mapping: Mapping[str, object], *, allowed: tuple[str, ...], required: tuple[str, ...], where: str
) -> None:
    for key in mapping:
        if key not in allowed:
            raise ValueError(f"{where}: unknown key {key!r} (known: {', '.join(allowed)})")
    for key in required:
        if key not in mapping:
            raise ValueError(f"{where}: missing key {key!r}")
