"""A step-time table with made-up times: sums by hand, errors, files."""

import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxies.device_identity import DeviceIdentity
from proxies.execution import ExecutionMode
from proxies.step_time_table import (
    EXPECTED_RESIDUAL,
    BlockTime,
    NetworkTime,
    StepTimeTable,
    dump_table,
    load_table,
    read_table,
)
from proxies.workload import Workload
from search_spaces.architecture import parse
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.efficientnet_v2 import efficientnet_v2
from search_spaces.mnasnet import mnasnet
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import space_blocks, unplaced

CPU = DeviceIdentity(kind="cpu", name="Some CPU", torch="2.9", cuda=None, threads=1)
# Three equal blocks: the first two in one stage, the third alone in the next.
THREE_ALIKE = parse("stem8-ir_r2_k3_s1_e4_c8-ir_r1_k3_s1_e4_c8-head32@32")
SPACES: dict[str, Callable[[], SearchSpace]] = {
    "efficientnetv2": lambda: efficientnet_v2(scale="b0", resolution=64),
    "mnasnet": lambda: mnasnet(resolution=64),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return request.param()


def table_of(times: dict[PlacedBlock, tuple[float, float]], **changes: Any) -> StepTimeTable:
    """A table of blocks' ratios and relative errors."""
    blocks = [BlockTime(block=block, ratio=ratio, relative_error=error) for block, (ratio, error) in times.items()]
    table = StepTimeTable(
        space="some",
        workload=Workload(mode=ExecutionMode(channels_last=True)),
        device=CPU,
        canary="canary-0",
        canary_s=0.5,
        blocks=tuple(blocks),
        networks=(),
        seconds=12.5,
    )
    return replace(table, **changes)


def made_up_table(space: SearchSpace, **changes: Any) -> StepTimeTable:
    """Times at random for every block of a space."""
    rng = random.Random(5)
    workload = changes.get("workload", Workload())
    blocks = space_blocks(space, workload.resolution, in_channels=workload.in_channels)
    return table_of({block: (rng.uniform(0.01, 1), rng.uniform(0.001, 0.02)) for block in blocks}, **changes)


def three_alike_table(**changes: Any) -> StepTimeTable:
    """Stem 0.5, three equal blocks of 2 each, head 1.5: 8 in all."""
    ratios = {STEM: (0.5, 0.2), "ir": (2.0, 0.1), HEAD: (1.5, 0.0)}
    return table_of({unplaced(block): ratios[block.kind] for block in placed_blocks(THREE_ALIKE)}, **changes)


def networks_at(*surplus: float, error: float = 0.0) -> tuple[NetworkTime, ...]:
    """THREE_ALIKE, measured at so many times the sum of its blocks."""
    return tuple(NetworkTime(architecture=str(THREE_ALIKE), ratio=8 * s, relative_error=error) for s in surplus)


class TestPredict:
    def test_it_is_the_sum_of_the_blocks_times_the_canarys_seconds(self) -> None:
        assert three_alike_table().predict(THREE_ALIKE).median_s == pytest.approx((0.5 + 3 * 2.0 + 1.5) * 0.5)

    def test_the_scale_of_whole_networks_multiplies_it(self) -> None:
        table = three_alike_table(networks=networks_at(1.1, 1.3, 1.2))
        assert table.scale == pytest.approx(1.2)
        assert table.predict(THREE_ALIKE).median_s == pytest.approx(1.2 * 4.0)

    def test_the_resolution_of_the_workload_counts_and_not_the_architectures(self) -> None:
        times = {unplaced(block): (1.0, 0.0) for block in placed_blocks(THREE_ALIKE, 64, in_channels=1)}
        table = table_of(times, workload=Workload(resolution=64, in_channels=1))
        assert table.predict(THREE_ALIKE).median_s == pytest.approx(5 * 0.5)

    def test_equal_blocks_share_their_error(self) -> None:
        """Three blocks of 2 ± 10 % err together by 0.6, the stem by 0.1; their sum is 8."""
        table = three_alike_table(networks=networks_at(1.0, 1.0, 1.0))
        assert table.residual == pytest.approx(EXPECTED_RESIDUAL / math.sqrt(3))
        expected = math.hypot(math.hypot(3 * 2.0 * 0.1, 0.5 * 0.2) / 8, table.residual)
        assert table.predict(THREE_ALIKE).relative_standard_error == pytest.approx(expected)

    def test_different_blocks_err_independently(self) -> None:
        mixed = parse("stem8-ir_r1_k3_s1_e4_c8-ir_r1_k5_s1_e4_c8-head32@32")
        kinds = [unplaced(block) for block in placed_blocks(mixed)]
        times = dict(zip(kinds, [(0.5, 0.0), (2.0, 0.1), (2.0, 0.1), (1.5, 0.0)], strict=True))
        network = NetworkTime(architecture=str(mixed), ratio=6.0, relative_error=0.0)
        table = table_of(times, networks=(network,) * 3)
        assert table.predict(mixed).relative_standard_error == pytest.approx(
            math.hypot(math.sqrt(2) * 0.2 / 6, table.residual)
        )

    def test_the_residual_of_whole_networks_is_part_of_the_error(self) -> None:
        table = three_alike_table(networks=networks_at(0.9, 1.0, 1.1))
        blocks = math.hypot(0.6, 0.1) / 8
        found = table.predict(THREE_ALIKE).relative_standard_error
        spread = statistics.variance(map(math.log, (0.9, 1.0, 1.1)))
        assert found == pytest.approx(math.hypot(blocks, math.sqrt((EXPECTED_RESIDUAL**2 + 2 * spread) / 3)))

    def test_a_block_that_was_not_calibrated_is_named_in_one_line(self) -> None:
        stranger = parse("stem8-ir_r2_k5_s1_e4_c8-ir_r1_k3_s1_e4_c8-head32@32")
        with pytest.raises(ValueError, match="the space 'some' does not have this block, calibrate anew: ") as error:
            three_alike_table().predict(stranger)
        assert "ir k5 s1 e4 8→8 channels at 16 px" in str(error.value)
        assert str(error.value).isprintable()


class TestPredictMany:
    @pytest.mark.parametrize("workload", [Workload(), Workload(resolution=75, in_channels=1)])
    def test_it_is_what_one_after_the_other_gives(self, space: SearchSpace, workload: Workload) -> None:
        """Against a sum over the blocks of each member, too."""
        seed = 11
        print(f"{seed=}")
        rng = random.Random(seed)
        members = [space.sample(rng) for _ in range(100)]
        texts = [str(member) for member in members[:3]]
        networks = tuple(NetworkTime(architecture=text, ratio=30.0, relative_error=0.01) for text in texts)
        table = made_up_table(space, workload=workload, networks=networks)
        found = table.over(space)(np.array([space.encode(member) for member in members]))
        assert found.tolist() == pytest.approx([table.predict(member).median_s for member in members], rel=1e-12)
        ratios = {entry.block: entry.ratio for entry in table.blocks}
        walks = [placed_blocks(m, workload.resolution, in_channels=workload.in_channels) for m in members]
        sums = [sum(ratios[block._replace(stage=0)] for block in walk) for walk in walks]
        assert found.tolist() == pytest.approx([0.5 * table.scale * total for total in sums], rel=1e-12)
        assert len({f"{seconds:.6g}" for seconds in found}) > 90

    def test_another_space_is_refused_in_one_line(self) -> None:
        table, other = made_up_table(SPACES["mnasnet"]()), SPACES["efficientnetv2"]()
        with pytest.raises(ValueError, match="does not have this block") as error:
            table.over(other)
        assert str(error.value).isprintable()


class TestCovers:
    def test_its_own_space(self, space: SearchSpace) -> None:
        assert made_up_table(space).covers(space)

    def test_not_when_any_block_is_missing(self, space: SearchSpace) -> None:
        table = made_up_table(space)
        for number in range(0, len(table.blocks), 5):
            assert not replace(table, blocks=(*table.blocks[:number], *table.blocks[number + 1 :])).covers(space)

    def test_not_another_size_or_other_images(self) -> None:
        table = made_up_table(SPACES["mnasnet"]())
        assert not table.covers(mnasnet(resolution=96))
        assert not replace(table, workload=Workload(in_channels=1)).covers(SPACES["mnasnet"]())

    def test_a_part_of_its_space(self) -> None:
        space = SPACES["efficientnetv2"]()
        shallow = replace(space.stages[1], num_repeats=space.stages[1].num_repeats[:1])
        stages = (space.stages[0], shallow, *space.stages[2:])
        first = space.from_params({name: values[0] for name, values in space.choices.items()})
        assert made_up_table(space).covers(replace(space, stages=stages, backbone=first))


class TestWholeNetworks:
    def test_without_any_the_sum_stands_and_the_residual_is_a_guess(self) -> None:
        table = three_alike_table()
        assert (table.scale, table.residual) == (1.0, EXPECTED_RESIDUAL)

    def test_what_is_expected_counts_like_one_network(self) -> None:
        table = three_alike_table(networks=networks_at(1.21, 1.0))
        assert table.scale == pytest.approx(1.1)
        spread = statistics.variance(map(math.log, (1.21, 1.0)))
        assert table.residual == pytest.approx(math.sqrt((EXPECTED_RESIDUAL**2 + spread) / 2))

    def test_one_odd_network_does_not_move_the_scale(self) -> None:
        assert three_alike_table(networks=networks_at(1.2, 1.2, 9.0)).scale == pytest.approx(1.2)

    def test_the_measurements_own_errors_are_taken_out_of_the_residual(self) -> None:
        spread = statistics.stdev(map(math.log, (0.9, 1.0, 1.1)))
        table = three_alike_table(networks=networks_at(0.9, 1.0, 1.1, error=0.06))
        expected = math.sqrt((EXPECTED_RESIDUAL**2 + 2 * (spread**2 - 0.06**2)) / 3)
        assert table.residual == pytest.approx(expected)
        noisy = three_alike_table(networks=networks_at(0.9, 1.0, 1.1, error=0.2))
        assert noisy.residual == pytest.approx(EXPECTED_RESIDUAL / math.sqrt(3))

    def test_scale_and_residual_of_many_simulated_networks_are_found(self) -> None:
        """Networks at 1.15 times the sums of their blocks, scattered by 4 %, measured to 2 %."""
        seed = 3
        print(f"{seed=}")
        rng, space = random.Random(seed), SPACES["mnasnet"]()
        bare = made_up_table(space)
        networks = []
        for _ in range(400):
            member = space.sample(rng)
            surplus = 1.15 * math.exp(rng.gauss(0, math.hypot(0.04, 0.02)))
            ratio = bare.predict(member).median_s / 0.5 * surplus
            networks.append(NetworkTime(architecture=str(member), ratio=ratio, relative_error=0.02))
        table = replace(bare, networks=tuple(networks))
        assert table.scale == pytest.approx(1.15, rel=0.01)
        assert table.residual == pytest.approx(0.04, rel=0.15)


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.inf, math.nan])
def test_times_that_are_none_are_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="times must be finite and positive, got"):
        table_of({unplaced(placed_blocks(THREE_ALIKE)[0]): (ratio, 0.1)})
    with pytest.raises(ValueError, match="times must be finite and positive, got"):
        three_alike_table(canary_s=ratio)
    with pytest.raises(ValueError, match="times must be finite and positive, got"):
        three_alike_table(networks=networks_at(ratio))


