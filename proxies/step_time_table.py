"""Step time calibrated once for a device, then predicted: a table of the blocks of a space. Needs no torch."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from search_spaces.architecture import Architecture, parse
from search_spaces.blocks import PlacedBlock, block_runs
from search_spaces.messages import first_line
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import BlockSums, unplaced

from .device_identity import DeviceIdentity
from .step_time import StepTimeSetting
from .training.config import OptimizerName, TrainConfig
from .workload import Phase, Workload

FORMAT: Literal[1] = 1
"""Version of the file; others are refused."""
BUDGET_S = 90.0
"""Seconds of a calibration, by default: about what 40 measurements of one visit take on a CPU."""
EXPECTED_RESIDUAL = 0.03
"""Relative deviation of networks from the sums of their blocks before any was measured; it counts like one network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTime:
    """What a block adds to a step."""

    block: PlacedBlock
    ratio: float
    """Its time ÷ that of a canary step beside it."""
    relative_error: float
    """Standard error ÷ the ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTime:
    """A whole network measured during calibration, to learn how networks differ from the sums of their blocks."""

    architecture: str
    ratio: float
    """Its step time ÷ that of a canary step beside it."""
    relative_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedStepTime:
    """What a table says of an architecture."""

    median_s: float
    relative_standard_error: float
    """Of the blocks' own errors, and of how far whole networks lie from the sums of their blocks."""


