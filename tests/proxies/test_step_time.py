"""Step time with made-up devices and clocks: what is timed, in which order, and what is made of it."""

import itertools
import math
import statistics
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import proxies.step_time_measurement
from proxies import canary, timed_step
from proxies.device import Device, find_device, time_work
from proxies.device_lease import DeviceLease
from proxies.device_load import Reading
from proxies.execution import PLAIN, ExecutionMode
from proxies.fastest_mode import MeasuredMode, ModeChoice
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime, StepTimeSetting, Visit, time_visit
from proxies.step_time_measurement import DtypeError, choose_mode, measure_step_time
from proxies.student import student_t95
from proxies.training.config import TrainConfig
from proxies.workload import Workload
from search_spaces.architecture import Architecture, parse

SMALL = parse("stem8-ir_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32")
LARGE = parse("stem24-er_r2_k3_s1_e4_c24-ir_r3_k5_s2_e6_c64_se0.25-head256@64")
BUSY = "the step waited"


@pytest.fixture(autouse=True)
def _leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of this test's own: whoever measures on this machine is not waited for."""
    monkeypatch.setattr(proxies.step_time_measurement, "DeviceLease", partial(DeviceLease, folder=tmp_path))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def visit(
    samples: Sequence[float], references: Sequence[float] | None = None, *, disturbed: Sequence[int] = ()
) -> Visit:
    """Steps of one visit; the reference takes a second unless it is told otherwise."""
    return Visit(
        samples_s=tuple(samples),
        reference_samples_s=tuple(references or [1.0] * (len(samples) + 1)),
        disturbances=tuple("a neighbour" if n in disturbed else None for n in range(len(samples))) if disturbed else (),
    )


def step_time(*visits: Visit, reference_s: float = 1.0) -> StepTime:
    return StepTime(
        visits=visits,
        reference="none",
        reference_s=reference_s,
        batch_size=32,
        resolution=64,
        mode="float32-contiguous",
        device="none",
    )


def steady(level: float = 1.0, *, half: float = 0.001, count: int = 30, disturbed: Sequence[int] = ()) -> Visit:
    """A visit whose samples lie as far above as below its level."""
    return visit([level * (1 + half * (-1) ** n) for n in range(count)], disturbed=disturbed)


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

    def stopwatch(self, work: Callable[[], object]) -> float:
        return time_work(work, synchronize=self.synchronize, clock=lambda: self.now)


class FakeMeters:
    """Meters of a machine on which every reading comes a second after the last; threads waited when told so."""

    def __init__(self, waited_before: Callable[[int], bool] = lambda reading: False) -> None:
        self.count, self.waiting = 0, 0.0
        self._waited_before = waited_before

    def read(self) -> Reading:
        self.waiting += 0.5 * self._waited_before(self.count)
        self.count += 1
        return Reading(
            wall_s=self.count, cpu_s=self.count, waiting_s=self.waiting, machine_busy_s=self.count, cores=2
        )  # fmt: skip


class TestStopwatch:
    def test_the_device_is_drained_before_and_after_what_is_timed(self) -> None:
        device = FakeDevice()
        device.step("earlier", 7.0)
        assert device.stopwatch(lambda: device.step("W", 3.0)) == 3.0
        assert device.log == ["earlier", "|", "W", "|"]

    def test_without_a_queue_it_is_the_time_of_the_call(self) -> None:
        ticks = iter([10.0, 12.5])
        assert time_work(lambda: None, clock=lambda: next(ticks)) == 2.5

    @pytest.mark.gpu
    def test_cudas_counts_the_kernels_of_the_work_and_not_those_before(self) -> None:
        device = find_device("cuda")
        matrix = torch.randn(4096, 4096, device=device.torch_device)

        def multiply(times: int) -> None:
            for _ in range(times):
                matrix @ matrix

        for _ in range(3):
            device.stopwatch(lambda: multiply(5))
        once = statistics.median(device.stopwatch(lambda: multiply(5)) for _ in range(9))
        fourfold = statistics.median(device.stopwatch(lambda: multiply(20)) for _ in range(9))
        assert 3 < fourfold / once < 5
        multiply(100)  # still queued
        assert device.stopwatch(lambda: multiply(5)) < 3 * once
        wall = time_work(lambda: multiply(20), synchronize=device.synchronize)
        assert wall >= 0.8 * fourfold, "events count milliseconds, results are seconds"
        assert wall < 3 * fourfold

    @pytest.mark.gpu
    def test_cudas_leaves_the_current_device_alone(self) -> None:
        last = torch.cuda.device_count() - 1
        before = torch.cuda.current_device()
        assert find_device(f"cuda:{last}").stopwatch(lambda: None) >= 0
        assert torch.cuda.current_device() == before


