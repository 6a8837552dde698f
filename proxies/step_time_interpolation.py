"""Step times of blocks that were never measured, from the blocks of a table that were. Needs no torch.

The time of a block is a sum of kinds of work (multiply-adds, pixels moved, weights updated, calls made) whose prices
are not negative and are fitted to the table's own blocks. So a wider block, or a larger map, never becomes cheaper.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from search_spaces.architecture import Architecture
from search_spaces.blocks import PlacedBlock, block_runs
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import BlockSums, unplaced

from .complexity import block_params, convolutions
from .step_time_table import StepTimeTable

UNKNOWN_ERROR = 0.3
"""Relative error of a fit that nothing can be held out from."""


@dataclass(frozen=True)
class StepTimeInterpolation:
    """Predicts the step time of any architecture at any size; batch, mode and classes are the table's."""

    table: StepTimeTable

    def __call__(self, architecture: Architecture, resolution: int | None = None) -> tuple[float, float]:
        """Seconds, and their relative standard error.

        Args:
            architecture: Of whatever blocks.
            resolution: Pixels per side; by default the table's, or the architecture's own where the table has none.
        """
        workload = self.table.workload
        size = resolution or workload.resolution_of(architecture)
        counts: Counter[PlacedBlock] = Counter()
        for block, repeats in block_runs(architecture, size, in_channels=workload.in_channels):
            counts[unplaced(block)] += repeats
        known, guessed, variance = 0.0, 0.0, 0.0
        for block, count in counts.items():
            if block in self._times:
                ratio, error = self._times[block]
                known += count * ratio
                variance += (count * ratio * error) ** 2
            else:
                guessed += count * self._price(block)
        total = known + guessed
        error = math.sqrt(variance + (guessed * self._error) ** 2) / total
        return total * self.table.scale * self.table.canary_s, math.hypot(error, self.table.residual)

    def over(self, space: SearchSpace) -> Callable[[NDArray[np.integer]], NDArray[np.float64]]:
        """Predicts many members of a space at a time: rows of choices (N, number of choices) → seconds (N,)."""
        workload = self.table.workload
        ratios = BlockSums(space, self._ratio, workload.resolution, in_channels=workload.in_channels)
        return lambda encoded: ratios(encoded) * self.table.scale * self.table.canary_s

    def _ratio(self, block: PlacedBlock) -> float:
        known = self._times.get(unplaced(block))
        return known[0] if known else self._price(block)

    def _price(self, block: PlacedBlock) -> float:
        return sum(price * work for price, work in zip(self._prices, _work(block), strict=True))

    @cached_property
    def _times(self) -> dict[PlacedBlock, tuple[float, float]]:
        return {entry.block: (entry.ratio, entry.relative_error) for entry in self.table.blocks}

    @cached_property
    def _prices(self) -> tuple[float, ...]:
        return tuple(_fit(list(self._times), [ratio for ratio, _ in self._times.values()]).tolist())

    @cached_property
    def _error(self) -> float:
        """Relative error of blocks of widths and sizes that the fit did not see: each stage's own, held out in turn."""
        stages: dict[tuple[int, int], list[PlacedBlock]] = {}
        for block in self._times:
            stages.setdefault((block.out_channels, block.out_size), []).append(block)
        if len(stages) < 2:
            return UNKNOWN_ERROR
        errors = []
        for held_out in stages.values():
            rest = [block for block in self._times if block not in held_out]
            prices = _fit(rest, [self._times[block][0] for block in rest])
            for block in held_out:
                predicted = float(prices @ np.array(_work(block)))
                errors.append(math.log(max(predicted, 1e-12) / self._times[block][0]))
        return math.sqrt(float(np.mean(np.square(errors))))


def _fit(blocks: list[PlacedBlock], ratios: list[float]) -> NDArray[np.float64]:
    """Prices of the kinds of work, none negative, for the smallest squared relative errors."""
    relative = np.array([_work(block) for block in blocks]) / np.array(ratios)[:, None]
    scales = np.maximum(relative.max(axis=0), 1e-300)
    prices, _ = nnls(relative / scales, np.ones(len(blocks)))
    return np.asarray(prices / scales)


def _work(block: PlacedBlock) -> tuple[float, ...]:
    """How much of each kind of work a block is, for one image."""
    dense = pointwise = depthwise = pixels = 0.0
    layers = convolutions(block)
    for kernel, inputs, outputs, size in layers:
        macs = kernel**2 * inputs * outputs * size**2
        pixels += outputs * size**2
        if kernel == 1:
            pointwise += macs
        elif inputs == 1:
            depthwise += macs
        else:
            dense += macs
    squeezed = block.hidden_channels * block.out_size**2 if block.se_ratio else 0.0
    return (
        dense,
        pointwise,
        depthwise,
        pixels,
        squeezed,
        float(block_params(block)),
        float(len(layers)),
        float(bool(block.se_ratio)),
    )