@dataclass(frozen=True, kw_only=True)
class StepTimeTable:
    """Step times of the blocks of a space on one device, for one kind of step.

    Raises:
        ValueError: If it holds no blocks, a time that is not finite and positive, or a network of other blocks.
    """

    space: str
    """The space's name; the blocks say what it covers."""
    workload: Workload
    device: DeviceIdentity
    canary: str
    canary_s: float
    """Seconds that a step of the canary stands for on this device."""
    blocks: tuple[BlockTime, ...]
    networks: tuple[NetworkTime, ...]
    seconds: float
    """How long the calibration took."""
    disturbed_share: float = 0.0
    """Share of the blocks' times during which something else used the device."""
    format: Literal[1] = FORMAT

    def __post_init__(self) -> None:
        if not self.blocks:
            raise ValueError("a table must hold the times of some blocks, got none")
        times = [self.canary_s, *(block.ratio for block in self.blocks), *(network.ratio for network in self.networks)]
        wrong = [time for time in times if not (math.isfinite(time) and time > 0)]
        if wrong:
            raise ValueError(f"times must be finite and positive, got {wrong[0]}")
        for network in self.networks:
            counts = self._count(parse(network.architecture))
            if not self._times.keys() >= counts.keys():
                raise ValueError(self._missing(counts))

    @staticmethod
    def calibrate(
        space: SearchSpace,
        *,
        setting: StepTimeSetting | None = None,
        optimizer: OptimizerName = "adamw",
        num_classes: int = 1000,
        in_channels: int = 3,
        phase: Phase = "training",
        budget_s: float = BUDGET_S,
        seed: int = 0,
        on_progress: Callable[[float, str], None] = lambda fraction, doing: None,
    ) -> "StepTimeTable":
        """Measure a space's blocks on a device of this machine, see :mod:`proxies.step_time_calibration`; needs torch.

        Args:
            space: Whose members shall be predicted.
            setting: The step: device, size, batch, number format, threads.
            optimizer: Of the target training.
            num_classes: Of the user's data.
            in_channels: Of the user's data.
            phase: A step of training, or of inference.
            budget_s: Seconds.
            seed: Of the order of measurements.
            on_progress: Called with the fraction done and what is being done.

        Raises:
            InfeasibleError: If memory does not suffice for a block or a network.
            DtypeError: If the setting's number format does not work on the device.
            ValueError: If the device is not here.
        """
        from . import step_time_calibration
        from .device import find_device
        from .step_time_measurement import choose_mode

        setting = setting or StepTimeSetting()
        device, train = find_device(setting.device or "auto"), TrainConfig(optimizer=optimizer)
        on_progress(0.0, "finding the fastest correct execution mode")
        mode = choose_mode(
            space.backbone,
            setting=setting,
            train=train,
            device=device,
            num_classes=num_classes,
            in_channels=in_channels,
        )
        workload = Workload(
            resolution=setting.resolution,
            batch_size=setting.batch_size,
            mode=mode,
            num_classes=num_classes,
            in_channels=in_channels,
            optimizer=optimizer,
            phase=phase,
        )
        return step_time_calibration.calibrate(
            space,
            workload=workload,
            device=device,
            threads=setting.threads,
            budget_s=budget_s,
            seed=seed,
            on_progress=on_progress,
        )

    def predict(self, architecture: Architecture) -> PredictedStepTime:
        """The step time of one architecture, in some tens of microseconds.

        Raises:
            ValueError: If it has a block that was not calibrated.
        """
        counts = self._count(architecture)
        try:
            times = [(self._times[block], count) for block, count in counts.items()]
        except KeyError:
            raise ValueError(self._missing(counts)) from None
        total = sum(ratio * count for (ratio, _), count in times)
        # Equal blocks of one network share their error.
        variance = sum((ratio * count * error) ** 2 for (ratio, error), count in times)
        return PredictedStepTime(
            median_s=total * self.scale * self.canary_s,
            relative_standard_error=math.hypot(math.sqrt(variance) / total, self.residual),
        )

    def over(self, space: SearchSpace) -> Callable[[NDArray[np.integer]], NDArray[np.float64]]:
        """Predicts many members of a space at a time: rows of choices (N, number of choices) → seconds (N,).

        See `SearchSpace.encode` for the rows. Making the function takes some tens of milliseconds, calling it under
        a microsecond a member.

        Args:
            space: Whose blocks this table holds.

        Raises:
            ValueError: If the space has a block that was not calibrated.
        """
        workload = self.workload
        try:
            ratios = BlockSums(
                space,
                lambda block: self._times[unplaced(block)][0],
                workload.resolution,
                in_channels=workload.in_channels,
            )
        except KeyError as error:
            raise ValueError(self._missing(error.args)) from None
        return lambda encoded: ratios(encoded) * self.scale * self.canary_s

    def covers(self, space: SearchSpace) -> bool:
        """Whether every member of the space can be predicted."""
        try:
            self.over(space)
        except ValueError:
            return False
        return True

    @cached_property
    def scale(self) -> float:
        """Networks ÷ the sums of their blocks: what a block costs beside its neighbours, not alone; 1 if unknown."""
        return math.exp(float(np.median(self._surplus))) if self.networks else 1.0

    @cached_property
    def residual(self) -> float:
        """Standard deviation of networks ÷ the scaled sums of their blocks, the measurements' own errors taken out."""
        if len(self.networks) < 2:
            return EXPECTED_RESIDUAL
        spread = float(np.var(self._surplus, ddof=1))
        measured = statistics.fmean(network.relative_error**2 for network in self.networks)
        found, seen = max(0.0, spread - measured), len(self.networks) - 1
        return math.sqrt((EXPECTED_RESIDUAL**2 + seen * found) / (1 + seen))

    @cached_property
    def _surplus(self) -> NDArray[np.float64]:
        """Logarithm of each measured network ÷ the sum of its blocks."""
        sums = [
            sum(self._times[block][0] * count for block, count in self._count(parse(network.architecture)).items())
            for network in self.networks
        ]
        return np.log([network.ratio for network in self.networks]) - np.log(sums)

    @cached_property
    def _times(self) -> dict[PlacedBlock, tuple[float, float]]:
        return {entry.block: (entry.ratio, entry.relative_error) for entry in self.blocks}

    def _count(self, architecture: Architecture) -> Counter[PlacedBlock]:
        """How often the network has each block."""
        counts: Counter[PlacedBlock] = Counter()
        for block, repeats in block_runs(architecture, self.workload.resolution, in_channels=self.workload.in_channels):
            counts[unplaced(block)] += repeats
        return counts

    def _missing(self, blocks: Iterable[PlacedBlock]) -> str:
        block = next(block for block in blocks if block not in self._times)
        text = (
            f"{block.kind} k{block.kernel_size} s{block.stride} e{block.expand_ratio} {block.in_channels}→"
            f"{block.out_channels} channels at {block.in_size} px"
        )
        return f"the step-time table of the space {self.space!r} does not have this block, calibrate anew: {text}"


_TABLES: TypeAdapter[StepTimeTable] = TypeAdapter(StepTimeTable)


def dump_table(table: StepTimeTable) -> str:
    """The table as JSON."""
    return _TABLES.dump_json(table, indent=1).decode()


def load_table(text: str | bytes, source: str) -> StepTimeTable:
    """Read a table back.

    Args:
        text: JSON.
        source: Names it in errors.

    Raises:
        ValueError: If it is none, or one of another version, in one line.
    """
    try:
        return _TABLES.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place, problem = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        found = f"{place}: {problem}" if place else problem
        raise ValueError(f"{source} is no step-time table of format {FORMAT}: {found}") from None


def read_table(path: Path) -> StepTimeTable:
    """Read a table's file.

    Raises:
        ValueError: If it cannot be read or holds no table, in one line.
    """
    try:
        return load_table(path.read_bytes(), str(path))
    except OSError as error:
        raise ValueError(f"cannot read the step-time table {path}: {first_line(error)}") from None