class TestTimeVisit:
    def test_steps_alternate_and_the_device_is_drained_around_each(self) -> None:
        device = FakeDevice()
        found = time_visit(
            lambda: device.step("R", 2.0),
            lambda: device.step("C", 3.0),
            num_pairs=2,
            num_warmup=1,
            stopwatch=device.stopwatch,
        )
        assert "".join(device.log) == "RC" + "|R|" + "|C|" + "|R|" + "|C|" + "|R|"
        assert found.samples_s == (3.0, 3.0)
        assert found.reference_samples_s == (2.0, 2.0, 2.0)
        assert (found.disturbances, found.load, found.is_clean) == ((), None, True)

    def test_warm_up_is_left_out(self) -> None:
        device = FakeDevice()
        seconds = iter([100.0, 50.0, *[1.0] * 10])
        found = time_visit(
            lambda: device.step("R", 1.0),
            lambda: device.step("C", next(seconds)),
            num_pairs=3,
            num_warmup=2,
            stopwatch=device.stopwatch,
        )
        assert found.samples_s == (1.0, 1.0, 1.0)

    def test_meters_are_not_read_while_a_step_is_timed(self) -> None:
        device, meters = FakeDevice(), FakeMeters()

        def read() -> Reading:
            device.log.append("?")
            return meters.read()

        time_visit(
            lambda: device.step("R", 2.0), lambda: device.step("C", 3.0),
            num_pairs=2, num_warmup=0, stopwatch=device.stopwatch, read_meters=read,
        )  # fmt: skip
        parts = "".join(device.log).replace("?", " ").split()
        assert parts == ["|R|", "|C|", "|R|", "|C|", "|R|"]

    @pytest.mark.parametrize(
        ("step", "pairs"),
        [(0, {0}), (1, {0}), (2, {0, 1}), (3, {1}), (4, {1, 2}), (5, {2}), (6, {2, 3}), (7, {3}), (8, {3})],
    )
    def test_what_disturbs_a_step_disturbs_the_pairs_it_belongs_to(self, step: int, pairs: set[int]) -> None:
        """Steps are R C R C R C R C R; a reference step flanks the samples on both its sides."""
        device, meters = FakeDevice(), FakeMeters(lambda reading: reading == step + 1)
        found = time_visit(
            lambda: device.step("R", 1.0), lambda: device.step("C", 1.0),
            num_pairs=4, num_warmup=1, stopwatch=device.stopwatch, read_meters=meters.read,
        )  # fmt: skip
        assert {n for n, text in enumerate(found.disturbances) if text} == pairs
        assert all(text.startswith(BUSY) for text in found.disturbances if text)
        assert found.load is not None
        assert found.load.wall_s == 9
        assert found.load.waiting_share == pytest.approx(0.5 / 9)

    def test_waiting_is_shared_by_the_threads_of_a_step(self) -> None:
        device, meters = FakeDevice(), FakeMeters(lambda reading: reading == 1)
        found = time_visit(
            lambda: device.step("R", 1.0), lambda: device.step("C", 1.0),
            num_pairs=2, stopwatch=device.stopwatch, read_meters=meters.read, threads=100,
        )  # fmt: skip
        assert found.disturbances == (None, None)


