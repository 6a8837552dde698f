"""Rules that turn one network into a smaller or larger one: pure functions of widths, depths and sizes.

EfficientNet scales all stages alike (arXiv:1905.11946, section 3); EfficientNetV2 bounds the size and adds layers to
later stages (arXiv:2104.00298, section 3.3), by a rule that its paper does not state: `LateGrowth`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from .architecture import Architecture, Stage

MAX_TEST_SIZE = 480
"""EfficientNetV2's cap on the inference size, pixels per side: larger ones cost more memory and time than they gain."""
MIN_CHANNELS = 8
"""Of a stage: narrower ones would be rounded up to this, and be another network than the multiplier says."""
TRAIN_SHARE = 0.8
"""Training size ÷ test size: a network that trains on smaller images tests better on larger ones (section 5)."""

Stem = Literal["scaled", "first-stage", "kept"]
Head = Literal["scaled", "kept"]
_NOTHING: Mapping[int, int] = MappingProxyType({})


def round_channels(channels: float, *, divisor: int = 8, keep_nine_tenths: bool = False) -> int:
    """Round a width to a multiple of ``divisor``, at least one divisor.

    >>> round_channels(96 * 1.4), round_channels(20.0)
    (136, 24)

    Args:
        channels: The width as the rule computes it.
        divisor: Hardware likes multiples of 8.
        keep_nine_tenths: Go one multiple up where rounding would lose more than a tenth. EfficientNet V1 does
            (google/automl efficientnet), V2 does not.

    Raises:
        ValueError: If channels is not a positive finite number.
    """
    if not (math.isfinite(channels) and channels > 0):
        raise ValueError(f"channels must be positive and finite, got {channels}")
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    if keep_nine_tenths and rounded < 0.9 * channels:
        rounded += divisor
    return rounded


def round_layers(layers: float) -> int:
    """Round a number of layers up, as EfficientNet V1 and V2 do.

    >>> [round_layers(1.8 * n) for n in (1, 2, 2, 3, 5, 8)]
    [2, 4, 4, 6, 9, 15]

    Raises:
        ValueError: If layers is not a positive finite number.
    """
    if not (math.isfinite(layers) and layers > 0):
        raise ValueError(f"layers must be positive and finite, got {layers}")
    # 2.2 · 25 is 55.00000000000001 in floating point: 55 layers, not 56.
    return math.ceil(round(layers, 9))


