"""Interpolated step times on made-up machines whose laws are known, of networks no table was calibrated for."""

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from proxies.complexity import count_macs
from proxies.device_identity import DeviceIdentity
from proxies.execution import ExecutionMode
from proxies.step_time_interpolation import EXPECTED_SLOPE, StepTimeInterpolation
from proxies.step_time_table import EXPECTED_RESIDUAL, BlockTime, NetworkTime, StepTimeTable
from proxies.workload import Workload
from search_spaces.architecture import Architecture, parse
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks
from search_spaces.efficientnet_v2 import efficientnet_v2
from search_spaces.mnasnet import mnasnet
from search_spaces.scaling import round_channels, round_layers
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import space_blocks, unplaced

Law = Callable[[PlacedBlock], float]
SPACES: dict[str, Callable[[], SearchSpace]] = {
    "efficientnetv2": lambda: efficientnet_v2(scale="b0", resolution=96),
    "mnasnet": lambda: mnasnet(resolution=96),
}


@pytest.fixture(params=SPACES.values(), ids=SPACES.keys())
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return request.param()


def parts(block: PlacedBlock) -> list[tuple[float, float, float]]:
    """A block's convolutions as (multiply-adds ÷ speed, values moved, weights); depthwise ones are ten times slower."""
    inner, outer = block.in_size**2, block.out_size**2
    taps, inputs, hidden, outputs = block.kernel_size**2, block.in_channels, block.hidden_channels, block.out_channels
    spatial = (taps * inputs * hidden * outer, inputs * inner + hidden * outer, taps * inputs * hidden)
    project = (hidden * outputs * outer, (hidden + outputs) * outer, hidden * outputs)
    if block.kind in (STEM, HEAD) or (block.kind == "er" and block.expand_ratio == 1):
        classifier = outputs * 1001 if block.kind == HEAD else 0
        one = taps * inputs * outputs
        return [(one * outer + classifier, inputs * inner + outputs * outer, one + classifier)]
    if block.kind == "er":
        return [spatial, project]
    expand = (inputs * hidden * inner, (inputs + hidden) * inner, inputs * hidden)
    depthwise = (10 * taps * hidden * outer, hidden * (inner + outer), taps * hidden)
    return [depthwise, project] if block.expand_ratio == 1 else [expand, depthwise, project]


def additive(block: PlacedBlock) -> float:
    """Each convolution's arithmetic, then its memory, then its call."""
    return sum(1e-8 * macs + 5e-7 * moved + 1e-7 * weights + 0.01 for macs, moved, weights in parts(block))


def roofline(block: PlacedBlock) -> float:
    """Arithmetic and memory overlap: the slower of them counts."""
    return sum(max(1e-8 * macs, 1e-6 * moved) + 1e-7 * weights + 0.01 for macs, moved, weights in parts(block))


def saturating(block: PlacedBlock) -> float:
    """Arithmetic becomes faster with channels, as matrix products do."""
    efficiency = min(block.in_channels, block.out_channels) / (min(block.in_channels, block.out_channels) + 20)
    return sum(1e-8 * macs / efficiency + 5e-7 * moved + 0.01 for macs, moved, weights in parts(block))


LAWS: dict[str, Law] = {"additive": additive, "roofline": roofline, "saturating": saturating}


@pytest.fixture(params=LAWS.values(), ids=LAWS.keys())
def law(request: pytest.FixtureRequest) -> Law:
    return request.param


def table_of(ratios: dict[PlacedBlock, float], error: float = 0.0, **changes: Any) -> StepTimeTable:
    blocks = [BlockTime(block=block, ratio=ratio, relative_error=error) for block, ratio in ratios.items()]
    table = StepTimeTable(
        space="some",
        workload=Workload(batch_size=8, mode=ExecutionMode(channels_last=True)),
        device=DeviceIdentity(kind="cpu", name="Some CPU", torch="2.9", cuda=None, threads=1),
        canary="canary-0",
        canary_s=0.5,
        blocks=tuple(blocks),
        networks=(),
        seconds=12.5,
    )
    return replace(table, **changes)


