"""The training benchmark compares like with like, and counts what it says."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from experiments.bench.training.asked import mode_of, peers_of
from experiments.bench.training.full_training import (
    STAGE,
    STEPS_OF_AN_EPOCH,
    TRAIN,
    FullComparison,
    Work,
    finished_batches,
    our_batches,
    our_training,
    some_images,
)
from experiments.bench.training.full_training import table as full_table
from experiments.bench.training.networks import NETWORKS, RESOLUTION, network_for
from experiments.bench.training.plain import PillowImages
from experiments.bench.training.short_training import Comparison, table
from experiments.bench.training.timm_training import timm_batches, timm_steps
from experiments.bench.training.turns import Turns, interval, take_turns
from proxies.data.batches import make_batches, normalisation_of
from proxies.device import find_device
from proxies.execution import PLAIN
from proxies.proxy_data import load_splits
from proxies.training.config import DataConfig
from proxies.training_step import make_training_step
from search_spaces.architecture import parse


def test_both_loops_see_the_same_images() -> None:
    """Torchvision's transforms, one Pillow image at a time, against our batch; resizing rounds to one grey level."""
    splits = load_splits(DataConfig())
    theirs = PillowImages(splits, augment=False)
    batches = make_batches(
        splits.train, normalisation=normalisation_of(splits.train), augment=False, mirror=False,
        device=find_device("cpu"), memory_limit_bytes=1e9, num_workers=1,
    )  # fmt: skip
    images, labels = next(iter(batches.in_order(batch_size=20, resolution=RESOLUTION)))
    grey_level = 1 / normalisation_of(splits.train).std[0]
    for number in range(20):
        image, label = theirs[number]
        assert label == labels[number]
        assert (image - images[number]).abs().max() < 1.5 * grey_level


class FakeLoop:
    """An endless training whose steps take given seconds on a shared clock."""

    def __init__(self, clock: "FakeClock", seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    def __iter__(self) -> Iterator[int]:
        for _ in itertools.count():
            self.clock.now += self.seconds * self.clock.slowness
            self.clock.slowness *= 1.0005
            yield 32


class FakeClock:
    now = 0.0
    slowness = 1.0

    def __call__(self) -> float:
        return self.now


def test_turns_cancel_a_machine_that_slows_down() -> None:
    clock = FakeClock()
    loops = [iter(FakeLoop(clock, seconds)) for seconds in (0.02, 0.01, 0.02)]
    slow, fast, again = take_turns(loops, rounds=20, device=find_device("cpu"), clock=clock)
    ratios = [above / below for above, below in zip(fast, slow, strict=True)]
    null = [above / below for above, below in zip(slow, again, strict=True)]
    assert sum(ratios) / 20 == pytest.approx(2.0, rel=0.02)
    assert sum(null) / 20 == pytest.approx(1.0, rel=0.02)
    assert slow[-1] < slow[0]


def turns(ours: float, noise: float) -> Turns:
    wobble = (1 - noise, 1 + noise) * 2
    return Turns(
        peer=(100.0,) * 4, peer_again=tuple(100 * each for each in wobble),
        ours=(100 * ours,) * 4, ours_again=tuple(100 * ours * each for each in wobble),
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "noise", "expected"), [(2.0, 0.1, False), (0.97, 0.2, False), (0.8, 0.05, True)])
def test_below_one_means_beyond_the_noise(ours: float, noise: float, expected: bool) -> None:
    assert turns(ours, noise).is_below_one is expected


def test_the_tables_have_a_row_for_each_comparison() -> None:
    short = [
        Comparison(source="digits", width="0.25", mode="float32-contiguous", turns=turns(ours, 0.1),
                   plain_with_workers=(150.0,) * 4)
        for ours in (2.0, 1.5)
    ]  # fmt: skip
    full = FullComparison(
        width="0.25", work="step", mode="float32-contiguous", turns=turns(0.8, 0.05),
        our_mode="float32-channels_last", in_our_mode=(160.0,) * 4,
    )  # fmt: skip
    assert table(short).row_count == 2
    assert interval((1.0, 2.0, 3.0)) == (1.0, 3.0)
    assert full.ratios_in_our_mode == (1.6,) * 4
    assert list(full_table([full]).columns[7].cells) == ["below 1"]


def test_the_networks_are_small_versions_of_one_layout() -> None:
    architectures = [parse(text) for text in NETWORKS.values()]
    assert {len(each.stages) for each in architectures} == {6}
    assert {each.resolution for each in architectures} == {RESOLUTION}
    assert torch.tensor([each.head_channels for each in architectures]).tolist() == [320, 640, 1280]


def test_timms_loader_gives_mixed_images_of_the_size_and_statistics_asked_for() -> None:
    splits, device = load_splits(DataConfig()), find_device("cpu")
    batches = timm_batches(splits, some_images(splits), STAGE, TRAIN, device, workers=0)
    images, targets = next(batches)
    assert images.shape == (STAGE.batch_size, 1, RESOLUTION, RESOLUTION)
    assert images.dtype == torch.float32
    assert -3 < images.mean() < 3
    assert torch.allclose(targets.sum(1), torch.ones(STAGE.batch_size))
    assert targets.min() == pytest.approx(TRAIN.label_smoothing / splits.num_classes)


def test_both_full_trainings_take_the_same_steps() -> None:
    """From the same weights on the same batches: timm's parts in the order of its script, and our training step."""
    torch.set_num_threads(1)
    splits, device = load_splits(DataConfig()), find_device("cpu")
    batches = finished_batches(splits, some_images(splits), device).batches[:3]
    theirs, ours = (network_for(splits, parse(NETWORKS["0.25"])) for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    before = {name: value.clone() for name, value in theirs.named_parameters()}
    step = make_training_step(ours, config=TRAIN, mode=PLAIN, device=device)
    steps = timm_steps(theirs, batches, config=TRAIN, mode=PLAIN, device=device, mixed=False)
    assert sum(steps) == sum(len(labels) for _, labels in batches)
    for images, labels in batches:
        step(images, labels)
    peers = dict(ours.named_parameters())
    for name, value in theirs.named_parameters():
        moved = (value - before[name]).norm()
        assert moved > 0
        assert (value - peers[name]).norm() < 0.01 * moved, name


def test_our_loop_counts_its_images() -> None:
    torch.set_num_threads(1)
    splits, device = load_splits(DataConfig()), find_device("cpu")
    images = some_images(splits)
    works: tuple[Work, ...] = ("all", "step")
    for work in works:
        batches = our_batches(splits, images, work, device)
        counted = next(our_training(splits, parse(NETWORKS["0.25"]), batches, work, device, PLAIN))
        assert counted == STEPS_OF_AN_EPOCH * STAGE.batch_size


def test_what_was_asked_for_is_checked() -> None:
    assert peers_of("timm, plain") == ("timm", "plain")
    assert mode_of("plain") == PLAIN
    assert mode_of("bfloat16-channels_last").dtype == "bfloat16"
    with pytest.raises(ValueError, match="peers must be some of plain, timm, got 'keras'"):
        peers_of("keras")
    with pytest.raises(ValueError, match="number format and a layout"):
        mode_of("float32-channels_last-small_maps")
