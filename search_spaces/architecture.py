"""What an architecture is: a frozen, hashable value with a text form of one word."""

import re
from dataclasses import dataclass

FUSED_MBCONV = "er"
MBCONV = "ir"
STEM_STRIDE = 2
MAX_STAGES = 99

_BLOCK_NAMES = {FUSED_MBCONV: "Fused-MBConv", MBCONV: "MBConv"}
_FIELDS = {"r": "num_repeats", "k": "kernel_size", "s": "stride", "e": "expand_ratio", "c": "out_channels"}
_NATURAL = re.compile(r"[1-9][0-9]{0,5}")
_STEM = re.compile(r"stem([0-9]+)")
_HEAD = re.compile(r"head([0-9]+)@([0-9]+)")
_EXAMPLE = "stem24-er_r2_k3_s1_e1_c24-…-head1280@300"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A run of blocks of one kind; only the first strides and changes the channels.

    >>> str(Stage(block="ir", num_repeats=2, kernel_size=3, stride=2, expand_ratio=4, out_channels=48, se_ratio=0.25))
    'ir_r2_k3_s2_e4_c48_se0.25'

    Raises:
        ValueError: If a field breaks its rule; the line names the rule and the value.
    """

    block: str
    """ "er" (Fused-MBConv) or "ir" (MBConv): timm's names."""
    num_repeats: int
    kernel_size: int
    """Of the spatial convolution, in pixels; odd."""
    stride: int
    """Of the first block: 1 or 2."""
    expand_ratio: int
    """Hidden channels ÷ input channels; 1 drops the expanding convolution."""
    out_channels: int
    se_ratio: float = 0.0
    """Squeezed channels ÷ the block's input channels; 0 means no squeeze-and-excitation."""

    def __post_init__(self) -> None:
        if self.block not in tuple(_BLOCK_NAMES):  # A tuple can be asked for what is not hashable, too.
            raise ValueError(f"block must be 'er' (Fused-MBConv) or 'ir' (MBConv), got {self.block!r}")
        for name in _FIELDS.values():
            _require_positive_int(name, getattr(self, name))
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        if self.stride not in (1, 2):
            raise ValueError(f"stride must be 1 or 2, got {self.stride}")
        _require_se_ratio(self.se_ratio)
        if self.block == FUSED_MBCONV and self.expand_ratio == 1 and self.se_ratio:
            raise ValueError(
                f"Fused-MBConv with expand_ratio 1 takes no squeeze-and-excitation (no reference builds it), "
                f"got se_ratio {self.se_ratio:g}"
            )

    def __str__(self) -> str:
        se = f"_se{self.se_ratio:g}" if self.se_ratio else ""
        return (
            f"{self.block}_r{self.num_repeats}_k{self.kernel_size}_s{self.stride}"
            f"_e{self.expand_ratio}_c{self.out_channels}{se}"
        )

    @property
    def block_name(self) -> str:
        """The block as papers write it, e.g. "Fused-MBConv4 k3"."""
        return f"{_BLOCK_NAMES[self.block]}{self.expand_ratio} k{self.kernel_size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A whole network as data: stem, block stages 1…n, head, and the size it is trained at.

    The stem is a 3×3 convolution with stride 2, the head a 1×1 convolution, pooling and a linear classifier.

    Raises:
        ValueError: If a field breaks its rule; the line names the rule and the value.
    """

    stages: tuple[Stage, ...]
    stem_channels: int = 24
    head_channels: int = 1280
    resolution: int = 224
    """Training size, pixels per side; step time, MACs and memory mean it."""

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not all(isinstance(stage, Stage) for stage in self.stages):
            raise ValueError(f"stages must be a tuple of Stage, got {self.stages!r}")
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise ValueError(f"an architecture has 1 to {MAX_STAGES} stages, got {len(self.stages)}")
        for name in ("stem_channels", "head_channels", "resolution"):
            _require_positive_int(name, getattr(self, name))
        if self.resolution < self.total_stride:
            raise ValueError(f"resolution must be at least the total stride {self.total_stride}, got {self.resolution}")
        self._require_something_squeezed()

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last feature map."""
        strided = sum(stage.stride == 2 for stage in self.stages)
        return STEM_STRIDE * 2**strided

    def _require_something_squeezed(self) -> None:
        channels = self.stem_channels
        for number, stage in enumerate(self.stages, start=1):
            if 0 < stage.se_ratio * channels < 1:
                raise ValueError(
                    f"squeeze-and-excitation must keep a channel: stage {number} has {channels} input channels, "
                    f"got se_ratio {stage.se_ratio:g}"
                )
            channels = stage.out_channels

    def __str__(self) -> str:
        stages = "-".join(map(str, self.stages))
        return f"stem{self.stem_channels}-{stages}-head{self.head_channels}@{self.resolution}"

    def to_timm(self) -> list[list[str]]:
        """The stages in timm's dialect, as its ``decode_arch_def`` reads them.

        timm's ``er…_e1`` and ``ir…_e1`` would keep the expanding convolution that Google's code drops, so expansion 1
        becomes ``cn…_skip`` (one convolution) and ``ds`` (depthwise-separable).
        """
        return [[_timm_block_string(stage)] for stage in self.stages]


