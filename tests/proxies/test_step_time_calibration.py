"""Calibration on a made-up machine whose blocks have known costs, and of a tiny space on this one."""

import itertools
import math
import random
import statistics
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import proxies.step_time_measurement
from proxies import step_time_calibration
from proxies.canary import CANARY
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.device_load import Reading
from proxies.execution import ExecutionMode, parse_mode
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTimeSetting
from proxies.step_time_calibration import MAX_NETWORKS, MIN_NETWORKS, MIN_ROUNDS, NETWORK_PAIRS, calibrate
from proxies.step_time_measurement import measure_step_time
from proxies.step_time_table import EXPECTED_RESIDUAL, StepTimeTable, dump_table, load_table
from proxies.workload import Workload
from search_spaces.architecture import Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import space_blocks, unplaced
from search_spaces.space_file import space_from_mapping
from search_spaces.strict_yaml import parse_yaml

TINY = """
name: tiny
resolution: 32
stem_channels: 16
head_channels: 64
stages:
  - {out_channels: 16, stride: 1, num_repeats: 1, block: er, kernel_size: 3, expand_ratio: [1, 4]}
  - {out_channels: 24, stride: 2, num_repeats: [1, 2], block: [er, ir], kernel_size: [3, 5], expand_ratio: 4}
"""


@pytest.fixture
def space() -> SearchSpace:
    return space_from_mapping(parse_yaml(TINY))


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


def cost_of(block: PlacedBlock) -> float:
    """Seconds of a block on the made-up machine, from 5 to 25 ms; its stage does not matter."""
    return random.Random(str(unplaced(block))).uniform(0.005, 0.025)


def cost_of_network(architecture: Architecture) -> float:
    """Blocks cost a fifth more in a network than alone."""
    return 1.2 * sum(map(cost_of, placed_blocks(architecture)))


@dataclass
class Work:
    """A step that takes so many seconds, of one of the canary's networks where it has no name."""

    seconds: float
    name: Any = None


@dataclass
class Machine:
    """A machine whose clock advances by what is timed, slowly or quickly by its mood, and whose meters see neighbours.

    The canary's networks take 0.03 and 0.05 s in turn.
    """

    mood: Callable[[float], float] = lambda now: 1.0
    is_disturbed: Callable[[float, Any], bool] = lambda now, name: False
    now: float = 0.0
    waiting: float = 0.0
    timed: list[Any] = field(default_factory=list)
    warmed: list[Any] = field(default_factory=list)

    def stopwatch(self, step: Callable[[], object]) -> float:
        work = step()
        assert isinstance(work, Work)
        disturbed = self.is_disturbed(self.now, work.name)
        seconds = work.seconds * self.mood(self.now) * (3 if disturbed else 1)
        self.now += seconds
        self.waiting += 0.5 * seconds * disturbed
        self.timed.append(work.name)
        return seconds

    def read_meters(self) -> Reading:
        self.now += 1e-6
        return Reading(
            wall_s=self.now, cpu_s=self.now, waiting_s=self.waiting, machine_busy_s=self.now, cores=2
        )  # fmt: skip

    def make_canary(self, workload: Workload, device: Device) -> Callable[[], Work]:
        turn = [0]

        def step() -> Work:
            turn[0] += 1
            return Work(0.03 if turn[0] % 2 else 0.05, "F" if turn[0] % 2 else "M")

        return step

    def make_block_step(self, block: PlacedBlock, *rest: object) -> Callable[[], Work]:
        return lambda: Work(cost_of(block), block)

    def make_timed_step(self, architecture: Architecture, *rest: object) -> Callable[[], Work]:
        return lambda: Work(cost_of_network(architecture), str(architecture))

    @property
    def device(self) -> Device:
        return replace(find_device("cpu"), stopwatch=self.stopwatch, read_meters=self.read_meters)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, space: SearchSpace) -> Callable[..., StepTimeTable]:
    def calibrated(machine: Machine, **settings: Any) -> StepTimeTable:
        monkeypatch.setattr(step_time_calibration, "make_canary", machine.make_canary)
        monkeypatch.setattr(proxies.step_time_measurement, "make_canary", machine.make_canary)
        monkeypatch.setattr(step_time_calibration, "make_block_step", machine.make_block_step)
        monkeypatch.setattr(proxies.step_time_measurement, "make_timed_step", machine.make_timed_step)
        settings = {"budget_s": 0.0} | settings
        return calibrate(space, workload=Workload(), device=machine.device, clock=lambda: machine.now, **settings)

    return calibrated


Run = Callable[..., StepTimeTable]


def require_true_ratios(table: StepTimeTable, rel: float) -> None:
    """One canary step is 0.04 s in the mean."""
    for entry in table.blocks:
        assert entry.ratio == pytest.approx(cost_of(entry.block) / 0.04, rel=rel)


