"""Our short training, the accuracy proxy's, beside the plain loop.

Both train the same network on the same images with the same augmentation, batch size and optimizer settings. A fifth
loop is the plain one with two worker processes.
"""

import itertools
import math
import statistics
from dataclasses import dataclass

from rich.console import Console
from rich.progress import track
from rich.table import Table

from proxies.data.batches import make_batches, normalisation_of, num_steps
from proxies.data.passes import TrainingPass
from proxies.data.split import Splits
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode
from proxies.fastest_mode import find_fastest_mode
from proxies.proxy_data import load_splits
from proxies.training.config import DataConfig, TrainConfig
from proxies.training_step import make_training_step
from search_spaces.architecture import Architecture, parse

from .networks import NETWORKS, RESOLUTION, network_for
from .plain import plain_training
from .turns import Steps, Turns, interval_text, quotients, take_turns

SOURCES = ("digits", "fashion-mnist")
TARGET = 2.0
NUM_ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One network on one data set."""

    source: str
    width: str
    mode: str
    turns: Turns
    plain_with_workers: tuple[float, ...]
    """Images per second; one entry per round."""

    @property
    def ratios_to_workers(self) -> tuple[float, ...]:
        return quotients(self.turns.ours, self.plain_with_workers)


def compare_short_training(*, quick: bool) -> None:
    """Print one row per data set and width, and the geometric means."""
    widths = ["0.25"] if quick else list(NETWORKS)
    splits = {source: load_splits(DataConfig(source=source)) for source in SOURCES}
    settings = [(source, width) for source in SOURCES for width in widths]
    comparisons = [
        compare(splits[source], width, rounds=4 if quick else NUM_ROUNDS)
        for source, width in track(settings, description="training", transient=True)
    ]
    Console().print(table(comparisons))
    mean = statistics.geometric_mean(statistics.median(each.turns.ratios) for each in comparisons)
    to_workers = statistics.geometric_mean(statistics.median(each.ratios_to_workers) for each in comparisons)
    below = sum(each.turns.is_below_one for each in comparisons)
    print(f"geometric mean {mean:.2f}× (to the loop with 2 workers {to_workers:.2f}×), below 1 beyond A/A: {below}")
    print(f"target: at least {TARGET:g}×, none below 1 · {find_device('auto').identity()}")


def compare(splits: Splits, width: str, *, rounds: int) -> Comparison:
    """Let the five loops take turns, on a device that nothing else of ours uses."""
    device = find_device("auto")
    with DeviceLease(device.lease_name).exclusive():
        return _compare_on(device, splits, width, rounds)


def _compare_on(device: Device, splits: Splits, width: str, rounds: int) -> Comparison:
    architecture, config = parse(NETWORKS[width]), TrainConfig()
    mode = find_fastest_mode(
        architecture,
        device=device,
        batch_size=config.batch_size,
        resolution=RESOLUTION,
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
        planned_steps=num_steps(len(splits.train), config.batch_size),
        config=config,
    ).mode
    loops = [
        plain_training(splits, architecture, config, device, workers=0),
        our_training(splits, architecture, config, device, mode),
        plain_training(splits, architecture, config, device, workers=2),
        our_training(splits, architecture, config, device, mode),
        plain_training(splits, architecture, config, device, workers=0),
    ]
    plain, ours, with_workers, ours_again, plain_again = take_turns(loops, rounds=rounds, device=device)
    turns = Turns(ours=ours, ours_again=ours_again, peer=plain, peer_again=plain_again)
    return Comparison(source=splits.name, width=width, mode=str(mode), turns=turns, plain_with_workers=with_workers)


def our_training(
    splits: Splits, architecture: Architecture, config: TrainConfig, device: Device, mode: ExecutionMode
) -> Steps:
    """The accuracy proxy's own batches and steps, epoch after epoch."""
    batches = make_batches(
        splits.train,
        normalisation=normalisation_of(splits.train),
        augment=config.augment,
        mirror=splits.mirror_keeps_label,
        device=device,
        memory_limit_bytes=math.inf,
        num_workers=1,
    )
    step = make_training_step(network_for(splits, architecture), config=config, mode=mode, device=device)
    for seed in itertools.count():
        training_pass = TrainingPass(seed=seed, batch_size=config.batch_size, resolution=RESOLUTION)
        for images, labels in batches.shuffled(training_pass):
            step(images, labels)
            yield len(labels)


def table(comparisons: list[Comparison]) -> Table:
    """One row per comparison."""
    title = f"Short training, {RESOLUTION} px, batch {TrainConfig().batch_size}, images per second"
    result = Table(title=title, box=None, padding=(0, 2, 0, 0))
    for name in ("data", "width", "plain", "ours", "ratio", "quartiles", "A/A", "to 2 workers"):
        result.add_column(name, justify="left" if name == "data" else "right", no_wrap=True)
    for each in comparisons:
        turns = each.turns
        result.add_row(
            each.source,
            each.width,
            f"{statistics.median(turns.peer + turns.peer_again):.0f}",
            f"{statistics.median(turns.ours + turns.ours_again):.0f}",
            f"{statistics.median(turns.ratios):.2f}",
            interval_text(turns.ratios),
            interval_text(turns.null_ratios),
            f"{statistics.median(each.ratios_to_workers):.2f}",
        )
    result.caption = "modes: " + ", ".join(sorted({each.mode for each in comparisons}))
    return result
