"""The spaces that have a name, and the one way to get a space from what a user writes."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from . import catalog
from .architecture import Architecture, parse
from .efficientnet_v2 import efficientnet_v2
from .messages import did_you_mean
from .mnasnet import mnasnet
from .space import SearchSpace, StageChoices
from .space_file import read_space

_SPACES: dict[str, Callable[..., SearchSpace]] = {"efficientnetv2": efficientnet_v2, "mnasnet": mnasnet}


def space_names() -> tuple[str, ...]:
    return tuple(_SPACES)


def get_space(name: str | Path, **options: object) -> SearchSpace:
    """Get a space by name with its options, read a YAML file of your own, or take a single network.

    >>> get_space("efficientnetv2", scale="b0").choices["stage1_kernel_size"]
    (3, 5)

    Args:
        name: "efficientnetv2", "mnasnet", the path of a YAML file, or a network's catalog name or text: `space_of`.
        options: Those of the named space: `efficientnet_v2`, `mnasnet`, `space_of`.

    Raises:
        ValueError: If name or an option is unknown, or the file is malformed.
    """
    if isinstance(name, Path) or str(name).endswith((".yaml", ".yml")):
        if options:
            raise ValueError(f"a space from a file takes no options, got {sorted(options)}")
        return read_space(Path(name))
    if name in catalog.names() or str(name).startswith("stem"):
        network = catalog.get(str(name)).architecture if name in catalog.names() else parse(str(name))
        return replace(_made(str(name), partial(space_of, network), options), name=str(name))
    if name not in space_names():
        hint = did_you_mean(str(name), _SPACES)
        raise ValueError(f"unknown space {name!r} (a name, or the path of a .yaml file); {hint}")
    return _made(str(name), _SPACES[str(name)], options)


def space_of(architecture: Architecture, *, resolution: int | None = None) -> SearchSpace:
    """The space that holds one network alone: to train it, time it, or scale it, as a search would.

    Args:
        architecture: Its only member.
        resolution: Training size, pixels per side; by default the architecture's own.

    Raises:
        ValueError: If the network has a stage that no space offers, or the resolution is below the total stride.
    """
    network = architecture if resolution is None else replace(architecture, resolution=resolution)
    stages = tuple(
        StageChoices(
            out_channels=stage.out_channels,
            stride=stage.stride,
            num_repeats=(stage.num_repeats,),
            block=(stage.block,),
            kernel_size=(stage.kernel_size,),
            expand_ratio=(stage.expand_ratio,),
            se_ratio=(stage.se_ratio,),
        )
        for stage in network.stages
    )
    return SearchSpace(
        name="one network",
        stages=stages,
        stem_channels=network.stem_channels,
        head_channels=network.head_channels,
        resolution=network.resolution,
        backbone=network,
    )


def _made(name: str, make: Callable[..., SearchSpace], options: dict[str, object]) -> SearchSpace:
    known = inspect.signature(make).parameters
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"the space {name!r} has no option {unknown[0]!r} (known: {', '.join(known)})")
    return make(**options)
