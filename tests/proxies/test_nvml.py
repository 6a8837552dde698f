"""A GPU's meters through a scripted NVML, and the real one where there is a GPU."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from proxies import nvml
from proxies.device import find_device
from proxies.device_load import AcceleratorReading, load_between
from proxies.nvml import find_gpu


class FakeNVMLError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value


NOT_SUPPORTED, NOT_FOUND, FUNCTION_NOT_FOUND = 3, 6, 13


def fake_library(*, sampled: Any = (), running: tuple[int, ...] = (), reasons: int = 0x24) -> Any:
    """What pynvml answers on a healthy GPU; sampled are (pid, share of the multiprocessors in percent)."""

    def process_utilization(handle: str, since_us: int) -> list[SimpleNamespace]:
        assert since_us > 1e15  # microseconds since 1970, not seconds
        if not sampled:
            raise FakeNVMLError(NOT_FOUND)
        return [SimpleNamespace(pid=pid, smUtil=share) for pid, share in sampled]

    return SimpleNamespace(
        NVMLError=FakeNVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetClockInfo=lambda handle, clock: {1: 1980, 2: 2619}[clock],
        nvmlDeviceGetPowerUsage=lambda handle: 312_500,
        nvmlDeviceGetTemperature=lambda handle, sensor: {0: 55}[sensor],
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87, memory=40),
        nvmlDeviceGetViolationStatus=lambda handle, policy: SimpleNamespace(
            violationTime={0: 1, 1: 77}[policy], referenceTime=0
        ),
        nvmlDeviceGetCurrentClocksEventReasons=lambda handle: reasons,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: reasons,
        nvmlDeviceGetComputeRunningProcesses=lambda handle: [SimpleNamespace(pid=pid) for pid in running],
        nvmlDeviceGetProcessUtilization=process_utilization,
    )


def read(library: Any) -> AcceleratorReading:
    gpu = find_gpu("GPU-1", library)
    assert gpu is not None
    assert gpu.handle == "handle of GPU-1"
    return gpu.read()


WHOLE = AcceleratorReading(
    sm_clock_mhz=1980,
    memory_clock_mhz=2619,
    power_w=312.5,
    temperature_c=55,
    utilisation=0.87,
    slowdowns=("SwPowerCap", "SwThermalSlowdown"),
    thermal_slowdown_ns=77,
    foreign_pids=(),
)


def test_a_gpus_meters_are_read_in_our_units() -> None:
    assert read(fake_library()) == WHOLE


@pytest.mark.parametrize("how", ["raises", "is missing"])
@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetClockInfo", ("sm_clock_mhz", "memory_clock_mhz")),
        ("nvmlDeviceGetPowerUsage", ("power_w",)),
        ("nvmlDeviceGetTemperature", ("temperature_c",)),
        ("nvmlDeviceGetUtilizationRates", ("utilisation",)),
        ("nvmlDeviceGetViolationStatus", ("thermal_slowdown_ns",)),
        ("nvmlDeviceGetCurrentClocksThrottleReasons", ()),  # the former name, asked where the present one fails
        ("nvmlDeviceGetCurrentClocksEventReasons", ()),
        ("nvmlDeviceGetComputeRunningProcesses", ("foreign_pids",)),
        ("nvmlDeviceGetProcessUtilization", ()),  # nobody holds the GPU, so nobody computes there
    ],
)
def test_what_a_gpu_does_not_tell_is_none_and_the_rest_is_there(
    function: str, fields: tuple[str, ...], how: str
) -> None:
    library = fake_library()
    if how == "raises":
        setattr(library, function, refuse(NOT_SUPPORTED))
    else:
        delattr(library, function)
    assert read(library) == replace(WHOLE, **dict.fromkeys(fields))


def refuse(code: int) -> Any:
    def raising(*_: Any) -> None:
        raise FakeNVMLError(code)

    return raising


def test_a_driver_that_knows_no_reasons_tells_none() -> None:
    library = fake_library()
    library.nvmlDeviceGetCurrentClocksEventReasons = refuse(FUNCTION_NOT_FOUND)
    library.nvmlDeviceGetCurrentClocksThrottleReasons = refuse(NOT_SUPPORTED)
    assert read(library).slowdowns is None


@pytest.mark.parametrize(
    ("reasons", "names"), [(0, ()), (0x48, ("HwSlowdown", "HwThermalSlowdown")), (0x801, ("0x800", "GpuIdle"))]
)
def test_reasons_are_named_and_new_ones_keep_their_number(reasons: int, names: tuple[str, ...]) -> None:
    assert read(fake_library(reasons=reasons)).slowdowns == names


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_without_a_driver_or_the_gpu_there_are_no_meters(function: str) -> None:
    library = fake_library()
    setattr(library, function, refuse(NOT_FOUND))
    assert find_gpu("GPU-1", library) is None


OWN = os.getpid()
OTHER, HOLDER = OWN + 1, OWN + 2


@pytest.mark.parametrize(
    ("running", "sampled", "foreign"),
    [
        pytest.param((OWN, OTHER, HOLDER), ((OWN, 60), (OTHER, 30), (HOLDER, 0)), (OTHER,), id="one computes"),
        pytest.param((OWN, HOLDER), ((OWN, 60),), (), id="one only holds memory"),
        pytest.param((OWN, OTHER), (), (), id="nobody computes"),
        pytest.param((OTHER,), ((OTHER, 30),), None, id="we are not listed: numbers of another namespace"),
        pytest.param((OWN,), ((999_999, 60),), (), id="only the samples are numbered as the host does"),
    ],
)
def test_foreign_processes_are_those_that_compute(running: Any, sampled: Any, foreign: Any) -> None:
    assert read(fake_library(running=running, sampled=sampled)).foreign_pids == foreign


@pytest.mark.parametrize("how", ["raises", "is missing"])
def test_without_use_per_process_nobody_is_accused(how: str) -> None:
    library = fake_library(running=(OWN, OTHER))
    if how == "raises":
        library.nvmlDeviceGetProcessUtilization = refuse(NOT_SUPPORTED)
    else:
        del library.nvmlDeviceGetProcessUtilization
    assert read(library).foreign_pids is None


def test_the_real_librarys_errors_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_driver)
    assert find_gpu("GPU-1", pynvml) is None


def test_the_values_taken_from_the_header_are_pynvmls() -> None:
    assert (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM) == (nvml._SM_CLOCK, nvml._MEMORY_CLOCK)
    assert nvml._GPU_SENSOR == pynvml.NVML_TEMPERATURE_GPU
    assert nvml._THERMAL_POLICY == pynvml.NVML_PERF_POLICY_THERMAL
    assert (nvml._SUCCESS, nvml._NOT_FOUND) == (pynvml.NVML_SUCCESS, pynvml.NVML_ERROR_NOT_FOUND)
    for bit, name in nvml._REASONS.items():
        assert getattr(pynvml, f"nvmlClocksThrottleReason{name}", bit) == bit
    assert pynvml.nvmlClocksEventReasonAll & ~sum(nvml._REASONS) == 0


@pytest.mark.gpu
def test_a_real_gpu_shows_its_meters() -> None:
    device = find_device("cuda")
    matrix = torch.randn(4096, 4096, device=device.torch_device)
    before = device.read_meters()
    for _ in range(50):
        matrix @ matrix
    device.synchronize()
    reading = device.read_meters()
    if reading.accelerator is None:
        pytest.skip("NVML is not usable here")
    assert reading.accelerator.temperature_c is None or 0 < reading.accelerator.temperature_c < 120
    assert reading.accelerator.sm_clock_mhz is None or reading.accelerator.sm_clock_mhz > 0
    load = load_between(before, reading, threads=1)
    assert os.getpid() not in (load.foreign_pids or ())
    assert load.power_w is None or load.power_w > 0
