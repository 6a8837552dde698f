"""Steps of ours in alternation with those of a peer, and with those of a second copy of ours, on one device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.progress import Progress

from proxies.device import Device
from proxies.device_identity import DeviceIdentity
from proxies.execution import PLAIN, ExecutionMode
from proxies.step_time import Step, StepTime, StepTimeSetting, Visit, time_visit
from proxies.step_time_measurement import held_alone, median_reference_s
from proxies.timed_step import timed_step_of
from proxies.workload import Phase, Workload

from .networks import Maker, SameNetwork
from .rows import (
    INFERENCE,
    MEMORY,
    TRAINING,
    Quantity,
    Ratio,
    Row,
    memory_ratio,
    memory_verdict,
    speed_ratio,
    speed_verdict,
)

# The first step creates the optimizer's state and finds the kernels; later ones are alike.
_NUM_WARMUP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how everything is timed."""

    device: Device
    setting: StepTimeSetting
    mode: ExecutionMode = PLAIN
    """Of ours and of the peers alike."""

    def resolution_of(self, network: SameNetwork) -> int:
        return self.setting.resolution or network.architecture.resolution

    @property
    def identity(self) -> DeviceIdentity:
        """With the threads that are timed, whatever this process uses besides."""
        found = self.device.identity()
        return replace(found, threads=self.setting.threads or found.threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A network of one library in an execution mode."""

    maker: Maker
    mode: ExecutionMode

    def make_step(self, phase: Phase, resolution: int, bench: Bench) -> Step:
        """Built anew, so that no two visits find it in the same place of memory."""
        workload = Workload(batch_size=bench.setting.batch_size, mode=self.mode, phase=phase)
        with bench.device.seeded(0):
            network = self.maker.make()
        return timed_step_of(network, workload, resolution, bench.device)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Ours and what it is compared with; itself, in the same mode, to see the noise."""

    ours: Contender
    other: Contender

    @property
    def is_null(self) -> bool:
        return self.ours == self.other

    @property
    def is_of_ours(self) -> bool:
        """In another mode, or in the same."""
        return self.ours.maker == self.other.maker


def pairs_of(network: SameNetwork, mode: ExecutionMode, fast: ExecutionMode) -> list[Pair]:
    """The null pair first, then the peers in the same mode, then ours in its own mode beside ours."""
    ours = Contender(maker=network.ours, mode=mode)
    peers = [Pair(ours=ours, other=Contender(maker=peer, mode=mode)) for peer in network.peers]
    gain = [] if fast == mode else [Pair(ours=replace(ours, mode=fast), other=ours)]
    return [Pair(ours=ours, other=ours), *peers, *gain]


def compare(network: SameNetwork, bench: Bench, fast: ExecutionMode, progress: Progress | None = None) -> list[Row]:
    """All rows of one network: training, inference and memory, each against everybody.

    Args:
        network: The same network from everybody.
        bench: Where and how.
        fast: Our own mode; what it adds to the bench's is compared too.
        progress: Shows what is done.

    Raises:
        InfeasibleError: If memory does not suffice.
    """
    pairs = pairs_of(network, bench.mode, fast)
    training = [speed_ratio(each) for each in _time_in_turn(network, pairs, "training", bench, progress)]
    inference = [speed_ratio(each) for each in _time_in_turn(network, pairs, "inference", bench, progress)]
    memory = [_measure_memory(network, pair, bench) for pair in pairs]
    return [
        *_rows(network, bench, TRAINING, pairs, training),
        *_rows(network, bench, INFERENCE, pairs, inference),
        *_rows(network, bench, MEMORY, pairs, memory),
    ]


def _rows(
    network: SameNetwork, bench: Bench, quantity: Quantity, pairs: Sequence[Pair], ratios: Sequence[Ratio]
) -> list[Row]:
    null = ratios[0].interval
    judge = memory_verdict if quantity == MEMORY else speed_verdict
    return [
        Row(
            network=network.name,
            resolution=bench.resolution_of(network),
            batch_size=bench.setting.batch_size,
            device=str(bench.identity),
            quantity=quantity,
            mode=str(pair.ours.mode),
            other=pair.other.maker.name,
            other_mode=str(pair.other.mode),
            ours=found.ours,
            theirs=found.other,
            ratio=found.ratio,
            low=found.interval[0],
            high=found.interval[1],
            null_low=null[0],
            null_high=null[1],
            verdict="A/A" if pair.is_null else "our mode" if pair.is_of_ours else judge(found, null),
        )
        for pair, found in zip(pairs, ratios, strict=True)
    ]


def _time_in_turn(
    network: SameNetwork, pairs: Sequence[Pair], phase: Phase, bench: Bench, progress: Progress | None
) -> list[StepTime]:
    """One visit to each pair, then the next one to each, every second time backwards."""
    resolution = bench.resolution_of(network)
    visits: list[list[Visit]] = [[] for _ in pairs]
    task = progress.add_task(f"{network.name}, {phase}", total=len(pairs) * bench.setting.visits) if progress else None
    for number in range(bench.setting.visits):
        for place in range(len(pairs))[:: 1 if number % 2 == 0 else -1]:
            with held_alone(bench.device, bench.setting.threads):
                visits[place].append(_visit(pairs[place], phase, resolution, bench))
            if progress and task is not None:
                progress.advance(task)
    return [_step_time(pair, tuple(seen), resolution, bench) for pair, seen in zip(pairs, visits, strict=True)]


def _visit(pair: Pair, phase: Phase, resolution: int, bench: Bench) -> Visit:
    """This frame alone holds the networks, so that they go with it."""
    return time_visit(
        pair.other.make_step(phase, resolution, bench),
        pair.ours.make_step(phase, resolution, bench),
        num_pairs=bench.setting.num_pairs,
        num_warmup=_NUM_WARMUP,
        stopwatch=bench.device.stopwatch,
        read_meters=bench.device.read_meters,
        threads=torch.get_num_threads(),
    )


def _step_time(pair: Pair, visits: tuple[Visit, ...], resolution: int, bench: Bench) -> StepTime:
    return StepTime(
        visits=visits,
        reference=pair.other.maker.name,
        reference_s=median_reference_s(visits),
        batch_size=bench.setting.batch_size,
        resolution=resolution,
        mode=str(pair.ours.mode),
        device=str(bench.identity),
    )


def _measure_memory(network: SameNetwork, pair: Pair, bench: Bench) -> Ratio:
    """Peaks of a settled training step, network and optimizer included; of two copies of ours, once for each visit."""
    resolution = bench.resolution_of(network)
    times = bench.setting.visits if pair.is_null else 1
    return memory_ratio(
        [
            (_measure_peak(pair.ours, resolution, bench), _measure_peak(pair.other, resolution, bench))
            for _ in range(times)
        ]
    )


def _measure_peak(contender: Contender, resolution: int, bench: Bench) -> int:
    def prepare() -> Step:
        step = contender.make_step("training", resolution, bench)
        for _ in range(_NUM_WARMUP):
            step()
        return step

    with held_alone(bench.device, bench.setting.threads):
        return bench.device.measure_peak(prepare)
