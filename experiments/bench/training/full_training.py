"""Our full training beside timm's: the same network, images, settings and execution mode.

Two settings. *all*: images cropped, mirrored, RandAugmented and mixed as each library does it, timm's one at a time
through Pillow, ours a batch at a time. *step*: the same finished batches from memory for both, so that what is left is
forward, loss, backward, optimizer and the average of the weights. A further loop is ours in the mode that our trainings
choose here.
"""

import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

from rich.progress import track
from rich.table import Table

from nas.cli.console import table_console
from proxies.data.batches import Batch, Batches, make_batches, normalisation_of
from proxies.data.images import PixelImages
from proxies.data.passes import TrainingPass
from proxies.data.split import Splits, stratified_share
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode
from proxies.fastest_mode import find_fastest_mode
from proxies.proxy_data import load_splits
from proxies.training.config import DataConfig, TrainConfig
from proxies.training.loop import Training
from proxies.training.progressive import ProgressiveStage, TrainingPlan
from proxies.training.schedule import learning_rate_of
from proxies.training_step import make_training_step
from search_spaces.architecture import Architecture, parse

from .networks import NETWORKS, RESOLUTION, network_for
from .timm_training import timm_batches, timm_steps
from .turns import Steps, Turns, interval_text, quotients, take_turns

NUM_ROUNDS = 8
TRAIN = TrainConfig(
    batch_size=64, optimizer="rmsproptf", lr=0.004, weight_decay=1e-5, ema_decay=0.9999, label_smoothing=0.1
)
"""EfficientNetV2's, the learning rate by the batch size."""
STAGE = ProgressiveStage(
    epochs=1_000_000, resolution=RESOLUTION, batch_size=TRAIN.batch_size, randaugment=10.0, mixup=0.2
)
"""An endless one; the last stage of V2-S, with mixup, so that it has its turn."""
STEPS_OF_AN_EPOCH = 4
"""Few: a whole epoch of ours is its unit of work here."""

