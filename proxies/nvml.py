"""A GPU's own meters, as NVIDIA's management library shows them; what a driver or a GPU does not tell is None."""

import functools
import importlib
import os
import time
from dataclasses import dataclass
from typing import Any

from .device_load import AcceleratorReading

# Values of nvml.h, which are part of its binary interface and so never change.
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_GPU_SENSOR = 0
_THERMAL_POLICY = 1
_SUCCESS, _NOT_FOUND = 0, 6
_REASONS = {
    0x001: "GpuIdle",
    0x002: "ApplicationsClocksSetting",
    0x004: "SwPowerCap",
    0x008: "HwSlowdown",
    0x010: "SyncBoost",
    0x020: "SwThermalSlowdown",
    0x040: "HwThermalSlowdown",
    0x080: "HwPowerBrakeSlowdown",
    0x100: "DisplayClockSetting",
    0x200: "BoardLimit",
    0x400: "Reliability",
}

# The driver samples every 1/6 s to 1 s, depending on the GPU: a shorter look back may find no sample at all.
_LOOK_BACK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, ready to be asked."""

    library: Any
    """The module pynvml, initialised."""
    handle: Any

    def read(self) -> AcceleratorReading:
        """What its meters show now; takes up to some milliseconds, so read around many steps, not around each."""
        power_mw = self._ask("nvmlDeviceGetPowerUsage")
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        violation = self._ask("nvmlDeviceGetViolationStatus", _THERMAL_POLICY)
        return AcceleratorReading(
            sm_clock_mhz=self._ask("nvmlDeviceGetClockInfo", _SM_CLOCK),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", _MEMORY_CLOCK),
            power_w=None if power_mw is None else power_mw / 1000,
            temperature_c=self._ask("nvmlDeviceGetTemperature", _GPU_SENSOR),
            utilisation=None if rates is None else rates.gpu / 100,
            slowdowns=self._slowdowns(),
            thermal_slowdown_ns=None if violation is None else violation.violationTime,
            foreign_pids=self._foreign_pids(),
        )

    def _slowdowns(self) -> tuple[str, ...] | None:
        """Drivers before R535 know the reasons by their former name only."""
        mask = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if mask is None:
            mask = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if mask is None:
            return None
        bits = (1 << place for place in range(mask.bit_length()))
        return tuple(sorted(_REASONS.get(bit, hex(bit)) for bit in bits if mask & bit))

    def _foreign_pids(self) -> tuple[int, ...] | None:
        """Processes that kept the GPU's multiprocessors busy; one that only holds memory there disturbs nobody.

        Inside a container some drivers number processes as the host does, even differently from call to call
        (github.com/Project-HAMi/HAMi-core/issues/112). So numbers count only where this process, which has used the
        GPU by now, finds itself among them, and of the busy ones only those that the other call names too.
        """
        running = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if running is None:
            return None
        pids = {process.pid for process in running}
        if not pids:
            return ()
        busy = self._busy_pids()
        if os.getpid() not in pids or busy is None:
            return None
        return tuple(sorted((busy & pids) - {os.getpid()}))

    def _busy_pids(self) -> set[int] | None:
        since_us = int((time.time() - _LOOK_BACK_S) * 1e6)
        try:
            samples = self.library.nvmlDeviceGetProcessUtilization(self.handle, since_us)
        except self.library.NVMLError as error:
            return set() if error.value in (_SUCCESS, _NOT_FOUND) else None  # so it says that it has no sample
        except AttributeError:
            return None
        return {sample.pid for sample in samples if sample.smUtil > 0}

    def _ask(self, function: str, *arguments: int) -> Any:
        """None where this GPU, its driver or an older pynvml cannot answer."""
        try:
            return getattr(self.library, function)(self.handle, *arguments)
        except (self.library.NVMLError, AttributeError):
            return None


def find_gpu(uuid: str, library: Any) -> Gpu | None:
    """The GPU with this UUID, by which it is the same one whatever CUDA_VISIBLE_DEVICES says.

    Args:
        uuid: As NVIDIA's tools show it, "GPU-…".
        library: The module pynvml; it is initialised here.

    Returns:
        None where NVIDIA's library is missing, refuses, or does not know this GPU.
    """
    try:
        library.nvmlInit()
        return Gpu(library=library, handle=library.nvmlDeviceGetHandleByUUID(uuid))
    except library.NVMLError:
        return None


@functools.cache
def gpu_here(uuid: str) -> Gpu | None:
    """The same, of this machine's driver, looked up once."""
    return find_gpu(uuid, importlib.import_module("pynvml"))
