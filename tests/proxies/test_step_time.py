"""Step time with an injected clock and device: what is timed, in which order, and what is made of it."""

import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import proxies.step_time_measurement
from proxies.device import find_device
from proxies.device_lease import DeviceLease
from proxies.execution import PLAIN, ExecutionMode
from proxies.fastest_mode import MeasuredMode, ModeChoice
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime, StepTimeSetting, time_alternating
from proxies.step_time_measurement import DtypeError, choose_mode, measure_step_time
from proxies.training.config import TrainConfig
from search_spaces.architecture import parse

SMALL = parse("stem8-ir_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32")
LARGE = parse("stem24-er_r2_k3_s1_e4_c24-ir_r3_k5_s2_e6_c64_se0.25-head256@64")


def step_time(samples: list[float], references: list[float]) -> StepTime:
    return StepTime(
        samples_s=tuple(samples),
        reference_samples_s=tuple(references),
        batch_size=32,
        resolution=64,
        mode="float32-contiguous",
        device="none",
    )


class FakeDevice:
    """A device that works in the background: time passes when it is waited for, not when work is queued."""

    def __init__(self) -> None:
        self.now, self.queued = 0.0, 0.0
        self.log: list[str] = []

    def step(self, name: str, seconds: float) -> None:
        self.log.append(name)
        self.queued += seconds

    def synchronize(self) -> None:
        self.log.append("|")
        self.now += self.queued
        self.queued = 0.0


def test_steps_alternate_and_the_device_is_drained_around_each() -> None:
    device = FakeDevice()
    samples, references = time_alternating(
        lambda: device.step("R", 2.0),
        lambda: device.step("C", 3.0),
        num_pairs=2,
        num_warmup=1,
        synchronize=device.synchronize,
        clock=lambda: device.now,
    )
    assert "".join(device.log) == "RC" + "|R|" + "|C|" + "|R|" + "|C|" + "|R|"
    assert samples == (3.0, 3.0)
    assert references == (2.0, 2.0, 2.0)


def test_warm_up_is_left_out() -> None:
    device = FakeDevice()
    calls = iter([100.0, *[1.0] * 10])
    samples, _ = time_alternating(
        lambda: device.step("R", 1.0),
        lambda: device.step("C", next(calls)),
        num_pairs=3,
        num_warmup=1,
        synchronize=device.synchronize,
        clock=lambda: device.now,
    )
    assert samples == (1.0, 1.0, 1.0)


def test_a_drift_of_the_machine_cancels_in_the_ratio() -> None:
    """Everything becomes slower by a tenth from one step to the next; the candidate costs 1.5 references."""
    slow = [1.1**n for n in range(11)]
    measured = step_time([1.5 * s for s in slow[1::2]], slow[0::2])
    assert max(measured.samples_s) > 2 * min(measured.samples_s)
    assert measured.ratio == pytest.approx(1.5, rel=0.01)


def test_the_ratio_is_the_median_of_samples_over_their_flanks() -> None:
    """2 / 1 and 4 / 2 and 30 / 3: one disturbed sample of three does not move it."""
    measured = step_time([2.0, 4.0, 30.0], [1.0, 1.0, 3.0, 3.0])
    assert measured.ratios == pytest.approx((2.0, 2.0, 10.0))
    assert measured.ratio == pytest.approx(2.0)
    assert measured.median_s == 4.0
    assert measured.images_per_s == 8.0


def test_the_standard_error_is_that_of_a_median_of_normal_samples() -> None:
    """Against the spread of the medians of many such measurements."""
    seed = 7
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    runs = [step_time((1 + 0.05 * torch.randn(25, generator=generator)).tolist(), [1.0] * 26) for _ in range(400)]
    spread = torch.tensor([run.ratio for run in runs]).std().item()
    claimed = torch.tensor([run.relative_standard_error for run in runs]).mean().item()
    assert claimed == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize(("samples", "references"), [([1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0]), ([], [1.0])])
def test_a_sample_without_both_flanks_is_refused(samples: list[float], references: list[float]) -> None:
    with pytest.raises(ValueError, match="a reference step around each"):
        step_time(samples, references)


def test_a_real_network_is_timed_with_its_circumstances() -> None:
    setting = StepTimeSetting(batch_size=4, num_pairs=3, threads=1, dtype="float32")
    before = torch.get_num_threads()
    measured = measure_step_time(LARGE, reference=SMALL, setting=setting, num_classes=10)
    assert measured.resolution == 64
    assert measured.batch_size == 4
    assert measured.mode.startswith("float32")
    assert "torch " + torch.__version__ in measured.device
    assert "1 thread" in measured.device
    assert measured.ratio > 1, "sixty times the multiply-adds"
    assert torch.get_num_threads() == before


def test_the_target_resolution_is_the_settings() -> None:
    setting = StepTimeSetting(batch_size=2, num_pairs=3, resolution=96, dtype="float32")
    assert measure_step_time(SMALL, setting=setting, num_classes=2).resolution == 96


