"""EfficientNetV2's search space (arXiv:2104.00298, section 3.2); what the paper leaves open is a named choice."""

import math
from collections.abc import Sequence

from . import catalog
from .architecture import MBCONV, Architecture, Stage
from .scaling import round_channels, round_layers
from .space import SearchSpace, StageChoices

# V2-B0 (google/automl, effnetv2_configs.py) gives the widths, depths and strides that the other scales multiply.
BASE = "efficientnetv2-b0"
# EfficientNet-B0's kernels (arXiv:1905.11946, Table 1); V2's base has no seventh stage, V2-M and larger have.
BACKBONE_KERNELS = (3, 3, 5, 3, 5, 5, 3)
SE_RATIO = 0.25
LAYER_RATIOS = (0.5, 0.75, 1.0, 1.25)
LAYER_OFFSETS = (-1, 0, 1)
LAYER_RULES = ("ratio", "offset")


def efficientnet_v2(
    *, scale: str | Sequence[float] = "s", layers: str = "ratio", resolution: int | None = None
) -> SearchSpace:
    """Per stage {MBConv, Fused-MBConv} × kernel {3, 5} × expansion {1, 4, 6} × number of layers.

    Channels and strides are the backbone's, as in the paper: V2's widths are given, not found. SE 0.25 on MBConv, none
    on Fused-MBConv (Table 4). The paper does not say which numbers of layers it tries, nor at which scale.

    Args:
        scale: A published network whose widths and depths are taken ("b0"…"b3", "s", "m", "l", "xl"), or a pair
            (width, depth) that multiplies V2-B0's, stem and head included.
        layers: "ratio" offers ⌈½⌉, ⌈¾⌉, 1 and ⌈1¼⌉ times the backbone's layers; "offset" one less, equal, one more, as
            MnasNet does (arXiv:1807.11626, section 4.1).
        resolution: Training size, pixels per side; by default that of the scale (V2-B0's for a pair).

    Raises:
        ValueError: If scale or layers is not one of these, or the resolution is below the total stride.
    """
    if layers not in LAYER_RULES:
        raise ValueError(f"layers must be one of {LAYER_RULES}, got {layers!r}")
    backbone = _backbone(_skeleton(scale), resolution)
    stages = tuple(
        StageChoices(
            out_channels=stage.out_channels,
            stride=stage.stride,
            num_repeats=_layer_candidates(stage.num_repeats, layers),
            se_ratio=(SE_RATIO,),
        )
        for stage in backbone.stages
    )
    return SearchSpace(
        name="efficientnetv2",
        stages=stages,
        stem_channels=backbone.stem_channels,
        head_channels=backbone.head_channels,
        resolution=backbone.resolution,
        backbone=backbone,
    )


def _skeleton(scale: str | Sequence[float]) -> Architecture:
    """A network of the wanted widths, depths and strides; its blocks do not matter."""
    if isinstance(scale, str) and f"efficientnetv2-{scale}" in catalog.names():
        return catalog.get(f"efficientnetv2-{scale}").architecture
    width, depth = _require_pair(scale)
    base = catalog.get(BASE).architecture
    return Architecture(
        stages=tuple(_scaled_stage(stage, width, depth) for stage in base.stages),
        stem_channels=round_channels(base.stem_channels * width),
        head_channels=round_channels(base.head_channels * width),
        resolution=base.resolution,
    )


def _require_pair(scale: object) -> tuple[float, float]:
    match scale:
        case [int() | float() as width, int() | float() as depth] if 0 < width < math.inf and 0 < depth < math.inf:
            return width, depth
    known = ", ".join(name.partition("-")[2] for name in catalog.names() if name.startswith("efficientnetv2-"))
    raise ValueError(f"scale must be one of {known} or a pair (width, depth) of positive numbers, got {scale!r}")


def _scaled_stage(stage: Stage, width: float, depth: float) -> Stage:
    return Stage(
        block=stage.block,
        num_repeats=round_layers(stage.num_repeats * depth),
        kernel_size=stage.kernel_size,
        stride=stage.stride,
        expand_ratio=stage.expand_ratio,
        out_channels=round_channels(stage.out_channels * width),
        se_ratio=stage.se_ratio,
    )


def _backbone(skeleton: Architecture, resolution: int | None) -> Architecture:
    """All MBConv, expansion 1 in the first stage and 6 after, EfficientNet's kernels: what the paper starts from."""
    return Architecture(
        stages=tuple(
            Stage(
                block=MBCONV,
                num_repeats=stage.num_repeats,
                kernel_size=BACKBONE_KERNELS[index],
                stride=stage.stride,
                expand_ratio=1 if index == 0 else 6,
                out_channels=stage.out_channels,
                se_ratio=SE_RATIO,
            )
            for index, stage in enumerate(skeleton.stages)
        ),
        stem_channels=skeleton.stem_channels,
        head_channels=skeleton.head_channels,
        resolution=skeleton.resolution if resolution is None else resolution,
    )


def _layer_candidates(layers: int, rule: str) -> tuple[int, ...]:
    if rule == "ratio":
        candidates = [round_layers(layers * ratio) for ratio in LAYER_RATIOS]
    else:
        candidates = [layers + offset for offset in LAYER_OFFSETS]
    return tuple(sorted({count for count in candidates if count >= 1}))