class TestVisit:
    def test_a_drift_of_the_machine_cancels_in_the_ratio(self) -> None:
        """Everything becomes slower by a tenth from one step to the next; the candidate costs 1.5 references."""
        slow = [1.1**n for n in range(11)]
        drifting = visit([1.5 * s for s in slow[1::2]], slow[0::2])
        assert max(drifting.samples_s) > 2 * min(drifting.samples_s)
        assert step_time(drifting).ratio == pytest.approx(1.5, rel=0.01)

    def test_ratios_are_samples_over_the_mean_of_their_flanks(self) -> None:
        assert visit([2.0, 4.0, 30.0], [1.0, 1.0, 3.0, 3.0]).ratios == pytest.approx((2.0, 2.0, 10.0))

    def test_disturbed_pairs_are_dropped(self) -> None:
        found = visit([2.0, 2.0, 9.0, 2.2, 2.2], disturbed=[2])
        assert found.ratios == (2.0, 2.0, 2.2, 2.2)
        assert found.disturbed_share == 0.2
        assert found.is_clean

    def test_with_more_than_a_fifth_disturbed_it_is_not_clean(self) -> None:
        found = visit([2.0] * 9, disturbed=[2, 5])
        assert found.disturbed_share == pytest.approx(2 / 9)
        assert not found.is_clean

    def test_where_nearly_all_is_disturbed_all_samples_are_kept(self) -> None:
        assert visit([1.0, 2.0, 3.0], disturbed=[0, 1]).ratios == (1.0, 2.0, 3.0)

    @pytest.mark.parametrize(("samples", "references"), [([1.0], [1.0, 1.0]), ([1.0, 1.0], [1.0, 1.0]), ([], [1.0])])
    def test_a_sample_without_both_flanks_is_refused(self, samples: list[float], references: list[float]) -> None:
        with pytest.raises(ValueError, match="a reference step around each"):
            visit(samples, references)

    def test_disturbances_of_some_samples_only_are_refused(self) -> None:
        with pytest.raises(ValueError, match="each of 2 samples is disturbed or not, got"):
            Visit(samples_s=(1.0, 1.0), reference_samples_s=(1.0,) * 3, disturbances=(None,))


class TestStepTime:
    def test_the_result_is_the_median_over_all_visits(self) -> None:
        """Of 2, 2, 10 and 3, 4: one disturbed sample does not move it; a step of the reference stands for 0.5 s."""
        measured = step_time(visit([2.0, 4.0, 30.0], [1.0, 1.0, 3.0, 3.0]), visit([3.0, 4.0]), reference_s=0.5)
        assert measured.ratio == pytest.approx(3.0)
        assert measured.median_s == pytest.approx(1.5)
        assert measured.images_per_s == pytest.approx(32 / 1.5)
        low, high = measured.quartiles_s
        assert 1.0 <= low < 1.5 < high <= 5.0

    def test_a_visit_that_was_disturbed_is_set_aside(self) -> None:
        disturbed = steady(1.5, disturbed=range(7))
        measured = step_time(steady(), disturbed, steady())
        assert measured.ratio == pytest.approx(1.0, rel=1e-3)
        assert measured.verdict == "stable"
        assert measured.disturbance == "a neighbour"

    def test_little_spread_is_stable(self) -> None:
        measured = step_time(steady(), steady(1.001), steady(0.999))
        assert measured.verdict == "stable"
        assert measured.disturbance is None

    def test_too_much_spread_of_samples_is_unstable(self) -> None:
        assert step_time(steady(half=0.3)).verdict == "unstable"

    def test_visits_that_differ_are_unstable_however_steady_each_is(self) -> None:
        """At 0.97, 1, 1.03 their variance counts as much as the expected 1 %, with 4 degrees of freedom."""
        measured = step_time(steady(0.97), steady(1.0), steady(1.03))
        assert measured.verdict == "unstable"
        deviation = math.sqrt((0.03**2 + 0.01**2) / 2)
        assert measured.relative_half_width == pytest.approx(2.776 * deviation / math.sqrt(3), rel=0.05)

    def test_one_visit_does_not_know_how_much_visits_differ(self) -> None:
        """Samples without any scatter leave the expected 1 %, with 2 degrees of freedom: ± 4.3 %."""
        measured = step_time(visit([2.0] * 4))
        assert measured.relative_standard_error == pytest.approx(0.01)
        assert measured.relative_half_width == pytest.approx(0.04303)
        assert measured.verdict == "unstable"

    def test_with_every_visit_disturbed_it_is_contaminated(self) -> None:
        measured = step_time(steady(disturbed=range(7)), steady(disturbed=range(30)))
        assert measured.relative_half_width < 0.02
        assert measured.verdict == "contaminated"

    def test_the_interval_surrounds_the_result(self) -> None:
        measured = step_time(steady(half=0.05), steady(1.02, half=0.05), reference_s=2.0)
        low, high = measured.interval_s
        assert low < measured.median_s < high
        assert high / measured.median_s == pytest.approx(1 + measured.relative_half_width)
        assert measured.relative_half_width > 1.96 * measured.relative_standard_error

    def test_without_a_visit_it_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one visit"):
            step_time()

    @pytest.mark.parametrize("reference_s", [0.0, -1.0, math.inf, math.nan])
    def test_a_reference_without_a_time_is_refused(self, reference_s: float) -> None:
        with pytest.raises(ValueError, match="reference_s must be finite and positive, got"):
            step_time(steady(), reference_s=reference_s)