def test_a_number_format_that_is_not_tried_here_is_refused_in_one_line() -> None:
    device = replace(find_device("cpu"), name="Some CPU")
    message = "dtype must be one that works on Some CPU, got float16: not tried on cpu"
    with pytest.raises(DtypeError, match=f"^{message}$"):
        measure_step_time(SMALL, setting=StepTimeSetting(batch_size=2, dtype="float16"), num_classes=2, device=device)


def test_a_number_format_that_is_not_correct_is_refused_with_its_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(mode: ExecutionMode, speedup: float | None, problem: str | None) -> MeasuredMode:
        return MeasuredMode(
            mode=mode, seconds_per_step=speedup, speedup=speedup, gradient_error=None, problem=problem
        )  # fmt: skip

    rejected = measured(ExecutionMode(dtype="bfloat16"), None, "no kernel")
    choice = ModeChoice(mode=PLAIN, measured=(measured(PLAIN, 1.0, None), rejected))
    monkeypatch.setattr(proxies.step_time_measurement, "find_fastest_mode", lambda *args, **settings: choice)
    device = replace(find_device("cpu"), name="Some CPU")
    with pytest.raises(DtypeError, match=r"^dtype must be one that works on Some CPU, got bfloat16: no kernel$"):
        choose_mode(
            SMALL, setting=StepTimeSetting(dtype="bfloat16"), train=TrainConfig(), device=device,
            num_classes=2, in_channels=3,
        )  # fmt: skip


def test_the_batch_is_released_before_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[weakref.ref[Tensor]] = []
    released: list[bool] = []
    make_batch = proxies.step_time_measurement._batch

    def remembered_batch(*settings: object) -> tuple[Tensor, Tensor]:
        images, labels = make_batch(*settings)  # type: ignore[arg-type]
        batches.append(weakref.ref(images))
        return images, labels

    def out_of_memory(*steps: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(proxies.step_time_measurement, "_batch", remembered_batch)
    monkeypatch.setattr(proxies.step_time_measurement, "time_alternating", out_of_memory)
    device = replace(find_device("cpu"), release_memory=lambda: released.append(batches[0]() is None))
    setting = StepTimeSetting(batch_size=2, num_pairs=3)
    with pytest.raises(InfeasibleError, match="out of memory"):
        measure_step_time(SMALL, setting=setting, mode=PLAIN, num_classes=2, device=device)
    assert released == [True]


def test_the_step_time_is_measured_under_the_lease_of_the_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    class Lease(DeviceLease):
        def __init__(self, device: str) -> None:
            names.append(device)
            super().__init__(device, tmp_path)

    monkeypatch.setattr(proxies.step_time_measurement, "DeviceLease", Lease)
    device = replace(find_device("cpu"), lease_name="test-of-leases")
    setting = StepTimeSetting(batch_size=2, num_pairs=3)
    measure_step_time(SMALL, setting=setting, mode=PLAIN, num_classes=2, device=device)
    assert names == ["test-of-leases"]


def test_sharers_share_and_one_who_measures_is_alone(tmp_path: Path) -> None:
    lease = DeviceLease("cpu", tmp_path)
    log: list[str] = []

    def train(name: str, inside: threading.Barrier) -> None:
        with lease.shared():
            log.append(f"+{name}")
            inside.wait(timeout=30)
            time.sleep(0.2)
            log.append(f"-{name}")

    def measure() -> None:
        with lease.exclusive():
            log.append("+M")
            time.sleep(0.1)
            log.append("-M")

    both = threading.Barrier(3)
    threads = [threading.Thread(target=train, args=(name, both)) for name in "AB"]
    for thread in threads:
        thread.start()
    both.wait(timeout=30)  # both trainings hold the device at once
    threads.append(threading.Thread(target=measure))
    threads[-1].start()
    for thread in threads:
        thread.join(timeout=30)
    assert log[-2:] == ["+M", "-M"]
    assert sorted(log[:4]) == ["+A", "+B", "-A", "-B"]


def test_a_lease_belongs_to_one_device(tmp_path: Path) -> None:
    with DeviceLease("cuda:0", tmp_path).exclusive(), DeviceLease("cuda:1", tmp_path).exclusive():
        assert {path.name for path in tmp_path.glob("*.db")} == {"lease-cuda-0.db", "lease-cuda-1.db"}


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    script = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom proxies.device_lease import DeviceLease\n"
        "with DeviceLease('cpu', Path(sys.argv[1])).exclusive():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with DeviceLease("cpu", tmp_path).exclusive():
        pass


@pytest.mark.gpu
def test_a_cuda_step_is_drained_before_the_clock_is_read() -> None:
    device = find_device("cuda")
    setting = StepTimeSetting(batch_size=64, num_pairs=15, device="cuda")
    measured = measure_step_time(LARGE, reference=SMALL, setting=setting, device=device)
    assert measured.ratio > 1
    assert device.name in measured.device
