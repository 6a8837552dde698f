"""A family as data: its members with all that is known of them before they are trained, and its file."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from proxies.step_time import Verdict
from search_spaces.architecture import Architecture, parse
from search_spaces.messages import did_you_mean
from search_spaces.scaling import Coefficients
from search_spaces.strict_yaml import dump_yaml, read_yaml

from ..regularization import Regularization

FORMAT = 1
"""Version of the file; others are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeFigure:
    """A step time, predicted or measured."""

    seconds: float
    relative_error: float
    """Standard error ÷ the step time."""
    verdict: Verdict | None = None
    """Of a measurement."""

    def __post_init__(self) -> None:
        if not (0 < self.seconds < math.inf and 0 <= self.relative_error < math.inf):
            raise ValueError(f"a step time must be positive and finite, got {self.seconds} ± {self.relative_error}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One size of a family.

    Raises:
        ValueError: If its architecture cannot be parsed.
    """

    name: str
    architecture: str
    """Its resolution is the training size."""
    test_size: int
    """Inference size, pixels per side, under the cap."""
    computed_test_size: int
    """Before the cap."""
    phi: float | None
    """Steps above the network the family starts from; None where a size has numbers of its own."""
    late_growth: bool
    """Whether late stages have grown."""
    params: int
    macs: int
    """At the training size."""
    peak_memory_bytes: int
    """Of a training step, predicted."""
    predicted: StepTimeFigure | None = None
    measured: StepTimeFigure | None = None
    regularization: Regularization

    def __post_init__(self) -> None:
        parse(self.architecture)
        for name in ("test_size", "computed_test_size", "params", "macs", "peak_memory_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    @property
    def step_time(self) -> StepTimeFigure | None:
        """Measured where it is, else predicted."""
        return self.measured or self.predicted

    @property
    def is_capped(self) -> bool:
        return self.test_size < self.computed_test_size

    def parsed(self) -> Architecture:
        return parse(self.architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitEntry:
    """A direction of growth that was trained."""

    coefficients: Coefficients | None
    """None: along the ladder."""
    architecture: str
    accuracy: float
    """A after the run's short training, a fraction."""
    accuracy_se: float
    num_trainings: int
    predicted_step_time_s: float
    measured_step_time_s: float | None
    params: int
    macs: int
    """At the training size."""
    reward: float
    reward_se: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How growth was chosen."""

    num_candidates: int
    """Different networks that the grid of coefficients led to."""
    entries: tuple[FitEntry, ...]
    """Those that were trained, best reward first."""
    is_decided: bool
    """Whether the best is used: better than growth along the ladder at 95 %, or that could not be trained."""
    failed: tuple[str, ...] = ()
    """Why others were not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The training step whose costs are told."""

    num_classes: int
    in_channels: int
    batch_size: int
    mode: str
    optimizer: str
    predicted_for: str | None = None
    """Device whose step times are predicted; None where none are."""
    measured_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Networks that were scaled from one.

    Raises:
        ValueError: If it has no member, or two of one name.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    """Of its file, and of all that is in it."""

    network: str
    """The architecture it starts from."""
    base: str
    """The same un-scaled."""
    width: float
    """Multiplier that leads from the base's widths to the network's."""
    depth: float
    """Multiplier that leads from the base's layers to the network's."""
    ladder: str
    stands_at: str
    """Size of the ladder that the network has, or counts as."""
    coefficients: Coefficients | None
    """α, β and γ where they were given or fitted; None: growth along the ladder."""
    max_size: int | None
    setting: Setting
    members: tuple[Member, ...]
    fit: Fit | None = None
    """None: growth was not fitted."""
    format: int = FORMAT

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a family has members of different names, got {', '.join(names) or 'none'}")

    def member(self, name: str) -> Member:
        """
        Raises:
            ValueError: If no member has this name.
        """
        for member in self.members:
            if member.name == name:
                return member
        raise ValueError(f"no member {name!r}; {did_you_mean(name, [member.name for member in self.members])}")


_FAMILIES = TypeAdapter(Family)


def dump_family(family: Family) -> str:
    """A family as YAML; `read_family` is the inverse."""
    return dump_yaml(_FAMILIES.dump_python(family, mode="json"))


def read_family(path: Path) -> Family:
    """Read `family.yaml`.

    Raises:
        ValueError: In one line that names the path and what is wrong.
    """
    written = read_yaml(path)
    if written.get("format", FORMAT) != FORMAT:
        raise ValueError(f"{path} is a family of format {written['format']}, we read {FORMAT}")
    try:
        return _FAMILIES.validate_python(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path} is no family: {place}{': ' if place else ''}{problem}") from None
