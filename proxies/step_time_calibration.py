"""Calibrate a step-time table: each block of a space alone, warm, and a few whole networks.

A round times every block once, in a new order, each after an untimed step that brings its data near; between handfuls
of blocks runs the canary, so that the machine's moods cancel here too. Whole networks then tell how much more a block
costs in their midst than alone.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.blocks import HEAD, STEM, PlacedBlock
from search_spaces.network import build_block
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import space_blocks

from .canary import CANARY, make_canary
from .device import Device
from .device_load import load_between
from .execution import ExecutionMode
from .step_time import NUM_WARMUP, Step, StepTime, StepTimeSetting
from .step_time_measurement import Timing, held_alone
from .step_time_table import BUDGET_S, BlockTime, NetworkTime, StepTimeTable
from .training.config import TrainConfig
from .training.optimizer import make_optimizer
from .workload import Workload

SHARE_OF_ROUNDS = 0.75
"""Part of the budget that goes to blocks; the rest goes to whole networks."""
MIN_ROUNDS = 3
MIN_NETWORKS = 3
MAX_NETWORKS = 12
NETWORK_PAIRS = 14
HANDFUL_S = 0.04
"""Seconds of blocks between two steps of the canary: the machine's moods change within tenths of a second."""
# Handfuls of a round that are timed again because something else used the device meanwhile.
_PATIENCE = 20

Progress = Callable[[float, str], None]


def calibrate(
    space: SearchSpace,
    *,
    workload: Workload,
    device: Device,
    threads: int | None = None,
    budget_s: float = BUDGET_S,
    canary_s: float | None = None,
    handful_s: float = HANDFUL_S,
    max_networks: int = MAX_NETWORKS,
    seed: int = 0,
    on_progress: Progress = lambda fraction, doing: None,
    clock: Callable[[], float] = time.monotonic,
) -> StepTimeTable:
    """Measure a space's blocks and some of its networks, holding the device alone all the time.

    Args:
        space: Whose members shall be predicted.
        workload: Which step of them.
        device: Where.
        threads: CPU threads of a step; None leaves them as they are.
        budget_s: Seconds after which no round and no network begins; a few of either are measured in any case.
        canary_s: Seconds that a step of the canary stands for, where they are known; by default its median here.
        handful_s: Seconds of blocks between two steps of the canary; 0: a canary beside every block.
        max_networks: Whole networks to time; without any, a network is the sum of its blocks.
        seed: Of the order of the blocks and of the choice of networks.
        on_progress: Called with the fraction done and what is being done.
        clock: Monotonic seconds of the budget.

    Raises:
        InfeasibleError: If memory does not suffice for a block or a network.
        ValueError: If the workload splits its batches.
    """
    if workload.micro_batches != 1:
        raise ValueError(f"blocks are timed with whole batches, got micro_batches {workload.micro_batches}")
    start, rng = clock(), random.Random(seed)

    def spent() -> float:
        """Share of the budget."""
        return (clock() - start) / budget_s if budget_s else 1.0

    def report(doing: str) -> None:
        on_progress(min(1.0, spent()), doing)

    with held_alone(device, threads):
        rounds = _Rounds(
            space_blocks(space, workload.resolution, in_channels=workload.in_channels), workload, device, handful_s
        )
        _measure_blocks(rounds, rng, spent, report)
        networks = _measure_networks(space, workload, device, rng, spent, report, max_networks)
        identity = device.identity()
    return StepTimeTable(
        space=space.name,
        workload=workload,
        device=identity,
        canary=CANARY,
        canary_s=canary_s or statistics.median(rounds.canary_samples_s),
        blocks=tuple(rounds.results()),
        networks=tuple(
            NetworkTime(architecture=text, ratio=measured.ratio, relative_error=measured.relative_standard_error)
            for text, measured in networks.items()
        ),
        seconds=clock() - start,
        disturbed_share=rounds.disturbed_share,
    )


def _measure_blocks(
    rounds: "_Rounds", rng: random.Random, spent: Callable[[], float], report: Callable[[str], None]
) -> None:
    report(f"warming up {len(rounds.blocks)} blocks")
    try:
        rounds.build()
        while rounds.count < MIN_ROUNDS or spent() < SHARE_OF_ROUNDS:
            report(f"{len(rounds.blocks)} blocks, round {rounds.count + 1}")
            rounds.measure(rng)
    finally:
        # Where memory does not suffice, nothing here may outlive the verdict.
        rounds.drop_steps()


def _measure_networks(
    space: SearchSpace,
    workload: Workload,
    device: Device,
    rng: random.Random,
    spent: Callable[[], float],
    report: Callable[[str], None],
    most: int,
) -> dict[str, StepTime]:
    """The backbone and random members, by their texts; what something disturbed would mislead all predictions."""
    timing = Timing(device=device, workload=workload, setting=StepTimeSetting(num_pairs=NETWORK_PAIRS))
    measured: dict[str, StepTime] = {}
    candidates = [space.backbone, *(space.sample(rng) for _ in range(most - 1))][:most]
    for number, network in enumerate(candidates, start=1):
        if number <= MIN_NETWORKS or spent() < 1:
            report(f"whole network {number}")
            visit = timing.visit(network)
            if visit.verdict != "contaminated":
                measured[str(network)] = visit
    return measured


