"""The scaling rules against published widths and depths, against timm's rule and against exact arithmetic."""

import math
import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import make_divisible

from search_spaces import catalog, get_space
from search_spaces.architecture import Architecture, parse
from search_spaces.scaling import (
    Coefficients,
    LateGrowth,
    base_layers,
    cap_resolution,
    coefficient_grid,
    compound,
    inference_size_for,
    require_within_cap,
    round_channels,
    round_layers,
    round_size,
    train_size_for,
)

# Width and depth multipliers of google/automl: efficientnet_builder.py and effnetv2_configs.py.
V1 = {
    "b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8), "b5": (1.6, 2.2),
    "b6": (1.8, 2.6), "b7": (2.0, 3.1), "b8": (2.2, 3.6), "l2": (4.3, 5.3),
}  # fmt: skip
V2 = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4)}
V1_WIDTHS, V1_LAYERS = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)
BASE = catalog.get("efficientnetv2-b0").architecture
TINY = parse("stem8-er_r2_k5_s2_e4_c16-ir_r3_k3_s2_e6_c24_se0.25-head64@32")
V2_WIDTHS, V2_LAYERS = (16, 32, 48, 96, 112, 192), (1, 2, 2, 3, 5, 8)
# V2-M and L grow unevenly: one base layer more in stage 5, and a seventh stage of 2 base layers and 320 channels.
LATE_WIDTHS, LATE_LAYERS = (*V2_WIDTHS, 320), (1, 2, 2, 3, 6, 8, 2)


def published_widths(name: str) -> list[int]:
    """Stem, stages and head."""
    architecture = catalog.get(name).architecture
    return [
        architecture.stem_channels,
        *(stage.out_channels for stage in architecture.stages),
        architecture.head_channels,
    ]


def published_layers(name: str) -> list[int]:
    return [stage.num_repeats for stage in catalog.get(name).architecture.stages]


@pytest.mark.parametrize("name", V1)
def test_efficientnets_widths_and_layers(name: str) -> None:
    width, depth = V1[name]
    widths = [round_channels(base * width, keep_nine_tenths=True) for base in (32, *V1_WIDTHS, 1280)]
    assert widths == published_widths(f"efficientnet-{name}")
    assert [round_layers(base * depth) for base in V1_LAYERS] == published_layers(f"efficientnet-{name}")


@pytest.mark.parametrize("name", V2)
def test_efficientnetv2_bs_widths_and_layers(name: str) -> None:
    width, depth = V2[name]
    widths = [round_channels(base * width) for base in (32, *V2_WIDTHS, 1280)]
    assert widths == published_widths(f"efficientnetv2-{name}")
    assert [round_layers(base * depth) for base in V2_LAYERS] == published_layers(f"efficientnetv2-{name}")


def test_b3_tells_the_two_rules_apart() -> None:
    """16 · 1.2 = 19.2 channels: 24 in V1's first stage, which loses no tenth; 16 in V2's."""
    assert (round_channels(16 * 1.2, keep_nine_tenths=True), round_channels(16 * 1.2)) == (24, 16)
    assert [published_widths(f"{family}-b3")[1] for family in ("efficientnet", "efficientnetv2")] == [24, 16]


@pytest.mark.parametrize(
    ("name", "base", "depth"),
    [("s", V2_LAYERS, 1.8), ("m", LATE_LAYERS, 2.2), ("l", LATE_LAYERS, 3.1)],
)
def test_efficientnetv2_s_m_l_layers(name: str, base: tuple[int, ...], depth: float) -> None:
    assert [round_layers(depth * layers) for layers in base] == published_layers(f"efficientnetv2-{name}")