class TestOnAMadeUpMachine:
    def test_every_block_of_the_space_gets_its_ratio_to_the_canary(self, run: Run, space: SearchSpace) -> None:
        table = run(Machine())
        assert [entry.block for entry in table.blocks] == space_blocks(space)
        require_true_ratios(table, 1e-9)
        assert max(entry.relative_error for entry in table.blocks) < 1e-9
        assert (table.canary, table.space, table.disturbed_share) == (CANARY, "tiny", 0.0)
        assert table.canary_s == pytest.approx(0.04)

    def test_networks_give_the_scale(self, run: Run) -> None:
        table = run(Machine())
        assert table.scale == pytest.approx(1.2)
        # Nothing but what is expected before networks are seen.
        assert 0 < table.residual < EXPECTED_RESIDUAL

    def test_members_are_predicted(self, run: Run, space: SearchSpace) -> None:
        table = run(Machine())
        for seed in range(20):
            member = space.sample(random.Random(seed))
            assert table.predict(member).median_s == pytest.approx(cost_of_network(member))

    def test_a_drift_of_the_machine_cancels(self, run: Run) -> None:
        """It becomes twice as slow and half as slow again, every 8 seconds: by a tenth from one canary to the next."""
        machine = Machine(mood=lambda now: 2 ** math.sin(2 * math.pi * now / 8))
        table = run(machine, budget_s=40.0)
        require_true_ratios(table, 0.02)
        assert table.scale == pytest.approx(1.2, rel=0.02)

    def test_the_error_of_a_block_is_that_of_its_median(self, run: Run) -> None:
        """Noise of 5 % on everything: errors claimed are of the size of those made."""
        seed = 5
        print(f"{seed=}")
        rng = random.Random(seed)
        table = run(Machine(mood=lambda now: math.exp(rng.gauss(0, 0.05))), budget_s=60.0)
        made = [math.log(entry.ratio / cost_of(entry.block) * 0.04) for entry in table.blocks]
        claimed = math.sqrt(statistics.fmean(entry.relative_error**2 for entry in table.blocks))
        rms = math.sqrt(statistics.fmean(error**2 for error in made))
        assert 0.4 < rms / claimed < 1.8
        assert claimed < 0.05

    def test_disturbed_handfuls_are_timed_again(self, run: Run) -> None:
        """Twice a second something takes the core for 60 ms, which is longer than a step."""
        machine = Machine(is_disturbed=lambda now, name: now % 0.5 < 0.06)
        table = run(machine)
        blocks = [name for name in machine.timed if isinstance(name, PlacedBlock)]
        assert len(blocks) > MIN_ROUNDS * len(table.blocks)
        assert table.disturbed_share == 0
        require_true_ratios(table, 1e-9)

    def test_a_handful_beside_a_disturbed_canary_is_timed_again(self, run: Run) -> None:
        """Nothing disturbs the blocks; each ninth step of the canary is slowed down threefold."""
        count = itertools.count()
        machine = Machine(is_disturbed=lambda now, name: name in ("F", "M") and next(count) % 9 == 8)
        table = run(machine)
        require_true_ratios(table, 1e-9)
        assert max(entry.relative_error for entry in table.blocks) < 1e-9, "not even one sample in three is off"

    def test_disturbed_all_the_time_it_goes_on_and_says_so(self, run: Run) -> None:
        machine = Machine(is_disturbed=lambda now, name: True)
        table = run(machine)
        assert table.disturbed_share == 1
        require_true_ratios(table, 1e-9)

    def test_blocks_are_warm_and_handfuls_lie_between_one_canary_of_either_kind(self, run: Run) -> None:
        machine = Machine()
        run(machine)
        canaries = [name for name in machine.timed if name in ("F", "M")]
        assert canaries[:30:2] == [canaries[0]] * 15
        assert canaries[1:30:2] == [canaries[1]] * 15
        assert canaries[0] != canaries[1]

    def test_each_round_has_every_block_once_and_its_own_order(self, run: Run) -> None:
        machine = Machine()
        table = run(machine)
        blocks = [name for name in machine.timed if isinstance(name, PlacedBlock)]
        size = len(table.blocks)
        rounds = [blocks[first : first + size] for first in range(0, len(blocks), size)]
        assert len(rounds) == MIN_ROUNDS
        assert all(sorted(each) == sorted(entry.block for entry in table.blocks) for each in rounds)
        assert len({tuple(each) for each in rounds}) == MIN_ROUNDS

    def test_the_seed_decides_the_order_and_the_networks(self, run: Run) -> None:
        logs = []
        for seed in (1, 1, 2):
            machine = Machine()
            run(machine, seed=seed)
            logs.append(machine.timed)
        assert logs[0] == logs[1] != logs[2]

    def test_without_a_budget_a_few_rounds_and_networks_are_measured(self, run: Run, space: SearchSpace) -> None:
        machine = Machine()
        table = run(machine)
        texts = [name for name in machine.timed if isinstance(name, str) and name.startswith("stem")]
        assert len(texts) == MIN_NETWORKS * NETWORK_PAIRS
        assert texts[0] == str(space.backbone)
        assert table.seconds == pytest.approx(machine.now, rel=1e-3)

    def test_a_budget_is_spent_on_blocks_first_and_then_on_networks(self, run: Run) -> None:
        machine = Machine()
        networks_from: list[float] = []

        def seen(fraction: float, doing: str) -> None:
            if "network" in doing:
                networks_from.append(fraction)

        table = run(machine, budget_s=60.0, on_progress=seen)
        blocks = [name for name in machine.timed if isinstance(name, PlacedBlock)]
        assert len(blocks) > 5 * MIN_ROUNDS * len(table.blocks)
        assert 0.75 <= networks_from[0] < 0.85
        assert 1 < len(table.networks) <= MAX_NETWORKS
        assert machine.now < 1.2 * 60

    def test_progress_rises_to_the_end_of_the_budget(self, run: Run) -> None:
        seen: list[tuple[float, str]] = []
        run(Machine(), budget_s=20.0, on_progress=lambda fraction, doing: seen.append((fraction, doing)))
        fractions = [fraction for fraction, _ in seen]
        assert fractions == sorted(fractions)
        assert fractions[0] < 0.1
        assert 0.75 <= fractions[-1] <= 1
        assert "warming up" in seen[0][1]

    def test_seconds_of_the_canary_that_are_known_are_taken(self, run: Run) -> None:
        assert run(Machine(), canary_s=0.5).canary_s == 0.5

    def test_the_device_is_held_alone_all_the_time(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        entered: list[str] = []

        class Lease(DeviceLease):
            def __init__(self, device: str) -> None:
                entered.append(device)
                super().__init__(device, tmp_path)

        monkeypatch.setattr(proxies.step_time_measurement, "DeviceLease", Lease)
        run(Machine())
        assert entered == ["cpu"]


def test_what_was_built_is_released_before_the_verdict(monkeypatch: pytest.MonkeyPatch, space: SearchSpace) -> None:
    alive: list[weakref.ref[nn.Module]] = []
    released: list[bool] = []
    build_block = step_time_calibration.build_block

    def build_until_memory_ends(block: PlacedBlock, num_classes: int) -> nn.Module:
        if len(alive) == 4:
            assert all(module() is not None for module in alive)
            raise torch.OutOfMemoryError("CUDA out of memory")
        module = build_block(block, num_classes)
        alive.append(weakref.ref(module))
        return module

    monkeypatch.setattr(step_time_calibration, "build_block", build_until_memory_ends)
    device = replace(
        find_device("cpu"),
        release_memory=lambda: released.append(all(module() is None for module in alive)),
        canary_batch_size=2,
    )
    with pytest.raises(InfeasibleError, match="out of memory"):
        calibrate(space, workload=Workload(batch_size=2), device=device, budget_s=0)
    assert released == [True]


class TestBlockSteps:
    @pytest.fixture
    def modules(self, monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
        """Those that are built."""
        modules: list[nn.Module] = []
        build_block = step_time_calibration.build_block

        def build(block: PlacedBlock, num_classes: int) -> nn.Module:
            modules.append(build_block(block, num_classes))
            return modules[-1]

        monkeypatch.setattr(step_time_calibration, "build_block", build)
        return modules

    @staticmethod
    def step_of(block: PlacedBlock, workload: Workload) -> Callable[[], object]:
        device = find_device("cpu")
        batches = step_time_calibration._Batches(workload, device)
        return step_time_calibration.make_block_step(block, workload, device, batches)

    @pytest.mark.parametrize(
        "mode", ["float32-contiguous", "bfloat16-channels_last", "float32-channels_last-small_maps"]
    )
    def test_every_weight_is_trained(self, modules: list[nn.Module], space: SearchSpace, mode: str) -> None:
        for block in space_blocks(space):
            step = self.step_of(block, Workload(batch_size=2, num_classes=5, mode=parse_mode(mode)))
            before = {name: weight.clone() for name, weight in modules[-1].named_parameters()}
            for _ in range(3):
                step()
            for name, weight in modules[-1].named_parameters():
                assert not torch.equal(weight, before[name]), (block, name)
                assert weight.grad is None
                assert weight.isfinite().all()

    def test_the_gradient_reaches_the_input_of_all_but_the_stem(
        self, modules: list[nn.Module], space: SearchSpace
    ) -> None:
        for block in space_blocks(space):
            step = self.step_of(block, Workload(batch_size=2, num_classes=5))
            inputs: list[bool] = []

            def note(module: nn.Module, images: tuple[Tensor], inputs: list[bool] = inputs) -> None:
                inputs.append(images[0].requires_grad)

            modules[-1].register_forward_pre_hook(note)
            step()
            assert inputs == [block.kind != STEM]

    @pytest.mark.parametrize("phase", ["training", "inference"])
    def test_maps_come_in_the_format_in_which_they_come_inside_a_network(
        self, modules: list[nn.Module], space: SearchSpace, phase: Any
    ) -> None:
        """Autocast leaves the stem float32 images; what a block gives is the next one's input."""
        mode = ExecutionMode(dtype="bfloat16", channels_last=True)
        for block in space_blocks(space):
            step = self.step_of(block, Workload(batch_size=2, num_classes=5, mode=mode, phase=phase))
            seen: list[Tensor] = []
            modules[-1].register_forward_hook(lambda module, given, made, seen=seen: seen.extend([*given, made]))
            step()
            images, made = seen
            assert images.dtype == (torch.float32 if block.kind == STEM else torch.bfloat16)
            assert made.dtype == torch.bfloat16
            assert images.is_contiguous(memory_format=torch.channels_last)

    def test_inference_changes_nothing(self, modules: list[nn.Module], space: SearchSpace) -> None:
        for block in space_blocks(space):
            step = self.step_of(block, Workload(batch_size=2, num_classes=5, phase="inference"))
            before = {name: tensor.clone() for name, tensor in modules[-1].state_dict().items()}
            step()
            assert all(torch.equal(tensor, before[name]) for name, tensor in modules[-1].state_dict().items())

    def test_the_head_has_the_users_classes(self, modules: list[nn.Module], space: SearchSpace) -> None:
        head = next(block for block in space_blocks(space) if block.kind == HEAD)
        self.step_of(head, Workload(batch_size=2, num_classes=5))()
        assert [module.out_features for module in modules[-1].modules() if isinstance(module, nn.Linear)] == [5]


def small_canary() -> Device:
    return replace(find_device("cpu"), canary_batch_size=8)


@pytest.mark.alone
def test_predictions_of_a_real_calibration_are_near_what_is_measured(space: SearchSpace) -> None:
    """Not how accurate it is: that a block's time, the canary and the scale mean what they should."""
    workload = Workload(batch_size=16, num_classes=10)
    device = small_canary()
    table = calibrate(space, workload=workload, device=device, budget_s=3.0)
    setting = StepTimeSetting(batch_size=16, num_pairs=7, visits=1, budget_s=0)
    first, last = (
        space.from_params({name: values[place] for name, values in space.choices.items()}) for place in (0, -1)
    )
    for member in (space.backbone, first, last):
        measured = measure_step_time(member, setting=setting, mode=workload.mode, num_classes=10, device=device)
        predicted = table.predict(member).median_s / table.canary_s
        print(member, predicted / measured.ratio)
        assert predicted == pytest.approx(measured.ratio, rel=0.4)
    assert load_table(dump_table(table), "table") == table


def test_batches_in_parts_are_refused(space: SearchSpace) -> None:
    with pytest.raises(ValueError, match="whole batches, got micro_batches 2"):
        calibrate(space, workload=Workload(micro_batches=2), device=find_device("cpu"), budget_s=0)


@pytest.mark.parametrize(
    "workload",
    [
        Workload(batch_size=4, num_classes=5, phase="inference"),
        Workload(batch_size=4, num_classes=5, mode=ExecutionMode(dtype="bfloat16", channels_last=True)),
        Workload(batch_size=4, num_classes=5, mode=ExecutionMode(small_maps=True), optimizer="sgd", resolution=24),
        Workload(batch_size=4, num_classes=5, in_channels=1, optimizer="rmsproptf"),
    ],
    ids=["inference", "bfloat16", "small maps", "grey"],
)
def test_every_kind_of_step_can_be_calibrated(space: SearchSpace, workload: Workload) -> None:
    table = calibrate(space, workload=workload, device=replace(find_device("cpu"), canary_batch_size=2), budget_s=0)
    assert table.covers(space)
    assert table.workload == workload
    assert all(math.isfinite(entry.relative_error) for entry in table.blocks)


@pytest.mark.gpu
def test_a_gpu_is_calibrated(space: SearchSpace) -> None:
    device = find_device("cuda")
    workload = Workload(batch_size=64, num_classes=10, mode=ExecutionMode(dtype="float16", channels_last=True))
    table = calibrate(space, workload=workload, device=device, budget_s=5.0)
    assert table.covers(space)
    assert table.device.name == device.name
