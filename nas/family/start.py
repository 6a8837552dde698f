"""Where a family starts: the network as it was found, and the base that its members are scaled from."""

import math
from dataclasses import dataclass, replace

from search_spaces.architecture import Architecture
from search_spaces.ladders import EFFICIENTNET_V2, Ladder, Rung, shallower
from search_spaces.scaling import (
    MIN_CHANNELS,
    LateGrowth,
    Stem,
    cap_resolution,
    compound,
    inference_size_for,
    round_size,
    train_size_for,
)

from .growth import Multipliers

USUAL_RUNG = {"efficientnet": "b0", "efficientnetv2": "s"}
"""What a network counts as that has none of its ladder's widths: the size that was searched and then scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A network un-scaled: its layers divided by the depth it stands for, its widths those of its space's base."""

    network: Architecture
    """As it was found; a family holds it unchanged."""
    base: Architecture
    ladder: Ladder
    rung: Rung
    """Where the network stands, or counts as standing."""
    width: float
    """Multiplier that leads from the base's widths to the network's."""
    depth: float
    """Multiplier that leads from the base's layers to the network's."""
    is_on_ladder: bool
    """Whether its widths are the rung's, so that the other rungs' published exceptions hold, too."""

    @property
    def test_size(self) -> int:
        """Inference size of the network, pixels per side."""
        return (
            self.rung.test_size
            if self._has_published_size
            else inference_size_for(self.network.resolution, self.ladder.train_share)
        )

    def at_rung(self, rung: Rung, max_size: int | None) -> tuple[Architecture, int]:
        """The network of another rung, and its test size before the cap.

        Raises:
            ValueError: If a stage would be too narrow, or the size too small.
        """
        by = self._to(rung)
        if not self.is_on_ladder:
            return self.scaled(by, late_growth=rung.late_growth, max_size=max_size)
        resolution, test_size = self.sizes(by, max_size)
        if self._has_published_size:
            resolution, test_size = rung.sizes(max_size)[0], rung.test_size
            resolution = self._not_shrunk(resolution, test_size, by, max_size)
        like_ours = replace(rung, late_growth=self._like_ours(rung.late_growth))
        return self.ladder.scaled(self.base, like_ours, resolution=resolution), test_size

    def scaled(
        self, by: Multipliers, *, late_growth: LateGrowth | None, max_size: int | None, test_size: int | None = None
    ) -> tuple[Architecture, int]:
        """The network that is so many times as wide, deep and large, and its test size before the cap.

        Args:
            by: Factors from the network to that one.
            late_growth: Whether late stages grow, and how.
            max_size: Cap on the test size; None lifts it.
            test_size: In place of the computed one.

        Raises:
            ValueError: If a stage would be too narrow, or the size too small.
        """
        resolution, computed = self.sizes(by, max_size)
        if test_size is not None:
            resolution, computed = train_size_for(test_size, self.ladder.train_share), test_size
        architecture = compound(
            self.base,
            width=self.width * by.width,
            depth=self.depth * by.depth,
            resolution=resolution,
            stem=self._stem,
            head=self.rung.head if self.is_on_ladder else "kept",
            late_growth=self._like_ours(late_growth),
            keep_nine_tenths=self.ladder.keep_nine_tenths,
        )
        return architecture, computed

    def sizes(self, by: Multipliers, max_size: int | None) -> tuple[int, int]:
        """Training size under the cap, and test size before it."""
        computed = round_size(self.test_size * by.size)
        resolution = train_size_for(cap_resolution(computed, max_size), self.ladder.train_share)
        return self._not_shrunk(resolution, computed, by, max_size), computed

    def _not_shrunk(self, resolution: int, test_size: int, by: Multipliers, max_size: int | None) -> int:
        """A training size that the cap makes no smaller than the network's own, where the member is to be larger."""
        is_capped = cap_resolution(test_size, max_size) < test_size
        return max(resolution, self.network.resolution) if is_capped and by.size >= 1 else resolution

    def _like_ours(self, late_growth: LateGrowth | None) -> LateGrowth | None:
        """A new last stage is what the network has in that place, where it has grown one itself."""
        has_grown = self.is_on_ladder and self.rung.late_growth is not None
        return replace(late_growth, like=self.network.stages[-1]) if late_growth and has_grown else late_growth

    def _to(self, rung: Rung) -> Multipliers:
        return Multipliers(
            width=rung.width / self.rung.width,
            depth=rung.depth / self.rung.depth,
            size=rung.test_size / self.rung.test_size,
        )

    @property
    def _has_published_size(self) -> bool:
        return self.is_on_ladder and self.network.resolution == self.rung.sizes(self.ladder.max_size)[0]

    @property
    def _stem(self) -> Stem:
        if self.is_on_ladder:
            return self.rung.stem
        return "first-stage" if self.network.stem_channels == self.network.stages[0].out_channels else "kept"


def start_from(network: Architecture, ladder: Ladder, scale: tuple[float, float] | None = None) -> Start:
    """Un-scale a network.

    A network with the widths of one of the ladder's sizes stands there. Any other counts as its `USUAL_RUNG`, and is
    its own base, unless its space multiplies the ladder's.

    Args:
        network: As it was found, at its training size.
        ladder: Whose rules its family follows.
        scale: Width and depth by which the network's space multiplies EfficientNetV2's base, if it does.
    """
    # The other ladder's base has other stages.
    scale = scale if ladder is EFFICIENTNET_V2 else None
    rung = ladder.standing(network, scale)
    if rung is not None:
        base = ladder.unscaled(network, rung)
        return Start(
            network=network, base=base, ladder=ladder, rung=rung, width=rung.width, depth=rung.depth, is_on_ladder=True
        )
    rung = ladder.rung(USUAL_RUNG[ladder.name])
    # A space of other origin has no base but the network itself.
    width, depth = scale or (1.0, 1.0)
    base = shallower(network, depth)
    if scale is not None:
        # What its space rounds up to 8 channels counts as 8.
        widths = (max(stage.out_channels, math.ceil(MIN_CHANNELS / width)) for stage in ladder.base.stages)
        stages = tuple(
            replace(stage, out_channels=channels) for stage, channels in zip(base.stages, widths, strict=True)
        )
        base = replace(base, stages=stages)
    return Start(network=network, base=base, ladder=ladder, rung=rung, width=width, depth=depth, is_on_ladder=False)
