"""The rounding rules against published widths and depths, against timm's rule and against exact arithmetic."""

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from timm.layers import make_divisible

from search_spaces import catalog
from search_spaces.scaling import round_channels, round_layers

# Width and depth multipliers of google/automl: efficientnet_builder.py and effnetv2_configs.py.
V1 = {
    "b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8), "b5": (1.6, 2.2),
    "b6": (1.8, 2.6), "b7": (2.0, 3.1), "b8": (2.2, 3.6), "l2": (4.3, 5.3),
}  # fmt: skip
V2 = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4)}
V1_WIDTHS, V1_LAYERS = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1)
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
