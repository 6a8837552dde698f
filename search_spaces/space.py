"""What a search may choose: per-stage choices, and the way between an architecture and its parameters."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from .architecture import FUSED_MBCONV, MBCONV, Architecture, Stage

Value = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoices:
    """The values one stage may take; what has a single value is fixed.

    Raises:
        ValueError: If a list is empty, repeats a value, or allows a stage that no rule allows.
    """

    out_channels: int
    stride: int
    num_repeats: tuple[int, ...]
    block: tuple[str, ...] = (MBCONV, FUSED_MBCONV)
    kernel_size: tuple[int, ...] = (3, 5)
    expand_ratio: tuple[int, ...] = (1, 4, 6)
    se_ratio: tuple[float, ...] = (0.25,)
    """Of MBConv; Fused-MBConv stages have none (arXiv:2104.00298, Table 4)."""

    def __post_init__(self) -> None:
        for name in _AXES:
            values = getattr(self, name)
            if not isinstance(values, tuple) or not values or any(values.count(value) > 1 for value in values):
                raise ValueError(f"{name} must be a list of different values, got {values!r}")
        for values in product(*(getattr(self, name) for name in _AXES)):
            self.stage(dict(zip(_AXES, values, strict=True)))

    def stage(self, values: Mapping[str, Value]) -> Stage:
        """The stage with these values, one for each axis."""
        chosen = dict(values)
        if chosen["block"] == FUSED_MBCONV:
            chosen["se_ratio"] = 0.0
        return Stage(stride=self.stride, out_channels=self.out_channels, **chosen)  # type: ignore[arg-type]

    def values_of(self, stage: Stage) -> dict[str, Value]:
        """The axis values that give this stage; where Fused-MBConv leaves the SE ratio open, its first choice.

        Raises:
            ValueError: If the stage is not among these choices.
        """
        values = {name: getattr(stage, name) for name in _AXES}
        if stage.block == FUSED_MBCONV:
            if stage.se_ratio:
                raise ValueError(f"Fused-MBConv has no squeeze-and-excitation in a search space, got {stage}")
            values["se_ratio"] = self.se_ratio[0]
        for name, value in values.items():
            if value not in getattr(self, name):
                raise ValueError(f"{name} must be one of {getattr(self, name)}, got {value!r} in {stage}")
        if (stage.stride, stage.out_channels) != (self.stride, self.out_channels):
            raise ValueError(f"the stage must have stride {self.stride} and {self.out_channels} channels, got {stage}")
        return values

    @property
    def thinnest(self) -> Stage:
        """The stage that squeezes its input to the fewest channels."""
        values = {name: getattr(self, name)[0] for name in _AXES}
        values["block"] = MBCONV if MBCONV in self.block else FUSED_MBCONV
        values["se_ratio"] = min((ratio for ratio in self.se_ratio if ratio), default=0.0)
        return self.stage(values)

    @property
    def size(self) -> int:
        """The number of different stages."""
        with_se = (MBCONV in self.block) * len(self.se_ratio) + (FUSED_MBCONV in self.block)
        return len(self.num_repeats) * len(self.kernel_size) * len(self.expand_ratio) * with_se


_AXES = ("block", "num_repeats", "kernel_size", "expand_ratio", "se_ratio")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """A set of architectures: choices for each stage around a fixed stem, head and size.

    A parameter is called ``stage2_kernel_size``; its values are strings and numbers, so every sampler and storage can
    hold them.

    Raises:
        ValueError: If the choices allow an architecture that no rule allows, or the backbone is not a member.
    """

    name: str
    stages: tuple[StageChoices, ...]
    stem_channels: int
    head_channels: int
    resolution: int
    backbone: Architecture
    """Trial 0 of every search, and the reference of step time and parameters."""

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not all(isinstance(stage, StageChoices) for stage in self.stages):
            raise ValueError(f"stages must be a tuple of StageChoices, got {self.stages!r}")
        # Widths are fixed, so every member is sound if the one that squeezes most is.
        self._architecture(choices.thinnest for choices in self.stages)
        try:
            self.to_params(self.backbone)
        except ValueError as error:
            raise ValueError(f"the backbone must lie in the space {self.name!r}: {error}") from None

    @cached_property
    def choices(self) -> dict[str, tuple[Value, ...]]:
        """Every parameter that has a choice, with its values, in the order of the stages."""
        return {
            f"stage{number}_{axis}": getattr(choices, axis)
            for number, choices in enumerate(self.stages, start=1)
            for axis in _AXES
            if len(getattr(choices, axis)) > 1
        }

    @property
    def size(self) -> int:
        """The number of different architectures."""
        return math.prod(choices.size for choices in self.stages)

    def sample(self, rng: random.Random) -> Architecture:
        """Draw each choice uniformly and independently."""
        return self.from_params({name: rng.choice(values) for name, values in self.choices.items()})

    def contains(self, architecture: Architecture) -> bool:
        try:
            self.to_params(architecture)
        except ValueError:
            return False
        return True

    def from_params(self, params: Mapping[str, Value]) -> Architecture:
        """The architecture these parameters describe.

        Raises:
            ValueError: If a parameter is missing, unknown, or has a value that is no choice.
        """
        if unknown := sorted(params.keys() - self.choices.keys()):
            raise ValueError(f"the space {self.name!r} has no parameter {unknown[0]!r}")
        return self._architecture(
            choices.stage({axis: self._value(params, number, axis) for axis in _AXES})
            for number, choices in enumerate(self.stages, start=1)
        )

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The member as the places of its values among their choices, in the order of `choices`.

        Raises:
            ValueError: If the architecture is not a member.
        """
        params = self.to_params(architecture)
        return tuple(values.index(params[name]) for name, values in self.choices.items())

    def decode(self, places: Sequence[int]) -> Architecture:
        """The member at these places; the inverse of `encode`, up to an SE ratio that Fused-MBConv leaves open.

        Raises:
            ValueError: If there is not one place among its values for each choice.
        """
        sizes = [len(values) for values in self.choices.values()]
        if len(places) != len(sizes) or any(not 0 <= place < size for place, size in zip(places, sizes, strict=True)):
            raise ValueError(f"places must be one for each choice, from 0 and below {sizes}, got {tuple(places)}")
        chosen = zip(self.choices.items(), places, strict=True)
        return self.from_params({name: values[place] for (name, values), place in chosen})

    def to_params(self, architecture: Architecture) -> dict[str, Value]:
        """The parameters of a member; the inverse of `from_params`.

        Raises:
            ValueError: If the architecture is not a member, with the first rule it breaks.
        """
        for name in ("stem_channels", "head_channels", "resolution"):
            if getattr(architecture, name) != getattr(self, name):
                raise ValueError(f"{name} must be {getattr(self, name)}, got {getattr(architecture, name)}")
        if len(architecture.stages) != len(self.stages):
            raise ValueError(f"the number of stages must be {len(self.stages)}, got {len(architecture.stages)}")
        return {name: value for name, value in self._all_values(architecture) if name in self.choices}

    def _architecture(self, stages: Iterable[Stage]) -> Architecture:
        return Architecture(
            stages=tuple(stages),
            stem_channels=self.stem_channels,
            head_channels=self.head_channels,
            resolution=self.resolution,
        )

    def _all_values(self, architecture: Architecture) -> Iterator[tuple[str, Value]]:
        for number, (choices, stage) in enumerate(zip(self.stages, architecture.stages, strict=True), start=1):
            for axis, value in choices.values_of(stage).items():
                yield f"stage{number}_{axis}", value

    def _value(self, params: Mapping[str, Value], number: int, axis: str) -> Value:
        values, name = getattr(self.stages[number - 1], axis), f"stage{number}_{axis}"
        if name not in self.choices:
            return values[0]
        if name not in params:
            raise ValueError(f"missing parameter {name!r} of the space {self.name!r}")
        if params[name] not in values:
            raise ValueError(f"{name} must be one of {values}, got {params[name]!r}")
        return params[name]