@pytest.mark.parametrize(
    ("visits", "pairs", "spread", "between"),
    [(1, 30, 0.05, 0.01), (3, 30, 0.05, 0.01), (3, 30, 0.05, 0.015), (6, 15, 0.04, 0.01), (8, 20, 0.02, 0.03)],
)
def test_errors_are_those_of_many_simulated_measurements(
    visits: int, pairs: int, spread: float, between: float
) -> None:
    """Samples of one visit scatter, and visits differ; claims are held against how far 500 results lie apart."""
    seed = 7
    print(f"{seed=}")
    rng = np.random.default_rng(seed)

    def measured() -> StepTime:
        levels = np.exp(between * rng.standard_normal(visits))
        return step_time(*(visit(list(level * np.exp(spread * rng.standard_normal(pairs)))) for level in levels))

    runs = [measured() for _ in range(500)]
    errors = np.log([run.ratio for run in runs])
    claimed = math.sqrt(statistics.fmean(run.relative_standard_error**2 for run in runs))
    assert claimed == pytest.approx(errors.std(), rel=0.2)
    held = statistics.fmean(
        abs(error) <= math.log1p(run.relative_half_width) for error, run in zip(errors, runs, strict=True)
    )
    assert 0.88 <= held <= 0.995


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 9, 12, 20, 29, 45, 87, 1e6, math.inf])
def test_students_quantiles_are_at_least_scipys(freedom: float) -> None:
    expected = float(stats.norm.ppf(0.975) if math.isinf(freedom) else stats.t.ppf(0.975, freedom))
    assert student_t95(freedom) >= expected - 5e-4
    assert student_t95(freedom) <= expected * (1.2 if freedom < 2 else 1.02)


def test_less_than_one_degree_of_freedom_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        student_t95(0)


