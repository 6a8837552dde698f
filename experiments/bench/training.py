"""Images per second of our short training, against the plain loop a user would write.

Both train the same network on the same images with the same augmentation, batch size and optimizer settings. The plain
loop is float32 and contiguous, reads from a DataLoader over Pillow images through torchvision's transforms, and steps
AdamW as it comes; a third loop is the same with two worker processes. Two copies of ours and of the plain loop and the
one with workers take turns in one process, so that the machine's drift meets all of them; what two copies of one loop
differ by is the noise (A/A).

On a CPU all loops run on one thread, as a search's workers do, one per core; a DataLoader's workers come on top.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from experiments.bench.options import Quick
from proxies.accuracy import load_splits
from proxies.data.batches import make_batches, normalisation_of, num_steps
from proxies.data.images import PixelImages
from proxies.data.passes import TrainingPass
from proxies.data.split import Splits
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode
from proxies.fastest_mode import find_fastest_mode
from proxies.training.config import DataConfig, TrainConfig
from proxies.training_step import make_training_step
from search_spaces.architecture import Architecture, parse
from search_spaces.network import build

SOURCES = ("digits", "fashion-mnist")
RESOLUTION = 32
TARGET = 2.0
NUM_ROUNDS = 12
VISIT_S = 0.4
"""A loop trains about this long before the next has its turn."""
NETWORKS = {
    # EfficientNetV2-S's blocks and widths times 0.25, 0.5 and 1, at about a third of its depth.
    "0.25": "stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16-er_r2_k3_s2_e4_c16-ir_r2_k3_s2_e4_c32_se0.25"
    "-ir_r2_k3_s1_e6_c40_se0.25-ir_r3_k3_s2_e6_c64_se0.25-head320@32",
    "0.5": "stem16-er_r1_k3_s1_e1_c16-er_r2_k3_s2_e4_c24-er_r2_k3_s2_e4_c32-ir_r2_k3_s2_e4_c64_se0.25"
    "-ir_r2_k3_s1_e6_c80_se0.25-ir_r3_k3_s2_e6_c128_se0.25-head640@32",
    "1": "stem24-er_r1_k3_s1_e1_c24-er_r2_k3_s2_e4_c48-er_r2_k3_s2_e4_c64-ir_r3_k3_s2_e4_c128_se0.25"
    "-ir_r3_k3_s1_e6_c160_se0.25-ir_r4_k3_s2_e6_c256_se0.25-head1280@32",
}

Steps = Iterator[int]
"""An endless training; each item is the number of images of the step just done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Images per second of loops that took turns; one entry per round."""

    source: str
    width: str
    mode: str
    plain: tuple[float, ...]
    plain_again: tuple[float, ...]
    plain_with_workers: tuple[float, ...]
    ours: tuple[float, ...]
    ours_again: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours ÷ plain, each beside the other."""
        return _quotients(self.ours, self.plain) + _quotients(self.ours_again, self.plain_again)

    @property
    def ratios_to_workers(self) -> tuple[float, ...]:
        return _quotients(self.ours, self.plain_with_workers)

    @property
    def null_ratios(self) -> tuple[float, ...]:
        """What two copies of one loop differ by."""
        return _quotients(self.ours, self.ours_again) + _quotients(self.plain, self.plain_again)

    @property
    def is_below_one(self) -> bool:
        """Whether ours is slower than plain by more than two copies of one loop differ."""
        low, _ = interval(self.null_ratios)
        return statistics.median(self.ratios) < min(low, 1.0)


def main(*, quick: Quick = False) -> None:
    """Print one row per data set and width, and the geometric means."""
    torch.set_num_threads(1)
    widths = ["0.25"] if quick else list(NETWORKS)
    splits = {source: load_splits(DataConfig(source=source)) for source in SOURCES}
    settings = [(source, width) for source in SOURCES for width in widths]
    comparisons = [
        compare(splits[source], width, rounds=4 if quick else NUM_ROUNDS)
        for source, width in track(settings, description="training", transient=True)
    ]
    Console().print(table(comparisons))
    mean = statistics.geometric_mean(statistics.median(each.ratios) for each in comparisons)
    to_workers = statistics.geometric_mean(statistics.median(each.ratios_to_workers) for each in comparisons)
    below = sum(each.is_below_one for each in comparisons)
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
    loops = {
        "plain": plain_training(splits, architecture, config, device, workers=0),
        "ours": our_training(splits, architecture, config, device, mode),
        "plain_with_workers": plain_training(splits, architecture, config, device, workers=2),
        "ours_again": our_training(splits, architecture, config, device, mode),
        "plain_again": plain_training(splits, architecture, config, device, workers=0),
    }
    speeds = dict(zip(loops, take_turns(list(loops.values()), rounds=rounds, device=device), strict=True))
    return Comparison(source=splits.name, width=width, mode=str(mode), **speeds)


