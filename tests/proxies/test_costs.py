"""Costs of a candidate against the functions and tables behind them, and against means made by hand."""

import math
from dataclasses import replace

import pytest

from proxies.complexity import count_macs, count_params
from proxies.costs import CostModel, MacsStepTimes, TableStepTimes
from proxies.device_identity import DeviceIdentity
from proxies.memory import predict_peak_memory
from proxies.step_time_table import BlockTime, StepTimeTable
from proxies.workload import Workload
from search_spaces.architecture import parse
from search_spaces.space_blocks import space_blocks
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(
    {
        "resolution": 32,
        "stem_channels": 8,
        "head_channels": 16,
        "stages": [{"out_channels": 8, "stride": 2, "num_repeats": [1, 2], "kernel_size": [3, 5], "expand_ratio": 1}],
    }
)
WORK = Workload(num_classes=10, in_channels=1, batch_size=8)
SMALL = parse("stem8-er_r1_k3_s2_e1_c8-head16@32")
LARGE = parse("stem8-er_r2_k5_s2_e1_c8-head16@32")


def table(ratio: float, *, large: float = 1.0, error: float = 0.02, canary_s: float = 0.01) -> StepTimeTable:
    """Every block costs the same, those with a larger kernel so many times as much."""
    return StepTimeTable(
        space="made up",
        workload=WORK,
        device=DeviceIdentity(kind="cpu", name="made up", torch="2", cuda=None, threads=1),
        canary="made up",
        canary_s=canary_s,
        blocks=tuple(
            BlockTime(block=block, ratio=ratio * (large if block.kernel_size == 5 else 1), relative_error=error)
            for block in space_blocks(SPACE, in_channels=1)
        ),
        networks=(),
        seconds=1.0,
    )


@pytest.mark.parametrize("resolution", [None, 64])
@pytest.mark.parametrize("architecture", [SMALL, LARGE])
def test_parameters_macs_and_memory_are_those_of_the_target(architecture, resolution) -> None:  # type: ignore[no-untyped-def]
    work = replace(WORK, resolution=resolution, optimizer="sgd")
    costs = CostModel(workload=work, device_kind="cuda")(architecture)
    assert costs.params == count_params(architecture, 10, 1)
    assert costs.macs == count_macs(architecture, resolution or 32, 10, 1)
    assert costs.peak_memory_bytes == predict_peak_memory(
        architecture,
        batch_size=8,
        resolution=resolution,
        mode=work.mode,
        num_classes=10,
        in_channels=1,
        optimizer="sgd",
        device_kind="cuda",
    )
    assert costs.step_time_s is None
    assert costs.step_time_rse == 0.0


def test_parts_of_a_batch_need_less_memory() -> None:
    costs = CostModel(workload=replace(WORK, batch_size=64), device_kind="cpu")
    assert costs.peak_memory_bytes(LARGE, 4) < costs.peak_memory_bytes(LARGE) == costs(LARGE).peak_memory_bytes


def test_macs_as_a_stand_in_are_right_for_the_backbone_and_in_proportion() -> None:
    times = MacsStepTimes(replace(WORK, resolution=64), SMALL, 0.25)
    assert times(SMALL) == (0.25, 0.0)
    seconds, error = times(LARGE)
    assert seconds / 0.25 == pytest.approx(count_macs(LARGE, 64, 10, 1) / count_macs(SMALL, 64, 10, 1))
    assert error == 0.0


def test_one_table_is_asked_as_it_is() -> None:
    """Stem, block and head at 0.5 canary steps of 10 ms each; a weight changes nothing."""
    alone = TableStepTimes([table(0.5)], [7.0], SMALL)
    seconds, error = alone(SMALL)
    assert seconds == pytest.approx(3 * 0.5 * 0.01)
    predicted = table(0.5).predict(SMALL)
    assert (seconds, error) == (predicted.median_s, predicted.relative_standard_error)


def test_of_several_devices_the_weighted_geometric_mean_of_ratios() -> None:
    """LARGE has stem, two blocks and head. Relative to SMALL: 4/3 on the first; (2 + 2 · 4)/3 = 10/3 on the second."""
    first, second = table(0.5), table(0.1, large=4.0, canary_s=1.0)
    both = TableStepTimes([first, second], [1.0, 3.0], SMALL)
    seconds, error = both(LARGE)
    assert seconds == pytest.approx(0.015 * (4 / 3) ** 0.25 * (10 / 3) ** 0.75)
    errors = [each.predict(LARGE).relative_standard_error for each in (first, second)]
    assert error == pytest.approx(math.hypot(0.25 * errors[0], 0.75 * errors[1]))
    assert both(SMALL)[0] == pytest.approx(0.015), "seconds are those of the first"


def test_weights_count_relative_to_their_sum() -> None:
    tables = [table(0.5), table(0.1, large=4.0)]
    assert TableStepTimes(tables, [1, 3], SMALL)(LARGE) == pytest.approx(TableStepTimes(tables, [10, 30], SMALL)(LARGE))


def test_costs_carry_what_the_step_times_say() -> None:
    costs = CostModel(workload=WORK, device_kind="cpu", step_times=lambda architecture: (0.125, 0.03))(SMALL)
    assert (costs.step_time_s, costs.step_time_rse) == (0.125, 0.03)


def test_a_block_that_no_table_has_is_named() -> None:
    with pytest.raises(ValueError, match="er k3 s2 e6"):
        TableStepTimes([table(0.5)], [1.0], SMALL)(parse("stem8-er_r1_k3_s2_e6_c8-head16@32"))