class TestCanary:
    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        log: list[Any] = []

        def make(network: Architecture, workload: Workload, device: Device) -> Callable[[], None]:
            log.append((network, workload))
            return lambda: log.append("F" if network.stages[0].block == "er" else "M")

        monkeypatch.setattr(canary, "make_timed_step", make)
        return log

    def test_one_network_is_fused_and_one_is_mbconv_of_both_kernel_sizes(self, log: list[Any]) -> None:
        canary.make_canary(Workload(), find_device("cpu"))
        fused, depthwise = (network for network, _ in log)
        assert {stage.block for stage in fused.stages} == {"er"}
        assert {stage.block for stage in depthwise.stages} == {"ir"}
        assert {stage.kernel_size for stage in depthwise.stages} == {3, 5}
        assert all(stage.se_ratio for stage in depthwise.stages)

    def test_it_is_the_same_whatever_is_timed_beside_it_but_for_how_steps_are_executed(self, log: list[Any]) -> None:
        device = replace(find_device("cpu"), canary_batch_size=5)
        mode = ExecutionMode(channels_last=True)
        canary.make_canary(Workload(mode=mode, phase="inference", optimizer="sgd"), device)
        canary.make_canary(
            Workload(
                mode=mode, phase="inference", optimizer="sgd", resolution=999, batch_size=999, num_classes=999,
                in_channels=9, micro_batches=9,
            ),
            device,
        )  # fmt: skip
        assert len({workload for _, workload in log}) == 1
        workload = log[0][1]
        assert (workload.mode, workload.phase, workload.optimizer, workload.batch_size) == (mode, "inference", "sgd", 5)

    def test_each_step_lies_between_one_of_either_network(self, log: list[Any]) -> None:
        step = canary.make_canary(Workload(), find_device("cpu"))
        log.clear()

        def stopwatch(work: Callable[[], object]) -> float:
            work()
            return 1.0

        time_visit(step, lambda: log.append("c"), num_pairs=3, num_warmup=0, stopwatch=stopwatch)
        assert "".join(log) == "FcMcFcM"

    def test_both_networks_are_warm_before_anything_is_timed(self, log: list[Any]) -> None:
        step = canary.make_canary(Workload(), find_device("cpu"))
        log.clear()
        time_visit(step, lambda: None, num_pairs=2, stopwatch=lambda work: 1.0)
        assert set(log) == {"F", "M"}

    @pytest.mark.parametrize("phase", ["training", "inference"])
    def test_it_runs(self, phase: Any) -> None:
        step = canary.make_canary(Workload(phase=phase), replace(find_device("cpu"), canary_batch_size=2))
        for _ in range(4):
            step()


