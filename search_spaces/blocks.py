"""The one walk over an architecture: parameters, MACs, step time and drawings are sums over it."""

from typing import NamedTuple

from .architecture import STEM_STRIDE, Architecture
from .scaling import round_channels

STEM = "stem"
HEAD = "head"
STEM_KERNEL = 3


class PlacedBlock(NamedTuple):
    """One block where it stands in a network: all that its cost depends on.

    A named tuple and not a dataclass because the walk runs for every candidate: it is built four times faster.
    """

    kind: str
    """ "stem", "er", "ir" or "head"."""
    stage: int
    """1…n for block stages, 0 for the stem, n + 1 for the head; a label without cost."""
    kernel_size: int
    expand_ratio: int
    in_channels: int
    out_channels: int
    stride: int
    in_size: int
    """Pixels per side of the input."""
    se_ratio: float

    @property
    def out_size(self) -> int:
        """Pixels per side of the output: with "same" and with symmetric padding alike, ⌈in_size ÷ stride⌉."""
        return -(-self.in_size // self.stride)

    @property
    def hidden_channels(self) -> int:
        """Channels between expansion and projection: timm, torchvision and Google all round them to multiples of 8."""
        if self.expand_ratio == 1:
            return self.in_channels
        return round_channels(self.in_channels * self.expand_ratio, keep_nine_tenths=True)

    @property
    def squeezed_channels(self) -> int:
        """Channels inside squeeze-and-excitation: a share of the block's input channels; 0 without it."""
        return round(self.hidden_channels * (self.se_ratio / self.expand_ratio)) if self.se_ratio else 0


def block_runs(
    architecture: Architecture, resolution: int | None = None, *, in_channels: int = 3
) -> list[tuple[PlacedBlock, int]]:
    """Every different block in its place and how often it repeats there: stem, each stage's first and its rest, head.

    Args:
        architecture: What to walk.
        resolution: Input size, pixels per side; the architecture's own by default.
        in_channels: Channels of the images.
    """
    size = architecture.resolution if resolution is None else resolution
    stem = PlacedBlock(STEM, 0, STEM_KERNEL, 1, in_channels, architecture.stem_channels, STEM_STRIDE, size, 0.0)
    runs, previous = [(stem, 1)], stem
    for number, stage in enumerate(architecture.stages, start=1):
        first = previous = PlacedBlock(
            stage.block, number, stage.kernel_size, stage.expand_ratio,
            previous.out_channels, stage.out_channels, stage.stride, previous.out_size, stage.se_ratio,
        )  # fmt: skip
        runs.append((first, 1))
        if stage.num_repeats > 1:
            previous = first._replace(in_channels=stage.out_channels, stride=1, in_size=first.out_size)
            runs.append((previous, stage.num_repeats - 1))
    channels, size = previous.out_channels, previous.out_size
    head = PlacedBlock(HEAD, len(architecture.stages) + 1, 1, 1, channels, architecture.head_channels, 1, size, 0.0)
    return [*runs, (head, 1)]


def placed_blocks(
    architecture: Architecture, resolution: int | None = None, *, in_channels: int = 3
) -> list[PlacedBlock]:
    """Unroll the stages into blocks, stem first and head last (the classifier is not a block).

    Args:
        architecture: What to unroll.
        resolution: Input size, pixels per side; the architecture's own by default.
        in_channels: Channels of the images.
    """
    runs = block_runs(architecture, resolution, in_channels=in_channels)
    return [block for block, repeats in runs for _ in range(repeats)]
