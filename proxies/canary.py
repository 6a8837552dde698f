"""The canary: two small networks whose steps alternate with whatever is timed, so that the machine's moods cancel.

One consists of Fused-MBConv, one of MBConv with both kernel sizes and squeeze-and-excitation, since neighbours on a
shared machine slow dense and depthwise convolutions differently. Each timed step lies between one of either kind.
Canaries of a third of the size were the noisiest part of every ratio.
"""

import itertools
from dataclasses import replace

from search_spaces.architecture import parse

from .device import Device
from .step_time import Step, StepTimeSetting
from .timed_step import make_timed_step
from .workload import Workload

CANARY = "canary-1"
"""Names the reference in results: it changes with the networks, their size or their number."""

_RESOLUTION = 48
_NUM_PAIRS = 10
CANARY_NETWORKS = (
    parse("stem16-er_r1_k3_s1_e1_c16-er_r1_k3_s2_e4_c32-er_r2_k3_s2_e4_c48-head64@48"),
    parse(
        "stem16-ir_r1_k3_s1_e1_c16_se0.25-ir_r1_k5_s2_e4_c24_se0.25-ir_r1_k3_s1_e4_c24_se0.25-ir_r1_k5_s2_e6_c40_se0.25"
        "-head64@48"
    ),
)


def canary_setting(device: Device, threads: int) -> StepTimeSetting:
    """How the canary itself is timed, to compare machines: one visit, short enough to be made at every start."""
    return StepTimeSetting(
        resolution=_RESOLUTION,
        batch_size=device.canary_batch_size,
        threads=threads,
        num_pairs=_NUM_PAIRS,
        visits=1,
        budget_s=0.0,
    )


def make_canary(workload: Workload, device: Device) -> Step:
    """A step that is the one network's when called first, the other's when called next, and so on.

    Args:
        workload: What is timed beside it: mode, phase and optimizer are the canary's too, its size is not.
        device: Where.
    """
    own = replace(
        workload, resolution=_RESOLUTION, batch_size=device.canary_batch_size, num_classes=10, in_channels=3,
        micro_batches=1,
    )  # fmt: skip
    turns = itertools.cycle([make_timed_step(network, own, device) for network in CANARY_NETWORKS])
    return lambda: next(turns)()