class MadeUpVisits:
    """A device on which the reference takes a second and the network so many, one number for each visit.

    Steps are not run, but for warm-up; samples of a visit lie a thousandth above and below its number in turn. Visits
    in `disturbed` waited for a core all the time, and everything in them took three times as long.
    """

    def __init__(self, levels: Sequence[float], *, num_pairs: int, disturbed: Sequence[int] = ()) -> None:
        self.num_steps = 2 * num_pairs + 1
        self.count, self.now = 0, 0.0
        self.log: list[str] = []
        self._levels, self._disturbed = levels, disturbed
        self._meters = FakeMeters(lambda reading: (self.count - 1) // self.num_steps in disturbed)

    def stopwatch(self, work: Callable[[], object]) -> float:
        number, step = divmod(self.count, self.num_steps)
        self.count += 1
        level = self._levels[number] * (1.001 if step % 4 == 1 else 0.999) if step % 2 else 1.0
        seconds = level * (3 if number in self._disturbed else 1)
        self.now += seconds
        return seconds

    def sleep(self, seconds: float) -> None:
        self.log.append("sleep")
        self.now += seconds

    @property
    def device(self) -> Device:
        return replace(find_device("cpu"), stopwatch=self.stopwatch, read_meters=self._meters.read, canary_batch_size=2)

    def measure(self, *, visits: int, budget_s: float, **settings: Any) -> StepTime:
        num_pairs = (self.num_steps - 1) // 2
        return measure_step_time(
            SMALL,
            setting=StepTimeSetting(batch_size=2, num_pairs=num_pairs, visits=visits, budget_s=budget_s),
            mode=PLAIN,
            num_classes=2,
            device=self.device,
            clock=lambda: self.now,
            sleep=self.sleep,
            **settings,
        )


class TestMeasure:
    def test_visits_end_when_the_result_is_stable(self) -> None:
        made_up = MadeUpVisits([2.0] * 9, num_pairs=4)
        seen: list[int] = []
        measured = made_up.measure(visits=2, budget_s=1e9, on_visit=lambda so_far: seen.append(len(so_far.visits)))
        assert measured.verdict == "stable"
        assert measured.ratio == pytest.approx(2.0, rel=0.002)
        assert seen == [1, 2]

    def test_visits_go_on_until_the_result_is_stable(self) -> None:
        """The first two differ by a tenth; the others agree, and end it before the budget does."""
        made_up = MadeUpVisits([2.0, 2.2, *[2.1] * 60], num_pairs=6)
        measured = made_up.measure(visits=2, budget_s=1e9)
        assert measured.verdict == "stable"
        assert 4 <= len(measured.visits) < 62

    def test_when_the_budget_ends_it_says_unstable(self) -> None:
        """Visits take 5 + 4 × 2 and 5 + 4 × 3 s in turn, and pauses a second: the fourth begins at 46 s."""
        made_up = MadeUpVisits([2.0, 3.0] * 9, num_pairs=4)
        measured = made_up.measure(visits=2, budget_s=50.0)
        assert measured.verdict == "unstable"
        assert len(measured.visits) == 4

    def test_as_many_visits_as_asked_for_are_made_without_any_budget(self) -> None:
        assert len(MadeUpVisits([2.0, 3.0, 2.5], num_pairs=3).measure(visits=3, budget_s=0).visits) == 3

    def test_a_disturbed_visit_is_made_up_for(self) -> None:
        """It would be three times as long in seconds, too, if its reference counted."""
        made_up = MadeUpVisits([9.0, *[2.0] * 9], num_pairs=4, disturbed=[0])
        measured = made_up.measure(visits=2, budget_s=1e9)
        assert [each.is_clean for each in measured.visits] == [False, *[True] * (len(measured.visits) - 1)]
        assert measured.verdict == "stable"
        assert measured.median_s == pytest.approx(2.0, rel=0.002)

    def test_seconds_are_those_of_clean_visits(self) -> None:
        made_up = MadeUpVisits([2.0] * 5, num_pairs=4, disturbed=[0, 1, 2])
        measured = made_up.measure(visits=5, budget_s=0)
        assert measured.reference_s == pytest.approx(1.0)

    def test_disturbed_to_the_end_it_says_contaminated(self) -> None:
        made_up = MadeUpVisits([2.0] * 9, num_pairs=4, disturbed=range(9))
        measured = made_up.measure(visits=1, budget_s=100.0)
        assert measured.verdict == "contaminated"
        assert 1 < len(measured.visits) < 9
        assert measured.disturbance is not None
        assert measured.disturbance.startswith(BUSY)

    def test_between_two_visits_the_device_is_free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made_up = MadeUpVisits([2.0] * 3, num_pairs=3)
        names: list[str] = []

        class Lease:
            def __init__(self, device: str) -> None:
                names.append(device)

            @contextmanager
            def exclusive(self) -> Iterator[None]:
                made_up.log.append("held")
                yield
                made_up.log.append("free")

        monkeypatch.setattr(proxies.step_time_measurement, "DeviceLease", Lease)
        made_up.measure(visits=3, budget_s=0, on_visit=lambda so_far: made_up.log.append("shown"))
        assert made_up.log == [*["held", "free", "shown", "sleep"] * 2, "held", "free", "shown"]
        assert names == [find_device("cpu").lease_name] * 3

    def test_the_lease_is_the_hardwares(self, tmp_path: Path) -> None:
        made_up = MadeUpVisits([2.0], num_pairs=3)
        device = replace(made_up.device, lease_name="test of leases")
        setting = StepTimeSetting(batch_size=2, num_pairs=3, visits=1, budget_s=0)
        measure_step_time(SMALL, setting=setting, mode=PLAIN, num_classes=2, device=device)
        assert [path.name for path in tmp_path.glob("*.lock")] == ["lease-test-of-leases.lock"]

    def test_seconds_are_the_references_of_the_visits(self) -> None:
        """The canary's networks take 1 and 3 seconds in turn: one of its steps stands for 2."""
        made_up = MadeUpVisits([0.0], num_pairs=3)
        seconds = itertools.cycle([1.0, 5.0, 3.0, 5.0])
        device = replace(made_up.device, stopwatch=lambda work: next(seconds))
        setting = StepTimeSetting(batch_size=2, num_pairs=3, visits=1, budget_s=0)
        measured = measure_step_time(SMALL, setting=setting, mode=PLAIN, num_classes=2, device=device)
        assert (measured.reference_s, measured.ratio, measured.median_s) == (2.0, 2.5, 5.0)
        assert measured.reference == canary.CANARY

    def test_or_those_that_are_known_from_earlier(self) -> None:
        measured = MadeUpVisits([2.0], num_pairs=3).measure(visits=1, budget_s=0, reference_s=0.25)
        assert measured.reference_s == 0.25
        assert measured.median_s == pytest.approx(0.5, rel=0.002)

    def test_a_known_reference_without_a_time_is_refused(self) -> None:
        with pytest.raises(ValueError, match="reference_s must be finite and positive, got 0"):
            MadeUpVisits([2.0], num_pairs=3).measure(visits=1, budget_s=0, reference_s=0.0)

    def test_another_network_can_be_the_reference(self) -> None:
        assert MadeUpVisits([2.0], num_pairs=3).measure(visits=1, budget_s=0, reference=LARGE).reference == str(LARGE)


def test_a_real_network_is_timed_with_its_circumstances() -> None:
    setting = StepTimeSetting(batch_size=4, num_pairs=3, visits=1, budget_s=0, threads=1)
    torch.set_num_threads(2)
    measured = measure_step_time(LARGE, reference=SMALL, setting=setting, mode=PLAIN, num_classes=10)
    assert measured.resolution == 64
    assert measured.batch_size == 4
    assert measured.mode == str(PLAIN)
    assert "torch " + torch.__version__ in measured.device
    assert "1 thread" in measured.device
    assert measured.ratio > 1, "sixty times the multiply-adds"
    assert torch.get_num_threads() == 2


def test_resolution_and_number_format_are_the_settings() -> None:
    setting = StepTimeSetting(batch_size=2, num_pairs=3, visits=1, budget_s=0, resolution=96, dtype="float32")
    measured = measure_step_time(SMALL, setting=setting, num_classes=2)
    assert measured.resolution == 96
    assert measured.mode.startswith("float32")


def test_inference_is_cheaper_than_training() -> None:
    setting = StepTimeSetting(batch_size=8, num_pairs=3, visits=1, budget_s=0)
    training, inference = (
        measure_step_time(LARGE, setting=setting, mode=PLAIN, num_classes=2, phase=phase)  # type: ignore[arg-type]
        for phase in ("training", "inference")
    )
    assert min(training.visits[0].samples_s) > min(inference.visits[0].samples_s)


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


def test_batches_are_released_before_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the canary's networks, too."""
    batches: list[weakref.ref[Tensor]] = []
    released: list[bool] = []
    make_batch = timed_step.noise_batch

    def remembered_batch(*settings: Any) -> tuple[Tensor, Tensor]:
        images, labels = make_batch(*settings)
        batches.append(weakref.ref(images))
        return images, labels

    def out_of_memory(*steps: object, **settings: object) -> None:
        assert all(batch() is not None for batch in batches)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(timed_step, "noise_batch", remembered_batch)
    monkeypatch.setattr(proxies.step_time_measurement, "time_visit", out_of_memory)
    device = replace(
        find_device("cpu"),
        release_memory=lambda: released.append(all(batch() is None for batch in batches)),
        canary_batch_size=2,
    )
    setting = StepTimeSetting(batch_size=2, num_pairs=3)
    with pytest.raises(InfeasibleError, match="out of memory"):
        measure_step_time(SMALL, setting=setting, mode=PLAIN, num_classes=2, device=device)
    assert len(batches) == 3
    assert released == [True]


@pytest.mark.gpu
def test_a_cuda_step_is_drained_before_the_clock_is_read() -> None:
    device = find_device("cuda")
    setting = StepTimeSetting(batch_size=64, num_pairs=15, device="cuda", visits=2, budget_s=20)
    measured = measure_step_time(LARGE, reference=SMALL, setting=setting, device=device)
    assert measured.ratio > 1
    assert device.name in measured.device
    assert measured.visits[0].load is not None
