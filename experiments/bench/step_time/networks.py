"""What the benchmark times: small members of two spaces on one thread, at sizes that a CPU can time in an hour."""

import random
from dataclasses import dataclass, field

from proxies.execution import ExecutionMode
from proxies.workload import Workload
from search_spaces.architecture import Architecture
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace, Value

MODE = ExecutionMode(channels_last=True)
NUM_CLASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """A space with the step that is timed."""

    name: str
    space: SearchSpace
    workload: Workload = field(kw_only=True)

    def members(self, count: int, seed: int) -> list[Architecture]:
        """Random members; other seeds give others."""
        rng = random.Random(seed)
        return [self.space.sample(rng) for _ in range(count)]


def beds() -> list[Bed]:
    """Small settings of both spaces."""
    v2 = get_space("efficientnetv2", scale=(0.5, 0.5), resolution=48)
    mnasnet = get_space("mnasnet", resolution=48)
    return [
        Bed(name="efficientnetv2 (0.5, 0.5), 48 px, batch 32", space=v2, workload=_workload(32)),
        Bed(name="mnasnet, 48 px, batch 16", space=mnasnet, workload=_workload(16)),
    ]


def operator_mixes(space: SearchSpace) -> dict[str, Architecture]:
    """Members that consist of one kind of operator, and one of many."""
    return {
        "all fused": _uniform(space, block="er", kernel_size=3, expand_ratio=4),
        "all MBConv k3": _uniform(space, block="ir", kernel_size=3, expand_ratio=4),
        "all MBConv k5": _uniform(space, block="ir", kernel_size=5, expand_ratio=6),
        "mixed": space.sample(random.Random(1)),
    }


def _uniform(space: SearchSpace, **wanted: Value) -> Architecture:
    """The member with these values in every stage, and middling numbers of layers."""
    params: dict[str, Value] = {}
    for name, values in space.choices.items():
        axis = name.partition("_")[2]
        params[name] = wanted.get(axis, values[len(values) // 2])
    return space.from_params(params)


def _workload(batch_size: int) -> Workload:
    return Workload(batch_size=batch_size, mode=MODE, num_classes=NUM_CLASSES)
