"""What is known of a candidate before it is trained: step time, parameters, multiply-adds, memory. Needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search_spaces.architecture import Architecture

from .complexity import count_macs, count_params
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


class StepTimes(Protocol):
    """Predicts step times."""

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        """Seconds, and their relative standard error."""
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


@dataclass(frozen=True, slots=True)
class TableStepTimes:
    """Step times from the tables of one or several devices.

    Of several, the weighted geometric mean of the ratios to the backbone, times the backbone's seconds on the first.
    """

    tables: Sequence[StepTimeTable]
    weights: Sequence[float]
    """One for each table; they need not sum to 1."""
    backbone: Architecture

    def __call__(self, architecture: Architecture) -> tuple[float, float]:
        if len(self.tables) == 1:
            alone = self.tables[0].predict(architecture)
            return alone.median_s, alone.relative_standard_error
        total, log_ratio, variance = sum(self.weights), 0.0, 0.0
        for table, weight in zip(self.tables, self.weights, strict=True):
            predicted = table.predict(architecture)
            log_ratio += weight / total * math.log(predicted.median_s / table.predict(self.backbone).median_s)
            variance += (weight / total * predicted.relative_standard_error) ** 2
        return self.tables[0].predict(self.backbone).median_s * math.exp(log_ratio), math.sqrt(variance)
