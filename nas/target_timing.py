"""The target training as a worker times it: execution mode, calibration, visits, memory. Imports torch."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from proxies.canary import CANARY_NETWORKS, canary_setting
from proxies.device import Device
from proxies.device_identity import DeviceIdentity
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.memory_measurement import measure_peak_memory
from proxies.step_time import StepTime, StepTimeSetting
from proxies.step_time_calibration import calibrate
from proxies.step_time_measurement import choose_mode, held_alone, measure_step_time
from proxies.step_time_table import StepTimeTable
from proxies.workload import Phase
from search_spaces.architecture import Architecture

from .config import SearchConfig
from .evaluation_tasks import Preparation
from .executors.interface import RefusedError, Report
from .pricing import target_workload

OnVisit = Callable[[StepTime], None]


def _nobody(so_far: StepTime) -> None:
    """Nobody watches the visits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTiming:
    """Times steps of the target training, holding its device alone; not to be used inside a lease."""

    config: SearchConfig
    device: Device
    threads: int
    """CPU threads of a timed step."""
    num_classes: int
    in_channels: int

    def identity(self) -> DeviceIdentity:
        """The device, with the threads of a timed step."""
        return replace(self.device.identity(), threads=self.threads)

    def find_mode(self) -> ExecutionMode:
        """The fastest correct mode of the step, for the backbone.

        Raises:
            RefusedError: If the number format that is asked for does not work here.
        """
        try:
            return choose_mode(
                self.config.search_space().backbone,
                setting=self._setting(self.config.step_time),
                train=self.config.train,
                device=self.device,
                num_classes=self.num_classes,
                in_channels=self.in_channels,
            )
        except ValueError as error:
            raise RefusedError(str(error)) from error

    def canary_s(self) -> float:
        """Seconds of a step of the canary in plain float32, which every machine can do: a short look, to compare them.

        Raises:
            InfeasibleError: If memory does not suffice.
        """
        return measure_step_time(
            CANARY_NETWORKS[0],
            setting=canary_setting(self.device, self.threads),
            train=self.config.train,
            mode=PLAIN,
            device=self.device,
        ).reference_s

    def calibrate(self, preparation: Preparation, report: Report) -> StepTimeTable:
        """Time the blocks of the space.

        Raises:
            InfeasibleError: If memory does not suffice.
        """
        return calibrate(
            self.config.search_space(),
            workload=target_workload(self.config, preparation),
            device=self.device,
            threads=self.threads,
            budget_s=self.config.step_time.calibration_s,
            canary_s=preparation.canary_s,
            seed=self.config.seed,
            on_progress=lambda fraction, doing: report(fraction, f"{fraction:.0%}, {doing}"),
        )

    def one_visit(
        self, architecture: Architecture, mode: ExecutionMode, *, canary_s: float | None, micro_batches: int = 1
    ) -> StepTime:
        """Time a step in a single visit: what a candidate gets.

        Raises:
            InfeasibleError: If memory does not suffice.
        """
        setting = self.config.step_time.model_copy(update={"visits": 1, "budget_s": 0.0})
        return self._measure(architecture, mode, setting, canary_s=canary_s, micro_batches=micro_batches)

    def visits(
        self,
        architecture: Architecture,
        mode: ExecutionMode,
        *,
        canary_s: float | None,
        micro_batches: int = 1,
        phase: Phase = "training",
        on_visit: OnVisit = _nobody,
    ) -> StepTime:
        """Time a step in as many visits as it takes: what a finalist gets.

        Raises:
            InfeasibleError: If memory does not suffice.
        """
        return self._measure(
            architecture,
            mode,
            self.config.step_time,
            canary_s=canary_s,
            micro_batches=micro_batches,
            phase=phase,
            on_visit=on_visit,
        )

    def peak_memory(self, architecture: Architecture, preparation: Preparation, micro_batches: int) -> int:
        """Bytes that a training step holds at its peak.

        Raises:
            InfeasibleError: If memory does not suffice.
        """
        with held_alone(self.device, self.threads):
            return measure_peak_memory(
                architecture,
                batch_size=self.config.step_time.batch_size,
                resolution=self.config.step_time.resolution,
                mode=parse_mode(preparation.step_mode),
                num_classes=self.num_classes,
                in_channels=self.in_channels,
                train=self.config.train,
                micro_batches=micro_batches,
                device=self.device,
            )

    def _measure(
        self,
        architecture: Architecture,
        mode: ExecutionMode,
        setting: StepTimeSetting,
        *,
        canary_s: float | None,
        micro_batches: int,
        phase: Phase = "training",
        on_visit: OnVisit = _nobody,
    ) -> StepTime:
        return measure_step_time(
            architecture,
            reference_s=canary_s,
            setting=self._setting(setting),
            train=self.config.train,
            mode=mode,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            phase=phase,
            micro_batches=micro_batches,
            device=self.device,
            on_visit=on_visit,
        )

    def _setting(self, setting: StepTimeSetting) -> StepTimeSetting:
        return setting.model_copy(update={"threads": self.threads})