def calibrated(space: SearchSpace, law: Law, noise: float = 0.0, seed: int = 0, **changes: Any) -> StepTimeTable:
    """A table of a space on a machine that obeys the law, its times off by the noise."""
    rng = random.Random(seed)
    ratios = {block: law(block) * math.exp(rng.gauss(0, noise)) for block in space_blocks(space)}
    return table_of(ratios, error=noise, **changes)


def seconds_by(law: Law, architecture: Architecture, resolution: int | None = None) -> float:
    return 0.5 * sum(map(law, placed_blocks(architecture, resolution)))


def scaled(network: Architecture, width: float, depth: float, size: float) -> Architecture:
    """Wider, deeper, larger, and with one more stage of 5/3 of the last one's width."""
    stages = [
        replace(
            stage,
            out_channels=round_channels(stage.out_channels * width),
            num_repeats=round_layers(stage.num_repeats * depth),
        )
        for stage in network.stages
    ]
    new = replace(stages[-1], num_repeats=2, stride=1, out_channels=round_channels(stages[-1].out_channels * 5 / 3))
    return replace(network, stages=(*stages, new), resolution=round(network.resolution * size))


def family(network: Architecture) -> list[Architecture]:
    """EfficientNetV2's M and L, if the network were its S."""
    return [scaled(network, 1.143, 1.22, 1.25), scaled(network, 1.43, 1.72, 1.25)]