@dataclass(slots=True)
class _Rounds:
    """The blocks' steps, and the ratios to the canary that were measured."""

    blocks: list[PlacedBlock]
    workload: Workload
    device: Device
    handful_s: float
    count: int = 0
    canary_samples_s: list[float] = field(default_factory=list)
    """Means of the canary's steps on either side of a handful."""
    num_disturbed: int = 0
    """Times that were kept although something else used the device."""
    _canary: Step = lambda: None
    _steps: list[Step] = field(default_factory=list)
    _ratios: list[list[float]] = field(default_factory=list)

    def build(self) -> None:
        """Build every block and run it once: first steps choose algorithms."""
        batches = _Batches(self.workload, self.device)
        self._canary = make_canary(self.workload, self.device)
        for _ in range(2 * NUM_WARMUP):
            self._canary()
        for block in self.blocks:
            step = make_block_step(block, self.workload, self.device, batches)
            step()
            self._steps.append(step)
            self._ratios.append([])

    def measure(self, rng: random.Random) -> None:
        """Time every block once, in handfuls between two steps of the canary."""
        order = rng.sample(range(len(self.blocks)), len(self.blocks))
        patience = _PATIENCE
        start = self.device.read_meters()
        before = self.device.stopwatch(self._canary)
        while order:
            handful = self._time_handful(order)
            next_start = self.device.read_meters()
            after = self.device.stopwatch(self._canary)
            # A disturbed canary falsifies the handfuls on both its sides.
            disturbed = load_between(start, self.device.read_meters(), threads=torch.get_num_threads()).disturbance
            if disturbed and patience:
                patience -= 1
                order += handful
            else:
                self.canary_samples_s.append((before + after) / 2)
                self.num_disturbed += len(handful) if disturbed else 0
                for number, seconds in handful.items():
                    self._ratios[number].append(2 * seconds / (before + after))
            before, start = after, next_start
        self.count += 1

    def _time_handful(self, order: list[int]) -> dict[int, float]:
        """Take blocks from the end of the order, and time each when it is warm."""
        seconds: dict[int, float] = {}
        while order and (not seconds or sum(seconds.values()) < self.handful_s):
            number = order.pop()
            self._steps[number]()
            seconds[number] = self.device.stopwatch(self._steps[number])
        return seconds

    def results(self) -> Iterator[BlockTime]:
        for block, ratios in zip(self.blocks, self._ratios, strict=True):
            # 1.2533: the standard error of a median is that much larger than that of a mean.
            error = 1.2533 * statistics.stdev(map(math.log, ratios)) / math.sqrt(len(ratios))
            yield BlockTime(block=block, ratio=statistics.median(ratios), relative_error=error)

    @property
    def disturbed_share(self) -> float:
        return self.num_disturbed / sum(map(len, self._ratios))

    def drop_steps(self) -> None:
        """Let go of networks and batches."""
        self._steps, self._canary = [], lambda: None


def make_block_step(block: PlacedBlock, workload: Workload, device: Device, batches: "_Batches") -> Step:
    """One step of a block alone: forward, backward through weights and input, and its part of the optimizer's work."""
    mode = workload.mode
    with device.seeded(0):
        module = mode.place(build_block(block, workload.num_classes), device.torch_device)
    # Under autocast, blocks hand each other maps in its number format; only the stem reads float32.
    dtype = getattr(torch, mode.dtype)
    images = batches.of(block.in_channels, block.in_size, torch.float32 if block.kind == STEM else dtype)
    if workload.phase == "inference":
        return _inference(module.eval(), images, mode, device)
    images = images.detach().requires_grad_(block.kind != STEM)
    optimizer = make_optimizer(module.train(), TrainConfig(optimizer=workload.optimizer))
    gradient = None if block.kind == HEAD else batches.of(block.out_channels, block.out_size, dtype)

    def backward(output: Tensor) -> None:
        if gradient is None:
            functional.cross_entropy(output, batches.labels).backward()
        else:
            output.backward(gradient.to(output.dtype))

    def step() -> None:
        with mode.autocast(device.torch_device):
            output = module(images)
        backward(output)
        images.grad = None
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _inference(module: nn.Module, images: Tensor, mode: ExecutionMode, device: Device) -> Step:
    def step() -> None:
        with torch.inference_mode(), mode.autocast(device.torch_device):
            module(images)

    return step


class _Batches:
    """Noise of every shape that blocks take or give; blocks of one shape share it, so that memory suffices."""

    def __init__(self, workload: Workload, device: Device) -> None:
        self._workload, self._device = workload, device
        self._known: dict[tuple[int, int, torch.dtype], Tensor] = {}
        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(workload.num_classes, (workload.batch_size,), generator=generator)
        self.labels = labels.to(device.torch_device)

    def of(self, channels: int, size: int, dtype: torch.dtype) -> Tensor:
        """Noise of shape (batch size, channels, size, size), laid out as the mode wants it."""
        key = channels, size, dtype
        if key not in self._known:
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(self._workload.batch_size, channels, size, size, generator=generator)
            noise = noise.to(self._device.torch_device, dtype)
            self._known[key] = noise.contiguous(memory_format=self._workload.mode.memory_format)
        return self._known[key]