# Multiplier, and the stages whose released width is not the rule's: number -> what the rule says.
@pytest.mark.parametrize(
    ("name", "base", "width", "exceptions"),
    [
        ("s", V2_WIDTHS, 1.4, {4: 136, 6: 272}),
        ("m", LATE_WIDTHS, 1.6, {4: 152}),
        ("l", LATE_WIDTHS, 2.0, {}),
        ("s-v1", V2_WIDTHS, 1.4, {4: 136}),
    ],
)
def test_efficientnetv2_s_m_l_widths(
    name: str, base: tuple[int, ...], width: float, exceptions: dict[int, int]
) -> None:
    rule = [round_channels(channels * width) for channels in base]
    released = published_widths(f"efficientnetv2-{name}")[1:-1]
    different = {number: rule[number - 1] for number, actual in enumerate(released, 1) if rule[number - 1] != actual}
    assert different == exceptions


@pytest.mark.parametrize("seed", range(5))
def test_widths_equal_timms_rule(seed: int) -> None:
    print(f"{seed=}")
    rng = random.Random(seed)
    for _ in range(200):
        channels, divisor = rng.choice((rng.uniform(0.1, 40), rng.uniform(1, 5000))), rng.choice((1, 2, 8, 16))
        assert round_channels(channels, divisor=divisor, keep_nine_tenths=True) == make_divisible(channels, divisor)
        assert round_channels(channels, divisor=divisor) == make_divisible(channels, divisor, round_limit=0.0)


def test_halves_go_up_and_nothing_goes_below_one_divisor() -> None:
    assert [round_channels(channels) for channels in (0.1, 4, 11.9, 12, 19.9, 20)] == [8, 8, 8, 16, 16, 24]
    assert round_channels(3, divisor=16) == 16


def test_layers_are_rounded_up_as_if_the_product_were_exact() -> None:
    """Multipliers are decimals: 2.2 · 25 is 55, whatever floating point makes of it."""
    assert math.ceil(2.2 * 25) == 56
    for tenths in range(1, 101):
        for layers in range(1, 33):
            exact = math.ceil(Fraction(tenths, 10) * layers)
            assert round_layers(tenths / 10 * layers) == round_layers(layers * tenths / 10) == exact


