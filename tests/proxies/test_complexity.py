"""The closed forms against built networks, torch's flop counter, and Accel-NASBench's published counts."""

import csv
import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from proxies.complexity import count_macs, count_params
from search_spaces import catalog, get_space
from search_spaces.architecture import Architecture, Stage, parse
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.network import build
from search_spaces.space import SearchSpace, Value

SPACES = {
    "efficientnetv2-b0": {"name": "efficientnetv2", "scale": "b0"},
    "efficientnetv2-s": {"name": "efficientnetv2", "scale": "s"},
    "mnasnet": {"name": "mnasnet"},
}
# 75, 97 and 300 are not divisible by the total stride of 32.
RESOLUTIONS = (32, 75, 97, 128, 224, 300)
CLASSES = (2, 10, 1000)
CHANNELS = (1, 3, 4)
QUICK, SLOW = range(8), range(8, 100)


def space_called(name: str) -> SearchSpace:
    return get_space(**SPACES[name])


def measured(architecture: Architecture, resolution: int, num_classes: int, in_channels: int) -> tuple[int, int]:
    """Parameters and multiply-adds of the network that is built, without computing or storing anything."""
    with torch.device("meta"):
        network = build(architecture, num_classes=num_classes, in_channels=in_channels).eval()
        images = torch.empty(1, in_channels, resolution, resolution)
    # Batch norms multiply nothing that is counted and keep every shape, but take a third of the time without storage.
    without_norms = mock.patch.object(functional, "batch_norm", lambda features, *_: features)
    with without_norms, FlopCounterMode(display=False) as counter:
        network(images)
    return trainable(network), counter.get_total_flops() // 2


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def require_equal_counts(
    architecture: Architecture, *, resolution: int, num_classes: int = 1000, in_channels: int = 3
) -> None:
    closed = (
        count_params(architecture, num_classes, in_channels),
        count_macs(architecture, resolution, num_classes, in_channels),
    )
    assert closed == measured(architecture, resolution, num_classes, in_channels), architecture


def require_equal_counts_of_a_member(space: SearchSpace, seed: int) -> None:
    print(f"{space.name} {seed=}")
    rng = random.Random(seed)
    architecture = space.sample(rng)
    require_equal_counts(
        architecture,
        resolution=rng.choice(RESOLUTIONS),
        num_classes=rng.choice(CLASSES),
        in_channels=rng.choice(CHANNELS),
    )