def parse(text: str) -> Architecture:
    """Read an architecture; the exact inverse of ``str(architecture)``.

    >>> parse("stem24-er_r2_k3_s1_e1_c24-head1280@300").stages[0].out_channels
    24

    Raises:
        ValueError: If the text is malformed, in one line that names the rule and the value.
    """
    if not isinstance(text, str) or not text:
        raise ValueError(f"an architecture is a text such as {_EXAMPLE!r}, got {text!r}")
    first, *stages, last = text.split("-") if "-" in text else (text, text)
    stem, head = _STEM.fullmatch(first), _HEAD.fullmatch(last)
    if stem is None:
        raise ValueError(f"an architecture begins with its stem, e.g. 'stem24', got {first[:60]!r}")
    if head is None:
        raise ValueError(f"an architecture ends with its head and size, e.g. 'head1280@300', got {last[:60]!r}")
    return Architecture(
        stages=tuple(map(parse_stage, stages)),
        stem_channels=_natural(stem[1], "stem channels", first),
        head_channels=_natural(head[1], "head channels", last),
        resolution=_natural(head[2], "resolution", last),
    )


def parse_stage(text: str) -> Stage:
    """Read one stage such as ``ir_r3_k5_s2_e6_c112_se0.25``; the exact inverse of ``str(stage)``.

    Raises:
        ValueError: If the text is malformed, in one line that names the rule and the value.
    """
    block, *parts = text.split("_")
    if block not in _BLOCK_NAMES:
        raise ValueError(f"a stage begins with 'er' or 'ir', got {block[:20]!r} in {text[:60]!r}")
    pairs = [_split_part(part, text) for part in parts]
    _check_keys([key for key, _ in pairs], text)
    values = dict(pairs)
    counts = {name: _natural(values[key], name, text) for key, name in _FIELDS.items()}
    return Stage(block=block, se_ratio=_parse_se_ratio(values.get("se"), text), **counts)


def _split_part(part: str, text: str) -> tuple[str, str]:
    match = re.fullmatch(r"([a-z]+)([0-9.]*)", part)
    if match is None:
        raise ValueError(f"a stage's parts are a key and a number, e.g. 'k3', got {part[:20]!r} in {text[:60]!r}")
    return match[1], match[2]


def _check_keys(keys: list[str], text: str) -> None:
    known = [*_FIELDS, "se"]
    for key in keys:
        if key not in known:
            raise ValueError(f"unknown key {key[:20]!r} in {text[:60]!r} (known: {' '.join(known)})")
        if keys.count(key) > 1:
            raise ValueError(f"doubled key {key!r} in {text[:60]!r}")
    for key in _FIELDS:
        if key not in keys:
            raise ValueError(f"missing key {key!r} ({_FIELDS[key]}) in {text[:60]!r}")
    if keys != [key for key in known if key in keys]:
        raise ValueError(f"keys must stand in the order {' '.join(known)}, got {' '.join(keys)} in {text[:60]!r}")


def _natural(digits: str, name: str, text: str) -> int:
    if not _NATURAL.fullmatch(digits):
        raise ValueError(f"{name} must be a whole number from 1 to 999999, got {digits[:20]!r} in {text[:60]!r}")
    return int(digits)


def _parse_se_ratio(digits: str | None, text: str) -> float:
    if digits is None:
        return 0.0
    if not re.fullmatch(r"1|0\.[0-9]{0,3}[1-9]", digits):
        raise ValueError(
            f"se_ratio must be written as 1 or with at most 4 decimals as 0.25, got {digits[:20]!r} in {text[:60]!r}"
        )
    return float(digits)


def _require_positive_int(name: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= 999_999:
        raise ValueError(f"{name} must be a whole number from 1 to 999999, got {value!r}")


def _require_se_ratio(value: object) -> None:
    is_number = type(value) in (int, float)
    if not is_number or not 0 <= value <= 1 or round(value, 4) != value:  # type: ignore[operator, call-overload]
        raise ValueError(f"se_ratio must lie in [0, 1] with at most 4 decimals, got {value!r}")


def _timm_block_string(stage: Stage) -> str:
    if stage.expand_ratio > 1:
        return str(stage)
    name = "cn" if stage.block == FUSED_MBCONV else "ds"
    skip = "_skip" if stage.block == FUSED_MBCONV else ""
    return f"{name}{str(stage)[2:]}{skip}"
