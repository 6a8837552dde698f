"""Step times of networks whose blocks a table does not hold: other widths, other sizes. Needs no torch."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from search_spaces.architecture import Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, block_runs
from search_spaces.space_blocks import unplaced

from .block_prices import BlockPrices
from .step_time_table import StepTimeTable

EXPECTED_SLOPE = 0.1
"""Relative error per e-fold of distance from the next measured block, before any is known; it counts like one stage."""


class _Price(NamedTuple):
    """What a block adds to a step."""

    ratio: float
    """To the canary's step."""
    relative_error: float
    """Of the block itself, or of the measured one next to it."""
    distance: float
    """From the measured block next to it, e-folds; 0 where it was measured itself."""


@dataclass(frozen=True)
class StepTimeInterpolation:
    """Predicts the step time of any architecture, at any size, from one table; all else is the table's workload.

    Blocks that the table holds are taken from it. Others cost what their work does, see :class:`BlockPrices`.
    """

    table: StepTimeTable

    def __call__(self, architecture: Architecture, resolution: int | None = None) -> tuple[float, float]:
        """Seconds of a step, and their relative standard error.

        Blocks that lie equally far from what was measured are believed to err alike, all in the same direction: what
        wider blocks or larger maps cost beyond expectation, they cost in every stage.

        Args:
            architecture: Of whatever widths, depths, kernels and expansions.
            resolution: Pixels per side; by default the table's, or the architecture's own where the table has none.

        Raises:
            ValueError: If it has a kind of block of which the table has none.
        """
        workload = self.table.workload
        size = resolution or workload.resolution_of(architecture)
        counts: Counter[PlacedBlock] = Counter()
        for block, repeats in block_runs(architecture, size, in_channels=workload.in_channels):
            counts[unplaced(block)] += repeats
        self._learn(counts)
        known, total, far, variance = self._known, 0.0, 0.0, 0.0
        for block, count in counts.items():
            ratio, relative_error, distance = known[block]
            total += count * ratio
            far += count * ratio * distance
            variance += (count * ratio * relative_error) ** 2
        error = math.hypot(math.sqrt(variance) / total, self.slope * far / total, self.table.residual)
        return total * self.table.scale * self.table.canary_s, error

    @cached_property
    def slope(self) -> float:
        """Relative error of a stage per e-fold of distance, each stage predicted from all others in turn.

        A network's blocks that were not measured stand in the place of a stage that was left out.
        """
        stages: defaultdict[tuple[int, int], dict[PlacedBlock, float]] = defaultdict(dict)
        times = {entry.block: entry.ratio for entry in self.table.blocks}
        for block, ratio in times.items():
            if block.kind not in (STEM, HEAD):
                stages[block.out_channels, block.out_size][block] = ratio
        found = [EXPECTED_SLOPE**2]
        for stage in stages.values():
            rest = {block: ratio for block, ratio in times.items() if block not in stage}
            kinds = {block.kind for block in rest}
            held_out = {block: ratio for block, ratio in stage.items() if block.kind in kinds}
            if held_out:
                predicted, _, distances = BlockPrices.fit(rest, self.table.workload.num_classes)(held_out)
                errors = np.log(predicted / np.array(list(held_out.values())))
                found.append(float(np.mean(errors) / np.mean(distances)) ** 2)
        return math.sqrt(statistics.fmean(found))

    @cached_property
    def _prices(self) -> BlockPrices:
        times = {entry.block: entry.ratio for entry in self.table.blocks}
        return BlockPrices.fit(times, self.table.workload.num_classes)

    @cached_property
    def _known(self) -> dict[PlacedBlock, _Price]:
        """Of the table's blocks, and of others that were asked for."""
        return {entry.block: _Price(entry.ratio, entry.relative_error, 0.0) for entry in self.table.blocks}

    def _learn(self, blocks: Collection[PlacedBlock]) -> None:
        """Price those that nobody asked for yet, all at a time."""
        new = [block for block in blocks if block not in self._known]
        if not new:
            return
        self._require_kinds(new)
        ratios, nearest, distances = self._prices(new)
        for block, ratio, place, distance in zip(new, ratios, nearest, distances, strict=True):
            self._known[block] = _Price(float(ratio), self.table.blocks[place].relative_error, float(distance))

    def _require_kinds(self, blocks: Collection[PlacedBlock]) -> None:
        missing = sorted({block.kind for block in blocks} - self._kinds)
        if missing:
            raise ValueError(
                f"the step-time table of the space {self.table.space!r} must hold blocks of every kind that an "
                f"architecture has, got none of kind {missing[0]!r}"
            )

    @cached_property
    def _kinds(self) -> frozenset[str]:
        return frozenset(entry.block.kind for entry in self.table.blocks)
