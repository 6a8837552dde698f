"""What is known of a candidate before it is trained: step time, parameters, multiply-adds, memory. Needs no torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import BlockSums

from .complexity import block_macs, block_params, count_macs, count_params
from .memory import predict_peak_memory
from .step_time_table import StepTimeTable
from .workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The costs of one architecture."""

    step_time_s: float | None
    """S, predicted; None where it has to be measured."""
    step_time_rse: float
    """Relative standard error of S; 0 where there is no S."""
    params: int
    macs: int
    peak_memory_bytes: int
    """Of one step of the target training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostArrays:
    """The costs of many members of a space, one place each."""

    step_time_s: NDArray[np.float64] | None
    """(N,); None where step times have to be measured."""
    params: NDArray[np.float64]
    """(N,)"""
    macs: NDArray[np.float64]
    """(N,)"""


Encoded = NDArray[np.integer]
"""Members of a space as rows of choices, (N, number of choices), see `SearchSpace.encode`."""

PredictOne = Callable[[Architecture], tuple[float, float]]
"""The step time of one architecture, seconds, and its relative standard error."""

MemberCosts = Callable[[Encoded], CostArrays]
"""The costs of many members of one space at a time, in well under a microsecond each."""


class StepTimes(Protocol):
    """Predicts step times."""

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        """Seconds, and their relative standard error."""
        ...

    def over(self, space: SearchSpace) -> Callable[[Encoded], NDArray[np.float64]]:
        """Predicts many members of a space at a time, seconds, (N,)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Costs of architectures for one target training."""

    workload: Workload
    device_kind: str
    """ "cpu", "cuda" or "mps": the target's."""
    step_times: StepTimes | None = None
    """None: step times are measured."""

    def __call__(self, architecture: Architecture, micro_batches: int = 1) -> Costs:
        """The costs of one architecture; its memory with a batch split into so many parts."""
        seconds, error = self.step_times(architecture) if self.step_times else (None, 0.0)
        work = self.workload
        return Costs(
            step_time_s=seconds,
            step_time_rse=error,
            params=count_params(architecture, work.num_classes, work.in_channels),
            macs=count_macs(architecture, work.resolution, work.num_classes, work.in_channels),
            peak_memory_bytes=self.peak_memory_bytes(architecture, micro_batches),
        )

    def over(self, space: SearchSpace) -> MemberCosts:
        """The costs of many members of a space at a time; making the function takes some tens of milliseconds."""
        work = self.workload
        step_times = self.step_times.over(space) if self.step_times else None
        params = BlockSums(space, block_params, in_channels=work.in_channels)
        macs = BlockSums(space, block_macs, work.resolution, in_channels=work.in_channels)
        classifier_macs = space.head_channels * work.num_classes
        classifier_params = classifier_macs + work.num_classes
        return lambda encoded: CostArrays(
            step_time_s=step_times(encoded) if step_times else None,
            params=params(encoded) + classifier_params,
            macs=macs(encoded) + classifier_macs,
        )

    def peak_memory_bytes(self, architecture: Architecture, micro_batches: int = 1) -> int:
        """Memory of a step whose batch is split into so many parts."""
        work = self.workload
        return predict_peak_memory(
            architecture,
            batch_size=work.batch_size,
            resolution=work.resolution,
            mode=work.mode,
            num_classes=work.num_classes,
            in_channels=work.in_channels,
            optimizer=work.optimizer,
            micro_batches=micro_batches,
            device_kind=self.device_kind,
        )


@dataclass(frozen=True, slots=True)
class MacsStepTimes:
    """Multiply-adds as a stand-in for step time, scaled so that the backbone's is right; for comparison."""

    workload: Workload
    backbone: Architecture
    backbone_s: float
    """Measured step time of the backbone, seconds."""

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        work = self.workload
        macs, of_backbone = (
            count_macs(each, work.resolution, work.num_classes, work.in_channels)
            for each in (architecture, self.backbone)
        )
        return self.backbone_s * macs / of_backbone, 0.0

    def over(self, space: SearchSpace) -> Callable[[Encoded], NDArray[np.float64]]:
        members = CostModel(workload=self.workload, device_kind="cpu").over(space)
        of_backbone = members(np.array([space.encode(self.backbone)])).macs
        return lambda encoded: self.backbone_s * members(encoded).macs / of_backbone


def mean_step_time(each: Sequence[PredictOne], weights: Sequence[float], reference: Architecture) -> PredictOne:
    """The step time over one or several devices.

    Of several, the weighted geometric mean of the ratios to the reference, times its seconds on the first.

    Args:
        each: One for each device.
        weights: Likewise; they need not sum to 1.
        reference: An architecture that all of them can predict.
    """
    if len(each) == 1:
        return each[0]
    total, of_reference = sum(weights), [predict(reference)[0] for predict in each]

    def step_time(architecture: Architecture) -> tuple[float, float]:
        log_ratio = variance = 0.0
        for predict, weight, seconds_of_reference in zip(each, weights, of_reference, strict=True):
            seconds, error = predict(architecture)
            log_ratio += weight / total * math.log(seconds / seconds_of_reference)
            variance += (weight / total * error) ** 2
        return of_reference[0] * math.exp(log_ratio), math.sqrt(variance)

    return step_time


@dataclass(frozen=True, slots=True)
class TableStepTimes:
    """Step times from the tables of one or several devices, see `mean_step_time`."""

    tables: Sequence[StepTimeTable]
    weights: Sequence[float]
    """One for each table; they need not sum to 1."""
    backbone: Architecture

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        return mean_step_time([_of_table(table) for table in self.tables], self.weights, self.backbone)(architecture)

    def over(self, space: SearchSpace) -> Callable[[Encoded], NDArray[np.float64]]:
        each, total = [table.over(space) for table in self.tables], sum(self.weights)
        of_backbone = [predict(np.array([space.encode(self.backbone)])) for predict in each]

        def predict(encoded: Encoded) -> NDArray[np.float64]:
            log_ratio = sum(
                weight / total * np.log(seconds(encoded) / reference)
                for weight, seconds, reference in zip(self.weights, each, of_backbone, strict=True)
            )
            return np.asarray(of_backbone[0] * np.exp(log_ratio))

        return predict


def _of_table(table: StepTimeTable) -> PredictOne:
    def predict(architecture: Architecture) -> tuple[float, float]:
        found = table.predict(architecture)
        return found.median_s, found.relative_standard_error

    return predict