def take_turns(
    loops: list[Steps], *, rounds: int, device: Device, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, ...]]:
    """Images per second of each loop in each round; every second round runs backwards, which cancels a trend."""
    lengths = [_steps_of_a_visit(loop, device, clock) for loop in loops]
    speeds: list[list[float]] = [[] for _ in loops]
    for number in range(rounds):
        order = range(len(loops)) if number % 2 == 0 else reversed(range(len(loops)))
        for which in order:
            speeds[which].append(_visit(loops[which], lengths[which], device, clock))
    return list(map(tuple, speeds))


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
    step = make_training_step(_network(splits, architecture), config=config, mode=mode, device=device)
    for seed in itertools.count():
        training_pass = TrainingPass(seed=seed, batch_size=config.batch_size, resolution=RESOLUTION)
        for images, labels in batches.shuffled(training_pass):
            step(images, labels)
            yield len(labels)


def plain_training(
    splits: Splits, architecture: Architecture, config: TrainConfig, device: Device, *, workers: int
) -> Steps:
    """The loop of many tutorials."""
    loader = DataLoader(
        PillowImages(splits, augment=config.augment),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    network = _network(splits, architecture).to(device.torch_device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    while True:
        for images, labels in loader:
            images, labels = images.to(device.torch_device), labels.to(device.torch_device)
            loss = functional.cross_entropy(network(images), labels, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(labels)


class PillowImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's own small data sets give them: from memory, through Pillow, one at a time."""

    def __init__(self, splits: Splits, *, augment: bool) -> None:
        assert isinstance(splits.train, PixelImages)
        self.arrays = splits.train.pixels.squeeze(1).numpy()
        self.labels = splits.train.labels.tolist()
        shift = [transforms.RandomCrop(RESOLUTION, padding=RESOLUTION // 8, padding_mode="reflect")] if augment else []
        mirror = [transforms.RandomHorizontalFlip()] if augment and splits.mirror_keeps_label else []
        mean, std = ([value / 255 for value in values] for values in _statistics(splits))
        self.transform = transforms.Compose(
            [transforms.Resize(RESOLUTION), *shift, *mirror, transforms.ToTensor(), transforms.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


def table(comparisons: list[Comparison]) -> Table:
    """One row per comparison."""
    title = f"Short training, {RESOLUTION} px, batch {TrainConfig().batch_size}, images per second"
    result = Table(title=title, box=None, padding=(0, 2, 0, 0))
    for name in ("data", "width", "plain", "ours", "ratio", "quartiles", "A/A", "to 2 workers"):
        result.add_column(name, justify="left" if name == "data" else "right", no_wrap=True)
    for each in comparisons:
        result.add_row(
            each.source,
            each.width,
            f"{statistics.median(each.plain + each.plain_again):.0f}",
            f"{statistics.median(each.ours + each.ours_again):.0f}",
            f"{statistics.median(each.ratios):.2f}",
            _text(each.ratios),
            _text(each.null_ratios),
            f"{statistics.median(each.ratios_to_workers):.2f}",
        )
    result.caption = "modes: " + ", ".join(sorted({each.mode for each in comparisons}))
    return result


def interval(ratios: tuple[float, ...]) -> tuple[float, float]:
    """First and third quartile."""
    low, _, high = statistics.quantiles(ratios, n=4)
    return low, high


def _text(ratios: tuple[float, ...]) -> str:
    low, high = interval(ratios)
    return f"{low:.2f}–{high:.2f}"


def _network(splits: Splits, architecture: Architecture) -> nn.Module:
    return build(architecture, num_classes=splits.num_classes, in_channels=splits.in_channels)


def _statistics(splits: Splits) -> tuple[tuple[float, ...], tuple[float, ...]]:
    normalisation = normalisation_of(splits.train)
    return normalisation.mean, normalisation.std


def _steps_of_a_visit(loop: Steps, device: Device, clock: Callable[[], float]) -> int:
    """Steps in a visit's time, after a warm-up."""
    for _ in range(3):
        next(loop)
    images_per_s = _visit(loop, 3, device, clock)
    return max(2, round(VISIT_S * images_per_s / next(loop)))


def _visit(loop: Steps, length: int, device: Device, clock: Callable[[], float]) -> float:
    """Images per second of so many steps."""
    device.synchronize()
    start = clock()
    images = sum(next(loop) for _ in range(length))
    device.synchronize()
    return images / (clock() - start)


def _quotients(numerators: tuple[float, ...], denominators: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(above / below for above, below in zip(numerators, denominators, strict=True))
