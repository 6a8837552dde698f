"""Families that are planned without a run: of any network, with step times that follow from a law."""

from collections.abc import Sequence

from nas.family.budget import parse_request
from nas.family.members import Family
from nas.family.plan import Planner
from nas.family.source import Source, source_of_network, source_of_table
from nas.family.start import start_from
from proxies.complexity import block_macs
from proxies.device_identity import DeviceIdentity
from proxies.execution import PLAIN
from proxies.step_time_table import BlockTime, StepTimeTable
from proxies.workload import Workload
from search_spaces import catalog
from search_spaces.architecture import Architecture, parse
from search_spaces.blocks import block_runs
from search_spaces.ladders import LADDERS
from search_spaces.scaling import Coefficients
from search_spaces.space_blocks import unplaced

S = catalog.get("efficientnetv2-s").architecture
TINY = parse("stem8-er_r2_k3_s2_e4_c16-ir_r3_k5_s2_e6_c24_se0.25-ir_r3_k3_s2_e4_c32_se0.25-head64@64")
"""On no ladder; stages as narrow as these leave room to shrink."""
NOBODY = DeviceIdentity(kind="cpu", name="a made-up device", torch="2.0", cuda=None, threads=1)


def small_source(network: Architecture = TINY) -> Source:
    return source_of_network(network, num_classes=10, in_channels=3, batch_size=4)


def timed_source(network: Architecture = TINY) -> Source:
    """With a table of the network's own blocks: a launch each, and 2 GMAC a second."""
    blocks = {unplaced(block): None for block, _ in block_runs(network, network.resolution)}
    table = StepTimeTable(
        space="made up",
        workload=Workload(batch_size=4, mode=PLAIN, num_classes=10),
        device=NOBODY,
        canary="made up",
        canary_s=0.01,
        blocks=tuple(
            BlockTime(block=block, ratio=0.01 + block_macs(block) / 2e7, relative_error=0.01) for block in blocks
        ),
        networks=(),
        seconds=1.0,
    )
    return source_of_table(network, table)


def planner_of(
    source: Source, ladder: str = "efficientnetv2", cap: int | None = 480, coefficients: Coefficients | None = None
) -> Planner:
    start = start_from(source.network, LADDERS[ladder], source.scale)
    return Planner(start=start, costs=source.costs(), max_size=cap, coefficients=coefficients)


def family_of(source: Source, requests: Sequence[str] = ("s", "m", "l"), cap: int | None = 480) -> Family:
    return planner_of(source, cap=cap).plan([parse_request(text) for text in requests], source.setting())