@pytest.mark.parametrize("name", SPACES)
def test_closed_forms_equal_the_networks_of_random_members(name: str) -> None:
    space = space_called(name)
    for seed in QUICK:
        require_equal_counts_of_a_member(space, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_closed_forms_equal_the_networks_of_many_members(name: str) -> None:
    space = space_called(name)
    for seed in SLOW:
        require_equal_counts_of_a_member(space, seed)


@pytest.mark.parametrize("name", SPACES)
def test_closed_forms_equal_the_backbones_network(name: str) -> None:
    backbone = space_called(name).backbone
    require_equal_counts(backbone, resolution=backbone.resolution)


def test_counts_of_v2_s() -> None:
    architecture = catalog.get("efficientnetv2-s").architecture
    assert count_params(architecture) == 21_458_488
    assert (count_macs(architecture), count_macs(architecture, 384)) == (5_307_561_248, 8_365_617_152)


def test_resolution_is_the_architectures_own_by_default() -> None:
    architecture = catalog.get("efficientnetv2-b0").architecture
    assert count_macs(architecture) == count_macs(architecture, 192) != count_macs(architecture, 224)


def test_counts_of_a_network_small_enough_to_add_up_by_hand() -> None:
    architecture = parse("stem8-er_r1_k3_s1_e1_c8-ir_r1_k5_s2_e4_c16_se0.25-head32@16")
    stem, fused = 9 * 3 * 8, 9 * 8 * 8
    expand, depthwise, project = 8 * 32, 25 * 32, 32 * 16
    excite, head, classify = 2 * 32 * 2, 16 * 32, 32 * 10
    norms, biases = 2 * (8 + 8 + 32 + 32 + 16 + 32), 2 + 32 + 10
    weights = stem + fused + expand + depthwise + project + excite + head + classify
    assert count_params(architecture, num_classes=10) == weights + norms + biases
    # 16 px in, 8 px behind the stem, 4 px behind the stride of stage 2.
    macs = 64 * (stem + fused + expand) + 16 * (depthwise + project + head) + excite + classify
    assert count_macs(architecture, num_classes=10) == macs


@pytest.mark.parametrize("seed", range(20))
def test_closed_forms_hold_for_stages_no_space_offers(seed: int) -> None:
    """Any expansion and SE ratio, widths that are multiples of 8."""
    print(f"{seed=}")
    rng = random.Random(seed)
    architecture = Architecture(
        stages=tuple(any_stage(rng) for _ in range(rng.randint(1, 4))),
        stem_channels=8 * rng.randint(1, 5),
        head_channels=8 * rng.randint(1, 5),
        resolution=64,
    )
    require_equal_counts(architecture, resolution=rng.choice((33, 64)), num_classes=3)


@pytest.mark.parametrize("block", ["ir", "er"])
def test_closed_forms_hold_for_widths_off_eight(block: str) -> None:
    """timm, like torchvision, rounds the expanded width to a multiple of 8: 10 · 6 channels become 64."""
    for width, expand_ratio in ((10, 6), (12, 3), (6, 1), (20, 4), (9, 7)):
        text = f"stem{width}-{block}_r2_k3_s2_e{expand_ratio}_c{width}-ir_r1_k3_s1_e3_c8_se0.25-head{width}@32"
        require_equal_counts(parse(text), resolution=32, num_classes=3)


def any_stage(rng: random.Random) -> Stage:
    block, expand_ratio = rng.choice(("er", "ir")), rng.randint(1, 7)
    takes_se = block == "ir" or expand_ratio > 1
    return Stage(
        block=block,
        num_repeats=rng.randint(1, 3),
        kernel_size=rng.choice((1, 3, 5, 7)),
        stride=rng.choice((1, 2)),
        expand_ratio=expand_ratio,
        out_channels=8 * rng.randint(1, 9),
        se_ratio=rng.choice((0.0, 0.125, 0.25, 0.5, 1.0)) if takes_se else 0.0,
    )


def test_all_rows_of_accel_nasbench_have_the_published_params() -> None:
    space = get_space("mnasnet")
    rows = 0
    for row in read_accel_nasbench():
        architecture = space.from_params(params_of(space, row))
        assert count_params(architecture) == round(float(row["params_m"]) * 1e6), row
        rows += 1
    assert rows == 5125


def test_all_rows_of_accel_nasbench_have_the_published_multiply_adds() -> None:
    """Its counter also counts 4 for each output of a batch norm, and every input and output of a pooling."""
    space = get_space("mnasnet")
    for row in read_accel_nasbench():
        architecture = space.from_params(params_of(space, row))
        others = sum(map(norms_and_pooling, placed_blocks(architecture)))
        assert count_macs(architecture) + others == round(float(row["macs_m"]) * 1e6), row


def norms_and_pooling(block: PlacedBlock) -> int:
    expanded, filtered = block.in_size**2, block.out_size**2
    if block.kind == STEM:
        return 4 * block.out_channels * filtered
    if block.kind == HEAD:
        return 4 * block.out_channels * filtered + block.out_channels * (filtered + 1)
    hidden = block.in_channels * block.expand_ratio
    norms = hidden * (expanded * (block.expand_ratio > 1) + filtered) + block.out_channels * filtered
    return 4 * norms + (hidden * (filtered + 1) if block.se_ratio else 0)


def params_of(space: SearchSpace, row: dict[str, str]) -> dict[str, Value]:
    """The benchmark counts blocks from 0 and marks SE by 0 or 1; parameters without a choice are left out."""
    values: dict[str, Value] = {}
    for number in range(1, len(space.stages) + 1):
        block = f"block{number - 1}_"
        values[f"stage{number}_expand_ratio"] = int(row[block + "e"])
        values[f"stage{number}_kernel_size"] = int(row[block + "k"])
        values[f"stage{number}_num_repeats"] = int(row[block + "l"])
        values[f"stage{number}_se_ratio"] = 0.25 * int(row[block + "se"])
    return values


def read_accel_nasbench() -> Iterator[dict[str, str]]:
    folder = os.environ.get("NAS_DATA_DIR")
    if folder is None or not (path := Path(folder) / "accel_nasbench.csv.gz").is_file():
        pytest.skip("NAS_DATA_DIR does not lead to accel_nasbench.csv.gz")
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)
