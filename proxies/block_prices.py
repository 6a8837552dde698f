"""What a block costs by the work it does, at prices learnt from blocks that were measured. Needs no torch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.spatial.distance import cdist

from search_spaces.architecture import FUSED_MBCONV, MBCONV
from search_spaces.blocks import HEAD, STEM, PlacedBlock

from .complexity import block_params, convolutions

# Few blocks leave prices open; then every kind of work is believed to cost something, rather than one of them all.
_RIDGE = 1e-3
# No kind of work is for nothing: it has this share at least of the time of the block that does most of it.
_LEAST_SHARE = 1e-3
# Kinds of blocks lie 230 e-folds from each other: none lends another its surplus.
_APART = {STEM: 1.0, FUSED_MBCONV: 1e100, MBCONV: 1e200, HEAD: 1e300}


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPrices:
    """Times of blocks, by the work they do and by how far their relatives are from what their work would cost.

    A block's time is what its work costs, times the surplus of the measured blocks of its kind: their times ÷ what
    their own work costs, in the geometric mean, each weighted by its distance to the power of -4 (Shepard, 1968). So
    times run through the measured ones. No price is negative: on the whole more channels, pixels or taps cost more,
    and what a surplus can take away from that is bounded by the surpluses that were found.
    """

    prices: NDArray[np.float64]
    """Of each kind of work, in the unit of the times, none negative."""
    places: NDArray[np.float64]
    """Of the measured blocks, (N, coordinates)."""
    surplus: NDArray[np.float64]
    """Of the measured blocks, logarithms, (N,)."""
    num_classes: int

    @staticmethod
    def fit(times: Mapping[PlacedBlock, float], num_classes: int) -> "BlockPrices":
        """Prices for which the sum of squared relative errors is smallest.

        Args:
            times: Of measured blocks, in any unit.
            num_classes: Of the classifier, which belongs to the head.
        """
        seconds, work = np.array(list(times.values())), _works(times, num_classes)
        relative = work / seconds[:, None]
        # Shares of the times, so that the ridge is without units; what no block does has no price.
        largest = np.where(relative.max(axis=0) > 0, relative.max(axis=0), math.inf)
        ridge = math.sqrt(_RIDGE * len(times)) * np.eye(work.shape[1])
        shares, _ = nnls(np.vstack([relative / largest, ridge]), np.repeat([1.0, 0.0], relative.shape))
        prices = np.maximum(shares, _LEAST_SHARE) / largest
        return BlockPrices(
            prices=prices, places=_places(times), surplus=np.log(seconds / (work @ prices)), num_classes=num_classes
        )

    def __call__(
        self, blocks: Collection[PlacedBlock]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
        """The times of some blocks (B,), the measured block next to each (B,), and their distance (B,), in e-folds.

        A channel count, size, kernel or stride of e times another's is one e-fold away; distances are Euclidean.
        """
        squared = cdist(_places(blocks), self.places, "sqeuclidean")
        weights = 1 / np.maximum(squared, 1e-9) ** 2
        surplus = weights @ self.surplus / weights.sum(axis=1)
        times = _works(blocks, self.num_classes) @ self.prices * np.exp(surplus)
        return times, squared.argmin(axis=1), np.sqrt(squared.min(axis=1))


def _works(blocks: Collection[PlacedBlock], num_classes: int) -> NDArray[np.float64]:
    return np.array([_work(block, num_classes) for block in blocks])


def _work(block: PlacedBlock, num_classes: int) -> tuple[float, ...]:
    """How much of each kind of work a block is, for one image.

    Multiply-adds of dense, pointwise and depthwise convolutions, which reach very different speeds; values that they
    read and write, which is what normalisation, activation and most depthwise convolutions wait for; values that
    squeeze-and-excitation reads; weights, for the optimizer passes over each; and calls, since each takes a while
    whatever it does.
    """
    dense = pointwise = depthwise = values = 0
    layers = convolutions(block)
    for kernel, inputs, outputs, size in layers:
        macs = kernel**2 * inputs * outputs * size**2
        if kernel == 1:
            pointwise += macs
            values += (inputs + outputs) * size**2
        elif block.kind == MBCONV:
            depthwise += macs
            values += outputs * (block.in_size**2 + size**2)
        else:
            dense += macs
            values += inputs * block.in_size**2 + outputs * size**2
    weights, calls = block_params(block), len(layers)
    if block.kind == HEAD:
        pointwise += block.out_channels * num_classes
        weights += (block.out_channels + 1) * num_classes
        calls += 1
    squeezed = block.hidden_channels * block.out_size**2 if block.se_ratio else 0
    return dense, pointwise, depthwise, values, squeezed, weights, calls


def _places(blocks: Collection[PlacedBlock]) -> NDArray[np.float64]:
    """Where blocks stand among others, (B, coordinates): an e-fold of anything is one unit of distance."""
    return np.log(
        [
            (
                b.in_channels, b.out_channels, b.hidden_channels, b.in_size, b.kernel_size, b.stride,
                2 if b.se_ratio else 1, _APART[b.kind],
            )
            for b in blocks
        ]
    )  # fmt: skip
