"""Peak memory of many members at a time, against that of one after the other."""

import random

import numpy as np
import pytest

from proxies.execution import parse_mode
from proxies.memory import predict_peak_memories, predict_peak_memory
from proxies.workload import Workload
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace
from search_spaces.space_file import space_from_mapping

FIXED = {"out_channels": 8, "stride": 1, "num_repeats": 2, "block": "er", "kernel_size": 3, "expand_ratio": 4}
OWN = space_from_mapping({
    "resolution": 48,
    "stem_channels": 8,
    "head_channels": 32,
    "stages": [FIXED, {"out_channels": 16, "stride": 2, "num_repeats": 3, "kernel_size": 5, "expand_ratio": [1, 6]}],
})  # fmt: skip
"""A stage without choices beside one with some."""


@pytest.mark.parametrize("space", [get_space("mnasnet"), get_space("efficientnetv2", scale="b0"), OWN])
@pytest.mark.parametrize(("mode", "device"), [("bfloat16-channels_last", "cuda"), ("float32-contiguous", "cpu")])
@pytest.mark.parametrize(("optimizer", "parts"), [("adamw", 1), ("lamb", 4)])
def test_many_members_hold_what_each_holds(
    space: SearchSpace, mode: str, device: str, optimizer: str, parts: int
) -> None:
    print("seed 0")
    rng = random.Random(0)
    work = Workload(mode=parse_mode(mode), num_classes=7, optimizer=optimizer, micro_batches=parts)  # type: ignore[arg-type]
    members = [space.sample(rng) for _ in range(12)]
    one_by_one = [
        predict_peak_memory(
            member, batch_size=32, mode=work.mode, num_classes=7, optimizer=work.optimizer, micro_batches=parts,
            device_kind=device,
        )
        for member in members
    ]  # fmt: skip
    at_once = predict_peak_memories(space, work, device)(np.array([space.encode(member) for member in members]))
    assert at_once.tolist() == one_by_one


def test_a_space_of_one_member_has_its_memory() -> None:
    space = space_from_mapping({"resolution": 32, "stem_channels": 8, "head_channels": 16, "stages": [FIXED]})
    found = predict_peak_memories(space, Workload())(np.array([space.encode(space.backbone)]))
    assert found.tolist() == [predict_peak_memory(space.backbone, batch_size=32)]