def members(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    print(f"{seed=}")
    rng = random.Random(seed)
    return [space.backbone, *(space.sample(rng) for _ in range(count - 1))]


class TestOfWhatWasCalibrated:
    def test_it_says_what_the_table_says(self, space: SearchSpace, law: Law) -> None:
        networks = tuple(
            NetworkTime(architecture=str(member), ratio=2.2 * seconds_by(law, member), relative_error=0.01)
            for member in members(space, 3, seed=1)
        )
        table = calibrated(space, law, noise=0.05, networks=networks)
        predict = StepTimeInterpolation(table)
        for member in members(space, 20, seed=2):
            expected = table.predict(member)
            assert predict(member) == pytest.approx((expected.median_s, expected.relative_standard_error))

    def test_the_scale_of_whole_networks_holds_for_others_too(self, space: SearchSpace) -> None:
        table = calibrated(space, additive)
        text, seconds = str(space.backbone), seconds_by(additive, space.backbone)
        network = NetworkTime(architecture=text, ratio=1.3 * seconds / 0.5, relative_error=0.01)
        large = family(space.backbone)[1]
        before, after = (StepTimeInterpolation(t)(large)[0] for t in (table, replace(table, networks=(network,))))
        assert after == pytest.approx(1.3 * before)

    def test_next_to_what_was_calibrated_it_comes_near_it(self, space: SearchSpace) -> None:
        """However odd a block's time is: one that is a little wider takes a little longer."""
        odd = next(block for block in space_blocks(space) if block.kind == "ir" and block.in_channels >= 96)
        network = parse(f"stem{odd.in_channels}-{_stage(odd, odd.out_channels)}-head1280@{2 * odd.in_size}")
        wider = parse(f"stem{odd.in_channels}-{_stage(odd, odd.out_channels + 1)}-head1280@{2 * odd.in_size}")
        table = calibrated(space, lambda block: additive(block) * (3 if block == odd else 1))
        predict = StepTimeInterpolation(table)
        ends = sum(additive(block) for block in placed_blocks(network) if block.kind in (STEM, HEAD))
        first, second = (predict(each)[0] / 0.5 - ends for each in (network, wider))
        assert first == pytest.approx(3 * additive(odd), rel=0.1)
        assert second == pytest.approx(first, rel=0.05)


def _stage(block: PlacedBlock, out_channels: int) -> str:
    se = f"_se{block.se_ratio:g}" if block.se_ratio else ""
    return f"ir_r1_k{block.kernel_size}_s{block.stride}_e{block.expand_ratio}_c{out_channels}{se}"


class TestOfFamilies:
    """M and L of networks of a space, from a table of that space alone."""

    def test_they_are_near_the_law(self, space: SearchSpace, law: Law) -> None:
        predict = StepTimeInterpolation(calibrated(space, law, noise=0.04))
        networks = [member for start in members(space, 12, seed=3) for member in family(start)]
        errors = [abs(math.log(predict(network)[0] / seconds_by(law, network))) for network in networks]
        print(f"mean error {statistics.fmean(errors):.1%}, worst {max(errors):.1%}")
        assert statistics.fmean(errors) < 0.08
        assert max(errors) < 0.2

    def test_they_are_nearer_than_by_multiply_adds(self, space: SearchSpace, law: Law) -> None:
        predict = StepTimeInterpolation(calibrated(space, law, noise=0.04))
        ours, theirs = [], []
        for start in members(space, 12, seed=4):
            for network in family(start):
                factor = seconds_by(law, network) / seconds_by(law, start)
                ours.append(abs(math.log(predict(network)[0] / predict(start)[0] / factor)))
                theirs.append(abs(math.log(count_macs(network) / count_macs(start) / factor)))
        print(f"ours {statistics.fmean(ours):.1%}, multiply-adds {statistics.fmean(theirs):.1%}")
        assert statistics.fmean(ours) < statistics.fmean(theirs) / 2

    def test_the_error_that_is_stated_is_of_the_size_of_the_one_made(self, space: SearchSpace, law: Law) -> None:
        """Not in each case: tables tell how far their stages are from what the other stages expect, not why."""
        relative = []
        for seed in range(4):
            predict = StepTimeInterpolation(calibrated(space, law, noise=0.04, seed=seed))
            for start in members(space, 5, seed=seed):
                for network in family(start):
                    seconds, error = predict(network)
                    assert 0 < error < 0.4
                    relative.append(math.log(seconds / seconds_by(law, network)) / error)
        rms = math.sqrt(statistics.fmean(z**2 for z in relative))
        print(f"error made ÷ error stated: {rms:.2f}")
        assert 0.1 < rms < 2

    def test_the_further_away_the_less_is_known(self, space: SearchSpace) -> None:
        predict = StepTimeInterpolation(calibrated(space, additive, noise=0.04))
        errors = [predict(scaled(space.backbone, width, 1, 1))[1] for width in (1.1, 1.5, 2, 3, 4)]
        assert errors == sorted(errors)
        assert errors[-1] > 1.5 * errors[0]

    def test_stages_that_break_the_law_are_owned_up_to(self, space: SearchSpace) -> None:
        """Blocks of 96 channels and more take twice as long: whoever knows the narrow ones only errs by a factor."""
        lawful, lawless = (
            StepTimeInterpolation(
                calibrated(space, lambda b, f=factor: additive(b) * (f if b.out_channels > 90 else 1))
            )
            for factor in (1, 2)
        )
        assert lawless.slope > 2 * lawful.slope
        assert lawful.slope < EXPECTED_SLOPE


class TestSanity:
    def test_more_of_anything_never_costs_much_less(self, space: SearchSpace, law: Law) -> None:
        """Random walks from members to networks of twice the widths, by single steps, in a noisy table."""
        predict = StepTimeInterpolation(calibrated(space, law, noise=0.04))
        rng = random.Random(5)
        for start in members(space, 6, seed=5):
            network, before = start, predict(start)[0]
            highest = before
            for _ in range(60):
                network = _grown(network, rng)
                after = predict(network)[0]
                assert after > 0.95 * before, network
                assert after > 0.93 * highest, network
                before, highest = after, max(highest, after)
            assert before > 1.5 * predict(start)[0]

    def test_of_any_network_it_is_positive_and_finite(self, space: SearchSpace) -> None:
        predict = StepTimeInterpolation(calibrated(space, roofline, noise=0.1))
        for text in (
            "stem8-ir_r1_k3_s1_e1_c8-head8@32",
            "stem1-ir_r1_k1_s1_e1_c1-head1@2",
            "stem999-ir_r99_k9_s2_e12_c9999_se1-head9999@4096",
        ):
            seconds, error = predict(parse(text))
            assert 0 < seconds < math.inf
            assert 0 < error < math.inf


def _grown(network: Architecture, rng: random.Random) -> Architecture:
    """Eight more channels or a layer more in one stage, or eight more pixels."""
    place, what = rng.randrange(len(network.stages)), rng.choice(["width", "width", "width", "depth", "size"])
    if what == "size":
        return replace(network, resolution=network.resolution + 8)
    stage = network.stages[place]
    if what == "width":
        stage = replace(stage, out_channels=stage.out_channels + 8)
    else:
        stage = replace(stage, num_repeats=stage.num_repeats + 1)
    return replace(network, stages=(*network.stages[:place], stage, *network.stages[place + 1 :]))


class TestSizes:
    def test_any_size_can_be_asked_for(self, space: SearchSpace) -> None:
        predict = StepTimeInterpolation(calibrated(space, additive))
        for size in (64, 96, 150, 224):
            found, _ = predict(space.backbone, size)
            assert found == predict(replace(space.backbone, resolution=size))[0]
            assert found == pytest.approx(seconds_by(additive, space.backbone, size), rel=0.1)

    def test_by_default_it_is_the_tables_or_the_architectures_own(self, space: SearchSpace) -> None:
        own = calibrated(space, additive)
        fixed = replace(own, workload=replace(own.workload, resolution=96))
        large = replace(space.backbone, resolution=224)
        assert StepTimeInterpolation(own)(large) == StepTimeInterpolation(own)(large, 224)
        assert StepTimeInterpolation(fixed)(large) == StepTimeInterpolation(own)(large, 96)


class TestPoorTables:
    TINY = parse("stem8-ir_r1_k3_s2_e4_c16-head64@64")

    def table(self, *kinds: str, **changes: Any) -> StepTimeTable:
        blocks = map(unplaced, placed_blocks(self.TINY))
        return table_of({block: additive(block) for block in blocks if block.kind in kinds}, 0.02, **changes)

    @pytest.mark.parametrize("phase", ["training", "inference"])
    def test_one_block_of_each_kind_suffices_for_something(self, phase: Any) -> None:
        predict = StepTimeInterpolation(self.table(STEM, "ir", HEAD, workload=Workload(phase=phase)))
        once, error = predict(self.TINY)
        assert once == pytest.approx(seconds_by(additive, self.TINY))
        assert error == pytest.approx(EXPECTED_RESIDUAL, rel=0.5)
        assert predict.slope == EXPECTED_SLOPE
        twice, error = predict(scaled(self.TINY, 2, 1, 1))
        assert once < twice < 6 * once
        assert error > EXPECTED_SLOPE * math.log(2)
        larger, _ = predict(self.TINY, 128)
        assert once < larger <= 4.01 * once

    @pytest.mark.parametrize("kinds", [(STEM, HEAD), (STEM, "ir"), ("ir", HEAD), ("ir",)], ids=str)
    def test_a_kind_that_is_missing_is_named_in_one_line(self, kinds: tuple[str, ...]) -> None:
        predict = StepTimeInterpolation(self.table(*kinds))
        missing = next(kind for kind in (HEAD, "ir", STEM) if kind not in kinds)
        with pytest.raises(ValueError, match=f"blocks of every kind .* got none of kind '{missing}'") as error:
            predict(scaled(self.TINY, 2, 1, 1))
        assert str(error.value).isprintable()

    def test_a_space_without_fused_blocks_does_not_price_them(self) -> None:
        space = SPACES["mnasnet"]()
        with pytest.raises(ValueError, match="got none of kind 'er'"):
            StepTimeInterpolation(calibrated(space, additive))(SPACES["efficientnetv2"]().from_params(_fused()))


def _fused() -> dict[str, Any]:
    space = SPACES["efficientnetv2"]()
    return {name: values[0] if "block" not in name else "er" for name, values in space.choices.items()}