def test_a_table_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold the times of some blocks, got none"):
        table_of({})


class TestFiles:
    def test_a_table_comes_back_from_its_file_as_it_was(self, tmp_path: Path, space: SearchSpace) -> None:
        member = str(space.sample(random.Random(0)))
        table = made_up_table(
            space,
            workload=Workload(
                resolution=75, batch_size=9, mode=ExecutionMode(dtype="bfloat16", channels_last=True, small_maps=True),
                num_classes=7, in_channels=1, optimizer="sgd", phase="inference", micro_batches=2,
            ),
            device=replace(CPU, kind="cuda", cuda="13.0"),
            networks=(NetworkTime(architecture=member, ratio=1 / 3, relative_error=0.01),),
            disturbed_share=0.125,
        )  # fmt: skip
        path = tmp_path / "table.json"
        path.write_text(dump_table(table))
        found = read_table(path)
        assert found == table
        assert isinstance(found.blocks[0].block, PlacedBlock)
        assert found.predict(parse(member)) == table.predict(parse(member))

    def test_one_that_has_predicted_is_written_as_one_that_has_not(self) -> None:
        table = three_alike_table(networks=networks_at(1.1, 1.2, 1.3))
        before = dump_table(table)
        table.predict(THREE_ALIKE)
        assert dump_table(table) == before

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"garbage", b"\xff\xfe\x00", b"[]", b"null", b"{}", b'{"format": 1}',
            dump_table(three_alike_table())[:300].encode(),
            dump_table(three_alike_table())[:-2].encode(),
        ],
    )  # fmt: skip
    def test_what_is_none_is_refused_in_one_line(self, text: bytes) -> None:
        refusal(text)

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"format": 2}, "format"),
            ({"format": "1"}, "format"),
            ({"blocks": []}, "blocks"),
            ({"blocks": [{"block": ["ir", 0], "ratio": 1.0, "relative_error": 0.1}]}, "blocks.0.block"),
            ({"canary_s": -1}, "finite and positive"),
            ({"canary_s": "soon"}, "canary_s"),
            ({"workload": {"mode": {"dtype": "int8"}}}, "workload.mode.dtype"),
            ({"device": None}, "device"),
        ],
    )
    def test_what_is_wrong_in_it_is_named(self, changes: dict[str, Any], named: str) -> None:
        whole = json.loads(dump_table(three_alike_table()))
        assert named in refusal(json.dumps(whole | changes))

    @pytest.mark.parametrize("missing", ["space", "workload", "device", "canary", "canary_s", "blocks", "networks"])
    def test_what_is_missing_in_it_is_named(self, missing: str) -> None:
        whole = json.loads(dump_table(three_alike_table()))
        del whole[missing]
        assert missing in refusal(json.dumps(whole))

    def test_a_network_of_blocks_that_it_does_not_hold_is_refused(self) -> None:
        stranger = NetworkTime(architecture=str(mnasnet().backbone), ratio=1.0, relative_error=0.1)
        refusal(dump_table(three_alike_table()).replace('"networks": []', f'"networks": [{dump_network(stranger)}]'))

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"cannot read the step-time table .*nowhere\.json: ") as error:
            read_table(tmp_path / "nowhere.json")
        assert str(error.value).isprintable()
        with pytest.raises(ValueError, match="cannot read the step-time table"):
            read_table(tmp_path)


def dump_network(network: NetworkTime) -> str:
    return json.dumps(
        {"architecture": network.architecture, "ratio": network.ratio, "relative_error": network.relative_error}
    )


def refusal(text: str | bytes) -> str:
    with pytest.raises(ValueError, match=r"^some\.json is no step-time table of format 1: [^:]") as error:
        load_table(text, "some.json")
    assert str(error.value).isprintable()
    return str(error.value)