@pytest.mark.parametrize("rule", [round_channels, round_layers])
@pytest.mark.parametrize("value", [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf])
def test_what_is_not_positive_and_finite_is_refused(rule: Any, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^\w+ must be positive and finite, got {value}$"):
        rule(value)


@given(st.integers(1, 99), st.floats(1, 9) | st.integers(10, 60).map(lambda tenths: tenths / 10))
def test_base_layers_undo_every_deepening(layers: int, depth: float) -> None:
    assert base_layers(round_layers(layers * depth), depth) == layers


@given(st.integers(1, 60), st.integers(2, 59).map(lambda twentieths: twentieths / 20))
def test_base_layers_come_as_near_as_any_number_can(layers: int, depth: float) -> None:
    """Also where several numbers lead to the same layers, or none leads to them; one layer is left at least."""
    found = base_layers(layers, depth)
    misses = {count: abs(math.ceil(Fraction(depth).limit_denominator(20) * count) - layers) for count in range(1, 700)}
    nearest = [count for count, miss in misses.items() if miss == min(misses.values())]
    assert found in nearest
    assert abs(found - layers / depth) <= min(abs(count - layers / depth) for count in nearest) + 1e-9


@pytest.mark.parametrize("depth", [0, -1, math.nan, math.inf])
def test_base_layers_of_no_depth(depth: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        base_layers(3, depth)


def grown_layers(architecture: Architecture) -> list[int]:
    return [stage.num_repeats for stage in architecture.stages]


GROWTHS = [
    LateGrowth(),
    LateGrowth(extra_layers=(1, 1, 0)),
    LateGrowth(extra_layers=(3,), new_stage_layers=0),
    LateGrowth(extra_layers=(), new_stage_layers=1, new_stage_width=1.0),
    LateGrowth(extra_layers=(1, 2, 3, 4, 5, 6, 7, 8), new_stage_layers=4),
]


@pytest.mark.parametrize("growth", GROWTHS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_late_growth_is_undone(growth: LateGrowth, seed: int) -> None:
    print(f"{seed=}")
    member = get_space("efficientnetv2", scale="s").sample(random.Random(seed))
    for num_stages in (1, 2, 6):
        base = replace(member, stages=member.stages[-num_stages:])
        assert growth.undo(growth.apply(base)) == base


def test_late_growth_adds_layers_from_the_end() -> None:
    assert grown_layers(LateGrowth().apply(BASE)) == [1, 2, 2, 3, 6, 8, 2]
    assert grown_layers(LateGrowth(extra_layers=(1, 1, 0)).apply(BASE)) == [1, 2, 2, 4, 6, 8, 2]
    one = replace(BASE, stages=BASE.stages[:1])
    assert grown_layers(LateGrowth().apply(one)) == [1, 2], "a network of one stage has no last but one"


def test_the_new_stage_is_the_last_one_again_but_wider_and_not_strided() -> None:
    last, new = LateGrowth().apply(TINY).stages[-2:]
    assert last == TINY.stages[-1]
    assert str(new) == "ir_r2_k3_s1_e6_c40_se0.25"


def test_a_stage_keeps_a_layer_when_growth_is_undone() -> None:
    grown = replace(TINY, stages=(replace(TINY.stages[0], num_repeats=1), *TINY.stages))
    assert grown_layers(LateGrowth().undo(grown)) == [1, 2]


def test_late_growth_refuses_what_it_cannot_do() -> None:
    for wrong in ({"extra_layers": (1, -1)}, {"new_stage_layers": -1}):
        with pytest.raises(ValueError, match="must not take layers away"):
            LateGrowth(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has not grown a stage"):
        LateGrowth().undo(replace(TINY, stages=TINY.stages[:1]))


def test_uniform_scaling_is_not_what_was_published() -> None:
    """Stage 5 of M and L would have 11 and 16 layers: late growth explains something."""
    for name, depth, layers in (("m", 2.2, 11), ("l", 3.1, 16)):
        uniform, published = compound(BASE, depth=depth), catalog.get(f"efficientnetv2-{name}").architecture
        assert grown_layers(uniform)[4] == layers
        assert len(uniform.stages) == 6
        assert grown_layers(uniform)[4] < grown_layers(published)[4]


@pytest.mark.parametrize(("scale", "seed"), [("s", 0), ("s", 1), ("b0", 2), ("m", 3)])
def test_scaling_keeps_blocks_kernels_expansions_and_strides(scale: str, seed: int) -> None:
    print(f"{seed=}")
    rng = random.Random(seed)
    network = get_space("efficientnetv2", scale=scale).sample(rng)
    scaled = compound(network, width=rng.uniform(0.8, 3), depth=rng.uniform(0.3, 3), resolution=448)
    for before, after in zip(network.stages, scaled.stages, strict=True):
        assert replace(after, num_repeats=before.num_repeats, out_channels=before.out_channels) == before
    assert scaled.resolution == 448


def test_no_factor_changes_nothing() -> None:
    for name in catalog.names():
        architecture = catalog.get(name).architecture
        assert compound(architecture) == architecture


@pytest.mark.parametrize(("stem", "channels"), [("scaled", 64), ("first-stage", 32), ("kept", 32)])
def test_the_stem(stem: Any, channels: int) -> None:
    assert compound(BASE, width=2, stem=stem).stem_channels == channels


def test_the_first_stage_counts_as_it_is_when_the_stem_follows_it() -> None:
    assert compound(BASE, width=2, stem="first-stage", exceptions={1: 40}).stem_channels == 40


def test_the_head() -> None:
    assert compound(BASE, width=1.2).head_channels == 1536
    assert compound(BASE, width=1.2, head="kept").head_channels == 1280


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be positive and finite, got 0"),
        ({"width": math.nan}, "width must be positive and finite, got nan"),
        ({"depth": -1.5}, "depth must be positive and finite, got -1.5"),
        ({"depth": math.inf}, "depth must be positive and finite, got inf"),
        ({"width": 0.4}, "stage 1 must keep at least 8 channels, got 16 × 0.4 = 6.4"),
        ({"resolution": 31}, "resolution must be at least the total stride 32, got 31"),
        ({"exceptions": {7: 64}}, "an exception must name one of the stages 1 to 6, got 7"),
        ({"exceptions": {0: 64}}, "an exception must name one of the stages 1 to 6, got 0"),
    ],
)
def test_impossible_scalings_say_what_the_rule_is(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        compound(BASE, **arguments)
    assert str(raised.value) == message


def test_stem_and_head_keep_eight_channels_too() -> None:
    network = replace(TINY, stem_channels=8, head_channels=12)
    with pytest.raises(ValueError, match=r"^the stem must keep at least 8 channels, got 8 × 0\.9 = 7\.2$"):
        compound(network, width=0.9)
    with pytest.raises(ValueError, match=r"^the head must keep at least 8 channels, got 12 × 0.6 = 7.2$"):
        compound(network, width=0.6, stem="kept")
    assert compound(TINY, width=0.5, stem="kept").stages[0].out_channels == 8, "exactly 8 is enough"


@pytest.mark.parametrize("name", catalog.names())
def test_published_sizes_lie_below_the_cap_or_are_known_to_exceed_it(name: str) -> None:
    size = catalog.get(name).test_size
    above = {"efficientnet-b6", "efficientnet-b7", "efficientnet-b8", "efficientnet-l2", "efficientnetv2-xl"}
    assert (cap_resolution(size) < size) == (name in above)
    assert cap_resolution(size, None) == size


def test_the_cap() -> None:
    assert [cap_resolution(size) for size in (32, 480, 481, 608)] == [32, 480, 480, 480]
    assert cap_resolution(608, 512) == 512
    assert require_within_cap(480) == 480
    assert require_within_cap(800, None) == 800
    with pytest.raises(ValueError, match=r"^test size must be at most the cap of 480 pixels, got 481$"):
        require_within_cap(481)


@given(st.integers(8, 1200))
def test_training_sizes_are_the_largest_within_four_fifths(test_size: int) -> None:
    train_size = train_size_for(test_size)
    assert train_size % 8 == 0
    assert train_size == max(
        [8, *(size for size in range(8, test_size, 8) if Fraction(size) <= Fraction(4, 5) * test_size)]
    )
    assert train_size_for(test_size, 1.0) == test_size


@given(st.integers(1, 1200))
def test_inference_sizes_are_whole_and_not_below_what_was_asked(size: int) -> None:
    rounded = round_size(size)
    assert 0 <= rounded - size < (32 if size >= 256 else 8)
    assert rounded % (32 if size >= 256 else 8) == 0
    assert inference_size_for(size, 1.0) == size
    assert Fraction(inference_size_for(size)) >= Fraction(5, 4) * size


@pytest.mark.parametrize("values", [(0.9, 1, 1), (1, math.nan, 1), (1, 1, math.inf), (1, 1, 0), (-2, 1, 1)])
def test_coefficients_that_shrink_are_refused(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be finite and at least 1, got"):
        Coefficients(alpha=values[0], beta=values[1], gamma=values[2])


@pytest.mark.parametrize(("cost", "within"), [(2.0, 0.05), (2.0, 0.0), (1.0, 0.1), (4.0, 0.02)])
def test_the_grid_holds_all_coefficients_near_the_cost(cost: float, within: float) -> None:
    """By brute force, in exact fractions; the authors' own 1.2, 1.1, 1.15 lie within 5 % of 2."""
    wanted, part = Fraction(cost), Fraction(within).limit_denominator(1000)
    steps = [1 + Fraction(1, 20) * step for step in range(90)]
    expected = {
        (float(a), float(b), float(g))
        for b in steps
        for g in steps
        if b * b * g * g <= wanted * (1 + part)
        for a in steps
        if abs(a * b * b * g * g / wanted - 1) <= part
    }
    found = [(each.alpha, each.beta, each.gamma) for each in coefficient_grid(cost=cost, within=within)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert ((1.2, 1.1, 1.15) in expected) == (cost == 2 and within == 0.05)
