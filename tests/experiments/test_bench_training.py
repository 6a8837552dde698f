"""The training benchmark compares like with like, and counts what it says."""

import itertools
from collections.abc import Iterator

import pytest
import torch

from experiments.bench.training import NETWORKS, RESOLUTION, Comparison, PillowImages, interval, table, take_turns
from proxies.accuracy import load_splits
from proxies.data.batches import make_batches, normalisation_of
from proxies.device import find_device
from proxies.training.config import DataConfig
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


def comparison(ours: float, noise: float) -> Comparison:
    wobble = (1 - noise, 1 + noise) * 2
    return Comparison(
        source="digits", width="0.25", mode="float32-contiguous",
        plain=(100.0,) * 4, plain_again=tuple(100 * each for each in wobble), plain_with_workers=(150.0,) * 4,
        ours=(100 * ours,) * 4, ours_again=tuple(100 * ours * each for each in wobble),
    )  # fmt: skip


@pytest.mark.parametrize(("ours", "noise", "expected"), [(2.0, 0.1, False), (0.97, 0.2, False), (0.8, 0.05, True)])
def test_below_one_means_beyond_the_noise(ours: float, noise: float, expected: bool) -> None:
    assert comparison(ours, noise).is_below_one is expected


def test_the_table_has_a_row_for_each_comparison() -> None:
    assert table([comparison(2.0, 0.1), comparison(1.5, 0.1)]).row_count == 2
    assert interval((1.0, 2.0, 3.0)) == (1.0, 3.0)


def test_the_networks_are_small_versions_of_one_layout() -> None:
    architectures = [parse(text) for text in NETWORKS.values()]
    assert {len(each.stages) for each in architectures} == {6}
    assert {each.resolution for each in architectures} == {RESOLUTION}
    assert torch.tensor([each.head_channels for each in architectures]).tolist() == [320, 640, 1280]
