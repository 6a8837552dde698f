"""An architecture as people read it: one row for the stem, each stage and the head."""

from dataclasses import dataclass

from .architecture import STEM_STRIDE, Architecture
from .blocks import STEM_KERNEL, placed_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """One row of the table, in the columns of arXiv:2104.00298, Table 4."""

    stage: str
    """ "stem", "1"…"n" or "head"."""
    block: str
    """As papers write it, e.g. "Fused-MBConv4 k3"."""
    layers: int
    channels: int
    stride: int
    se_ratio: float = 0.0
    size: int
    """Pixels per side of what it returns."""


def stage_rows(architecture: Architecture) -> list[StageRow]:
    """The table at the architecture's own resolution, from the input to the head."""
    sizes = {block.stage: block.out_size for block in placed_blocks(architecture)}
    stem = StageRow(
        stage="stem",
        block=f"Conv k{STEM_KERNEL}",
        layers=1,
        channels=architecture.stem_channels,
        stride=STEM_STRIDE,
        size=sizes[0],
    )
    stages = [
        StageRow(
            stage=str(number),
            block=stage.block_name,
            layers=stage.num_repeats,
            channels=stage.out_channels,
            stride=stage.stride,
            se_ratio=stage.se_ratio,
            size=sizes[number],
        )
        for number, stage in enumerate(architecture.stages, start=1)
    ]
    last = sizes[len(stages) + 1]
    head = StageRow(stage="head", block="Conv k1", layers=1, channels=architecture.head_channels, stride=1, size=last)
    return [stem, *stages, head]
