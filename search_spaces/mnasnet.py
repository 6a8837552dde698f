"""The MnasNet-style space of Accel-NASBench, whose 5,125 trained members serve as an offline test bed."""

from dataclasses import replace

from . import catalog
from .architecture import MBCONV
from .space import SearchSpace, StageChoices

# afzalxo/Accel-NASBench 4260357: 1–3 layers everywhere, the sixth stage up to 4.
_LAYERS = ((1, 2, 3),) * 5 + ((1, 2, 3, 4),) + ((1, 2, 3),)


def mnasnet(*, resolution: int | None = None) -> SearchSpace:
    """Per stage MBConv with kernel {3, 5}, expansion {1, 4, 6}, 1–3 layers (stage 6: 1–4), with or without SE.

    Stem, widths, strides, head and backbone are EfficientNet-B0's.

    Args:
        resolution: Training size, pixels per side; B0's 224 by default.
    """
    b0 = catalog.get("efficientnet-b0").architecture
    backbone = b0 if resolution is None else replace(b0, resolution=resolution)
    stages = tuple(
        StageChoices(
            out_channels=stage.out_channels,
            stride=stage.stride,
            num_repeats=layers,
            block=(MBCONV,),
            se_ratio=(0.0, stage.se_ratio),
        )
        for stage, layers in zip(backbone.stages, _LAYERS, strict=True)
    )
    return SearchSpace(
        name="mnasnet",
        stages=stages,
        stem_channels=backbone.stem_channels,
        head_channels=backbone.head_channels,
        resolution=backbone.resolution,
        backbone=backbone,
    )
