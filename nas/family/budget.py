"""What a user asks of a member: a name, and budgets in the units people think in."""

import math
import re
from dataclasses import dataclass, fields

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?) ?([A-Za-z]*)")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,30}")
_EXAMPLE = "m:params=60M,step-time=2.5x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Most that a member may cost; None leaves a quantity free.

    Raises:
        ValueError: If a number is not positive and finite.
    """

    params: float | None = None
    """Trainable parameters."""
    macs: float | None = None
    """Multiply-adds for an image at the training size."""
    step_time: float | None = None
    """Step time ÷ that of the family's S, or of its B0 on EfficientNet's ladder."""
    memory: float | None = None
    """Bytes at the peak of a training step."""
    test_size: int | None = None
    """Inference size, pixels per side: taken as it is, and so not above the cap."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{field.name.replace('_', '-')} must be positive and finite, got {value}")

    @property
    def is_open(self) -> bool:
        """Whether no cost is bounded, so that a published size is taken as it is."""
        return all(getattr(self, field.name) is None for field in fields(self) if field.name != "test_size")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A member that is wanted."""

    name: str
    """A size of the ladder ("m"), or any other name, which then needs a budget."""
    budget: Budget = Budget()


def parse_request(text: str) -> Request:
    """Read ``NAME`` or ``NAME:KEY=VALUE,…`` as the command line gives it.

    >>> parse_request("m:params=60M,step-time=2.5x").budget
    Budget(params=60000000.0, macs=None, step_time=2.5, memory=None, test_size=None)

    Raises:
        ValueError: In one line that names the rule and the value.
    """
    name, _, rest = text.partition(":")
    if not _NAME.fullmatch(name):
        raise ValueError(f"a member is named by lower-case letters and digits, e.g. {_EXAMPLE!r}, got {text!r}")
    values: dict[str, float | int] = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        field = key.strip().replace("-", "_")
        if field not in _READERS:
            known = ", ".join(name.replace("_", "-") for name in _READERS)
            raise ValueError(f"{name}: unknown budget {key!r} (known: {known})")
        if field in values:
            raise ValueError(f"{name}: doubled budget {key!r}")
        try:
            values[field] = _READERS[field](value.strip())
        except ValueError as error:
            raise ValueError(f"{name}: {key} {error}") from None
    return Request(name=name, budget=Budget(**values))  # type: ignore[arg-type]  # the readers give what it takes


def _count(text: str) -> float:
    return _quantity(text, ("", "k", "M", "G", "B"), "a number such as 60M or 24G")


def _bytes(text: str) -> float:
    return _quantity(text, ("KiB", "MiB", "GiB"), "a size with its unit such as 16GiB")


def _ratio(text: str) -> float:
    return _quantity(text.removesuffix("x"), ("",), "a ratio such as 2.5x")


def _pixels(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
        raise ValueError(f"must be a whole number of pixels, got {text!r}")
    return int(text)


def _quantity(text: str, units: tuple[str, ...], example: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"must be {example}, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


_READERS = {"params": _count, "macs": _count, "step_time": _ratio, "memory": _bytes, "test_size": _pixels}