Work = Literal["all", "step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FullComparison:
    """One network, in one setting."""

    width: str
    work: Work
    mode: str
    """Of both."""
    turns: Turns
    our_mode: str
    """The fastest that is correct here."""
    in_our_mode: tuple[float, ...]
    """Images per second of our loop in it; one entry per round."""

    @property
    def ratios_in_our_mode(self) -> tuple[float, ...]:
        """Ours in our mode ÷ timm's in the mode of both."""
        return quotients(self.in_our_mode, self.turns.peer)


def compare_full_training(*, mode: ExecutionMode, quick: bool) -> None:
    """Print one row per network and setting, and how many ratios lie below 1."""
    device = find_device("auto")
    splits = load_splits(DataConfig(source="fashion-mnist"))
    settings = [(width, work) for width in (["0.25"] if quick else NETWORKS) for work in get_args(Work)]
    comparisons = []
    with DeviceLease(device.lease_name).exclusive():
        for width, work in track(settings, description="full training", transient=True):
            comparisons.append(compare(splits, width, work, mode, device, rounds=4 if quick else NUM_ROUNDS))
    console = table_console()
    console.print(table(comparisons))
    below = sum(each.turns.is_below_one for each in comparisons)
    print(f"ours ÷ timm's below 1 beyond A/A: {below} of {len(comparisons)} · {device.identity()}")


def compare(
    splits: Splits, width: str, work: Work, mode: ExecutionMode, device: Device, *, rounds: int
) -> FullComparison:
    """Let two copies of both loops, and ours in our mode, take turns."""
    architecture = parse(NETWORKS[width])
    images = some_images(splits)
    our_mode = fastest_mode(splits, architecture, device)

    def ours(own: ExecutionMode) -> Steps:
        return our_training(splits, architecture, our_batches(splits, images, work, device), work, device, own)

    def timms() -> Steps:
        if work == "all":
            batches = timm_batches(splits, images, STAGE, TRAIN, device, workers=_reading_workers(device))
        else:
            batches = itertools.cycle(finished_batches(splits, images, device).batches)
        network = network_for(splits, architecture)
        return timm_steps(network, batches, config=TRAIN, mode=mode, device=device, mixed=work == "all")

    loops = [timms(), ours(mode), ours(our_mode), ours(mode), timms()]
    speeds = take_turns(loops, rounds=rounds, device=device, clock=_clock_for(device))
    peer, first, in_our_mode, again, peer_again = speeds
    return FullComparison(
        width=width,
        work=work,
        mode=str(mode),
        turns=Turns(ours=first, ours_again=again, peer=peer, peer_again=peer_again),
        our_mode=str(our_mode),
        in_our_mode=in_our_mode,
    )


def our_training(
    splits: Splits, architecture: Architecture, batches: Batches, work: Work, device: Device, mode: ExecutionMode
) -> Steps:
    """The loop of ``nas train``, an epoch of a few steps at a time."""
    stage = STAGE if work == "all" else replace(STAGE, randaugment=0.0, mixup=0.0)
    plan = TrainingPlan(stages=(stage,), num_images=len(batches))
    with device.seeded(0):
        training = Training(
            step=make_training_step(network_for(splits, architecture), config=TRAIN, mode=mode, device=device),
            plan=plan,
            learning_rate=learning_rate_of(TRAIN, plan.num_epochs),
            seed=0,
            num_classes=splits.num_classes,
        )
        for done in training.epochs(batches):
            yield done.num_trained


def our_batches(splits: Splits, images: PixelImages, work: Work, device: Device) -> Batches:
    """From memory: shifted, mirrored and augmented as the pass asks for, or finished ones."""
    return _memory_batches(splits, images, device) if work == "all" else finished_batches(splits, images, device)


@dataclass(frozen=True, slots=True, eq=False)
class FinishedBatches:
    """The same batches in every epoch, made before."""

    batches: tuple[Batch, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(labels) for _, labels in self.batches)

    def shuffled(self, training_pass: TrainingPass) -> Iterator[Batch]:
        return iter(self.batches)

    def in_order(self, *, batch_size: int, resolution: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        return iter(self.batches)

    def settle(self, largest: int) -> None:
        """Nothing is to be decided."""

    def held_bytes(self, resolution: int) -> int:
        return sum(images.nbytes for images, _ in self.batches)


def finished_batches(splits: Splits, images: PixelImages, device: Device) -> FinishedBatches:
    """An epoch's, shifted and mirrored, as both libraries' steps take them."""
    training_pass = TrainingPass(seed=0, batch_size=STAGE.batch_size, resolution=STAGE.resolution)
    return FinishedBatches(tuple(_memory_batches(splits, images, device).shuffled(training_pass)))


def some_images(splits: Splits) -> PixelImages:
    """As many training images as an epoch takes here."""
    share = STEPS_OF_AN_EPOCH * STAGE.batch_size / len(splits.train)
    images = stratified_share(splits.train, share, num_classes=splits.num_classes, seed=0)
    assert isinstance(images, PixelImages)
    return images


def fastest_mode(splits: Splits, architecture: Architecture, device: Device) -> ExecutionMode:
    """What our trainings would choose here, for a training too short to be compiled."""
    return find_fastest_mode(
        architecture,
        device=device,
        batch_size=STAGE.batch_size,
        resolution=STAGE.resolution,
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
        planned_steps=1000,
        config=TRAIN,
    ).mode


def table(comparisons: list[FullComparison]) -> Table:
    """One row per comparison."""
    title = f"Full training beside timm's, {STAGE.resolution} px, batch {STAGE.batch_size}, images per second"
    result = Table(title=title, box=None, padding=(0, 2, 0, 0))
    for name in ("work", "width", "timm", "ours", "ratio", "quartiles", "A/A", "verdict", "in our mode ÷ timm"):
        result.add_column(name, justify="left" if name in ("work", "verdict") else "right", no_wrap=True)
    for each in comparisons:
        turns = each.turns
        result.add_row(
            each.work,
            each.width,
            f"{statistics.median(turns.peer + turns.peer_again):.0f}",
            f"{statistics.median(turns.ours + turns.ours_again):.0f}",
            f"{statistics.median(turns.ratios):.2f}",
            interval_text(turns.ratios),
            interval_text(turns.null_ratios),
            "below 1" if turns.is_below_one else "not below 1",
            f"{statistics.median(each.ratios_in_our_mode):.2f}",
        )
    modes, ours = ({getattr(each, name) for each in comparisons} for name in ("mode", "our_mode"))
    result.caption = f"both in {', '.join(sorted(modes))}; our mode: {', '.join(sorted(ours))}"
    return result


def _memory_batches(splits: Splits, images: PixelImages, device: Device) -> Batches:
    return make_batches(
        images,
        normalisation=normalisation_of(splits.train),
        augment=True,
        mirror=splits.mirror_keeps_label,
        device=device,
        memory_limit_bytes=math.inf,
        num_workers=1,
    )


def _clock_for(device: Device) -> Callable[[], float]:
    """On a CPU that of this process: with one thread and no worker it shows what a wall clock would on a quiet core."""
    return time.process_time if device.kind == "cpu" else time.perf_counter


def _reading_workers(device: Device) -> int:
    """timm's processes: on a CPU none, as every loop has one core there; beside an accelerator all cores."""
    return 0 if device.kind == "cpu" else os.cpu_count() or 1
