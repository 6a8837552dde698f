"""The blocks of a space, and sums over many members at a time, against a walk over one member after the other."""

import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from proxies.complexity import block_macs, block_params, count_macs, count_params
from search_spaces.architecture import Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.efficientnet_v2 import efficientnet_v2
from search_spaces.mnasnet import mnasnet
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import BlockSums, space_blocks, unplaced
from search_spaces.space_file import space_from_mapping
from search_spaces.strict_yaml import parse_yaml

# A stage without any choice, a stage whose number of layers has none, and both kinds with several SE ratios; the last
# two stages have blocks in common.
OWN = """
name: mine
resolution: 48
stem_channels: 16
head_channels: 64
stages:
  - {out_channels: 16, stride: 1, num_repeats: 1, block: er, kernel_size: 3, expand_ratio: 1}
  - {out_channels: 24, stride: 2, num_repeats: [1, 2], kernel_size: 3, expand_ratio: 4}
  - {out_channels: 24, stride: 1, num_repeats: 2, block: [er, ir], kernel_size: 3, expand_ratio: 4, se_ratio: [0, 0.25]}
"""
SPACES: dict[str, Callable[[], SearchSpace]] = {
    "v2 b0": lambda: efficientnet_v2(scale="b0", resolution=96),
    "v2 s offset": lambda: efficientnet_v2(scale="s", layers="offset"),
    "mnasnet": lambda: mnasnet(resolution=64),
    "own": lambda: space_from_mapping(parse_yaml(OWN)),
}
SEED = 20261122
NUM_CLASSES = 7


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return request.param()


def drawn(space: SearchSpace, count: int) -> list[Architecture]:
    print(f"{SEED=}")
    rng = random.Random(SEED)
    return [space.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(("resolution", "in_channels"), [(None, 3), (75, 1)])
def test_they_are_the_blocks_that_members_have_each_once(
    space: SearchSpace, resolution: int | None, in_channels: int
) -> None:
    """The rarest block is in one of 48 members, so 1,500 of them miss none; in neither direction one is left over."""
    walked = {
        unplaced(block)
        for member in drawn(space, 1_500)
        for block in placed_blocks(member, resolution, in_channels=in_channels)
    }
    blocks = space_blocks(space, resolution, in_channels=in_channels)
    assert set(blocks) == walked
    assert len(blocks) == len(set(blocks))


def test_their_order_is_the_same_each_time(space: SearchSpace) -> None:
    assert space_blocks(space) == space_blocks(space)


def test_a_small_space_counted_by_hand() -> None:
    """Stem, head; Fused-MBConv1; Fused-MBConv4 at stride 2, and at stride 1 as stages 2 and 3 have it; MBConv twice."""
    space = SPACES["own"]()
    blocks = space_blocks(space)
    kinds = [block.kind for block in blocks]
    assert (kinds.count(STEM), kinds.count(HEAD)) == (1, 1)
    inner = {(b.kind, b.expand_ratio, b.in_channels, b.stride, b.in_size, b.se_ratio) for b in blocks if b.stride}
    fused = {
        ("er", 1, 16, 1, 24, 0.0), ("er", 4, 16, 2, 24, 0.0), ("er", 4, 24, 1, 12, 0.0),
        ("ir", 4, 16, 2, 24, 0.25), ("ir", 4, 24, 1, 12, 0.0), ("ir", 4, 24, 1, 12, 0.25),
    }  # fmt: skip
    assert {block for block in inner if block[0] in ("er", "ir")} == fused
    assert len(blocks) == len(fused) + 2


def test_a_block_without_its_place_differs_in_its_place_alone() -> None:
    block = placed_blocks(SPACES["own"]().backbone)[2]
    assert block.stage == 2
    assert unplaced(block) == PlacedBlock(*[0 if name == "stage" else getattr(block, name) for name in block._fields])


@pytest.mark.parametrize(("resolution", "in_channels"), [(None, 3), (75, 1)])
def test_sums_are_those_of_a_walk(space: SearchSpace, resolution: int | None, in_channels: int) -> None:
    members = drawn(space, 60)
    encoded = np.array([space.encode(member) for member in members])
    macs = BlockSums(space, block_macs, resolution, in_channels=in_channels)(encoded)
    params = BlockSums(space, block_params, resolution, in_channels=in_channels)(encoded)
    classifier = space.head_channels * NUM_CLASSES
    assert macs.tolist() == [count_macs(m, resolution, NUM_CLASSES, in_channels) - classifier for m in members]
    biases = NUM_CLASSES
    assert params.tolist() == [count_params(m, NUM_CLASSES, in_channels) - classifier - biases for m in members]


def test_a_row_at_each_end_of_every_choice_sums_right(space: SearchSpace) -> None:
    rows = [[0] * len(space.choices), [len(values) - 1 for values in space.choices.values()]]
    expected = [sum(map(block_macs, placed_blocks(space.decode(row)))) for row in rows]
    assert BlockSums(space, block_macs)(np.array(rows)).tolist() == expected


def test_all_members_of_a_small_space_sum_right() -> None:
    space = SPACES["own"]()
    rows = list(product(*(range(len(values)) for values in space.choices.values())))
    expected = [sum(map(block_macs, placed_blocks(space.decode(row)))) for row in rows]
    assert len(set(expected)) > 3
    assert BlockSums(space, block_macs)(np.array(rows)).tolist() == expected


def test_the_first_stage_is_not_taken_for_the_tenth() -> None:
    stages = [f"  - {{out_channels: {8 + 8 * (n % 3)}, stride: 1, num_repeats: [1, 2], block: er}}" for n in range(11)]
    header = "name: deep\nresolution: 8\nstem_channels: 8\nhead_channels: 8\nstages:\n"
    space = space_from_mapping(parse_yaml(header + "\n".join(stages)))
    members = drawn(space, 40)
    expected = [count_params(member, NUM_CLASSES) - 9 * NUM_CLASSES for member in members]
    assert BlockSums(space, block_params)(np.array(list(map(space.encode, members)))).tolist() == expected
    walked = {unplaced(block) for member in drawn(space, 1_500) for block in placed_blocks(member)}
    assert set(space_blocks(space)) == walked


def test_no_rows_sum_to_nothing(space: SearchSpace) -> None:
    assert BlockSums(space, block_macs)(np.zeros((0, len(space.choices)), dtype=np.int64)).shape == (0,)
