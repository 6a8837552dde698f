"""The spaces that have a name, and the one way to get a space from what a user writes."""

import inspect
from collections.abc import Callable
from pathlib import Path

from .efficientnet_v2 import efficientnet_v2
from .messages import did_you_mean
from .mnasnet import mnasnet
from .space import SearchSpace
from .space_file import read_space

_SPACES: dict[str, Callable[..., SearchSpace]] = {"efficientnetv2": efficientnet_v2, "mnasnet": mnasnet}


def space_names() -> tuple[str, ...]:
    return tuple(_SPACES)


def get_space(name: str | Path, **options: object) -> SearchSpace:
    """Get a space by name with its options, or read a YAML file of your own.

    >>> get_space("efficientnetv2", scale="b0").choices["stage1_kernel_size"]
    (3, 5)

    Args:
        name: "efficientnetv2", "mnasnet", or the path of a YAML file.
        options: Those of the named space: `efficientnet_v2`, `mnasnet`.

    Raises:
        ValueError: If name or an option is unknown, or the file is malformed.
    """
    if isinstance(name, Path) or str(name).endswith((".yaml", ".yml")):
        if options:
            raise ValueError(f"a space from a file takes no options, got {sorted(options)}")
        return read_space(Path(name))
    if name not in space_names():
        hint = did_you_mean(str(name), _SPACES)
        raise ValueError(f"unknown space {name!r} (a name, or the path of a .yaml file); {hint}")
    known = inspect.signature(_SPACES[name]).parameters
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"the space {name!r} has no option {unknown[0]!r} (known: {', '.join(known)})")
    return _SPACES[name](**options)