def base_layers(layers: int, depth: float) -> int:
    """The number of base layers that scaling by ``depth`` brings nearest to ``layers``; of equals, layers ÷ depth.

    The inverse of `round_layers` wherever that has one.

    >>> [base_layers(n, 1.8) for n in (2, 4, 4, 6, 9, 15)], [base_layers(n, 1.1) for n in (2, 3, 3, 4, 6, 9)]
    ([1, 2, 2, 3, 5, 8], [1, 2, 2, 3, 5, 8])

    Raises:
        ValueError: If layers or depth is not a positive finite number.
    """
    round_layers(layers * depth)
    exact = layers / depth
    near = {max(1, math.floor(exact)), max(1, math.ceil(exact))}
    return min(near, key=lambda count: (abs(round_layers(count * depth) - layers), abs(count - exact)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LateGrowth:
    """Non-uniform growth: base layers that late stages gain before the depth multiplier acts, and a stage at the end.

    With its defaults EfficientNetV2-M and -L follow from the base exactly (google/automl, effnetv2_configs.py).

    Raises:
        ValueError: If a number of layers is negative.
    """

    extra_layers: tuple[int, ...] = (1, 0)
    """Of the last stages, in their order: the last but one gains a layer. Stages that are not there are left out."""
    new_stage_layers: int = 2
    """Of a new last stage, with the last one's block, kernel and expansion, and stride 1; 0 adds none."""
    new_stage_width: float = 5 / 3
    """Its base width ÷ the last stage's."""
    like: Stage | None = None
    """Whose block, kernel, expansion and squeeze-and-excitation the new stage has; None: the last stage's."""

    def __post_init__(self) -> None:
        if min(self.extra_layers, default=0) < 0 or self.new_stage_layers < 0:
            raise ValueError(f"late growth must not take layers away, got {self}")

    def apply(self, base: Architecture) -> Architecture:
        """The base with its late stages grown.

        >>> from search_spaces import catalog
        >>> grown = LateGrowth().apply(catalog.get("efficientnetv2-b0").architecture)
        >>> [(stage.num_repeats, stage.out_channels) for stage in grown.stages[-3:]]
        [(6, 112), (8, 192), (2, 320)]
        """
        stages = self._with_extra(base, 1)
        if self.new_stage_layers:
            last = stages[-1]
            width = round(last.out_channels * self.new_stage_width)
            like = self.like or last
            stages.append(replace(like, num_repeats=self.new_stage_layers, stride=1, out_channels=width))
        return replace(base, stages=tuple(stages))

    def undo(self, grown: Architecture) -> Architecture:
        """The base that grows into this; a stage keeps one layer at least.

        Raises:
            ValueError: If nothing would be left.
        """
        kept = grown.stages[: -1 if self.new_stage_layers else None]
        if not kept:
            raise ValueError(f"a network of {len(grown.stages)} stages has not grown a stage, got {grown}")
        return replace(grown, stages=tuple(self._with_extra(replace(grown, stages=kept), -1)))

    def _with_extra(self, base: Architecture, sign: int) -> list[Stage]:
        missing = len(base.stages) - len(self.extra_layers)
        extra = [0] * missing + list(self.extra_layers[max(0, -missing) :])
        return [
            replace(stage, num_repeats=max(1, stage.num_repeats + sign * more))
            for stage, more in zip(base.stages, extra, strict=True)
        ]


def compound(
    architecture: Architecture,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int | None = None,
    stem: Stem = "scaled",
    head: Head = "scaled",
    late_growth: LateGrowth | None = None,
    keep_nine_tenths: bool = False,
    exceptions: Mapping[int, int] = _NOTHING,
) -> Architecture:
    """Scale a base network: widths to multiples of 8, depths up to whole layers.

    >>> from search_spaces import catalog
    >>> base = catalog.get("efficientnetv2-b0").architecture
    >>> compound(base, width=1.2, depth=1.4, resolution=240) == catalog.get("efficientnetv2-b3").architecture
    True

    Args:
        architecture: The base: its layers before they are multiplied.
        width: Multiplies the channels of every stage.
        depth: Multiplies the layers of every stage.
        resolution: Training size, pixels per side; by default the base's.
        stem: "scaled" like the stages (EfficientNet, V2-B1 to B3); "first-stage": as wide as the first stage (V2-S to
            XL); or "kept".
        head: "scaled" (EfficientNet, V2-B1 to B3), or "kept" (V2-S to XL).
        late_growth: Non-uniform growth, before the multipliers.
        keep_nine_tenths: As in `round_channels`: EfficientNet does, V2 does not.
        exceptions: Stage number → channels, where a published network departs from the rule.

    Raises:
        ValueError: If a multiplier is not positive and finite, a stage would be narrower than 8 channels, the size is
            below the total stride, or an exception names a stage that is not there.
    """
    _require_multipliers(width=width, depth=depth)
    base = late_growth.apply(architecture) if late_growth else architecture
    _require_stages(exceptions, base)

    def widened(channels: int, what: str) -> int:
        if channels * width < MIN_CHANNELS - 1e-9:
            raise ValueError(
                f"{what} must keep at least {MIN_CHANNELS} channels, got {channels} × {width:g} = {channels * width:g}"
            )
        return round_channels(channels * width, keep_nine_tenths=keep_nine_tenths)

    stages = tuple(
        replace(
            stage,
            num_repeats=round_layers(stage.num_repeats * depth),
            out_channels=exceptions.get(number) or widened(stage.out_channels, f"stage {number}"),
        )
        for number, stage in enumerate(base.stages, start=1)
    )
    stems = {"first-stage": stages[0].out_channels, "kept": base.stem_channels}
    return Architecture(
        stages=stages,
        stem_channels=stems[stem] if stem in stems else widened(base.stem_channels, "the stem"),
        head_channels=base.head_channels if head == "kept" else widened(base.head_channels, "the head"),
        resolution=base.resolution if resolution is None else resolution,
    )


def cap_resolution(test_size: int, max_size: int | None = MAX_TEST_SIZE) -> int:
    """A computed inference size, clipped to the cap; None lifts it, as EfficientNet (to 800) and V2-XL (512) do.

    >>> cap_resolution(608), cap_resolution(608, None)
    (480, 608)
    """
    return test_size if max_size is None else min(test_size, max_size)


def require_within_cap(test_size: int, max_size: int | None = MAX_TEST_SIZE) -> int:
    """A user's own inference size, which is not clipped behind their back.

    Raises:
        ValueError: If it is above the cap.
    """
    if max_size is not None and test_size > max_size:
        raise ValueError(f"test size must be at most the cap of {max_size} pixels, got {test_size}")
    return test_size


def round_size(size: float) -> int:
    """An inference size up to a multiple of 32 pixels, of 8 where it is below 256.

    Of EfficientNet's 380, 456 and 600 pixels that makes V2-S's 384, V2-M's 480, and 608, which the cap clips for V2-L.

    >>> [round_size(size) for size in (380, 456, 600, 40)]
    [384, 480, 608, 40]
    """
    divisor = 32 if size >= 256 else 8
    return math.ceil(round(size / divisor, 9)) * divisor


def train_size_for(test_size: int, share: float = TRAIN_SHARE) -> int:
    """The training size below an inference size: four fifths, or another share, down to a multiple of 8.

    >>> [train_size_for(size) for size in (240, 260, 300, 480)]  # V2-B1, B2, B3; M and L
    [192, 208, 240, 384]
    """
    return test_size if share == 1 else max(8, math.floor(round(share * test_size / 8, 9)) * 8)


def inference_size_for(train_size: int, share: float = TRAIN_SHARE) -> int:
    """The inference size of which a training size is four fifths, or another share, as `round_size` rounds it.

    >>> [inference_size_for(size) for size in (192, 300, 384)]  # V2-B1, S, M
    [240, 384, 480]
    """
    return train_size if share == 1 else round_size(train_size / share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficients:
    """How depth, width and size grow together: by α, β and γ for each step of φ (arXiv:1905.11946, equation 3).

    Raises:
        ValueError: If one is not finite or below 1.
    """

    alpha: float
    """Of depth."""
    beta: float
    """Of width."""
    gamma: float
    """Of size."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 1):
                raise ValueError(f"{name} must be finite and at least 1, got {value}")

    @property
    def cost(self) -> float:
        """Factor of multiply-adds for each step of φ, about: α·β²·γ²."""
        return self.alpha * self.beta**2 * self.gamma**2


def coefficient_grid(*, cost: float = 2.0, within: float = 0.05, step: float = 0.05) -> Iterator[Coefficients]:
    """All coefficients on a grid whose α·β²·γ² is near ``cost``, as EfficientNet searched them (section 3.3).

    Args:
        cost: Factor of multiply-adds for a step of φ.
        within: Relative deviation from it that is allowed.
        step: Of the grid, from 1.
    """
    most = dict.fromkeys(("alpha", "beta", "gamma"), cost * (1 + within))
    counts = {name: math.floor((bound - 1) / step + 1e-9) + 1 for name, bound in most.items()}
    for a in range(counts["alpha"]):
        for b in range(counts["beta"]):
            for g in range(counts["gamma"]):
                found = Coefficients(
                    alpha=round(1 + a * step, 9), beta=round(1 + b * step, 9), gamma=round(1 + g * step, 9)
                )
                if abs(found.cost / cost - 1) <= within + 1e-9:
                    yield found


def _require_multipliers(**multipliers: float) -> None:
    for name, value in multipliers.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be positive and finite, got {value}")


def _require_stages(exceptions: Mapping[int, int], base: Architecture) -> None:
    for number in exceptions:
        if not 1 <= number <= len(base.stages):
            raise ValueError(f"an exception must name one of the stages 1 to {len(base.stages)}, got {number}")
