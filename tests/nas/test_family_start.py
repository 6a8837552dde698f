"""From one network to its ladder: published sizes from published ones, and searched networks un-scaled and scaled."""

import itertools
import random
from collections.abc import Mapping
from dataclasses import replace

import families
import pytest

from nas.family.budget import parse_request
from nas.family.growth import along, compounded, mean_coefficients
from nas.family.members import Family
from nas.family.source import source_of_network
from nas.family.start import start_from
from proxies.complexity import count_params
from search_spaces import catalog, get_space
from search_spaces.architecture import Architecture, parse
from search_spaces.ladders import EFFICIENTNET, EFFICIENTNET_V2, LADDERS, Ladder
from search_spaces.scaling import Coefficients, LateGrowth

SIZES = {ladder.name: [rung.name for rung in ladder.rungs] for ladder in LADDERS.values()}


def family(
    network: Architecture, *names: str, scale: tuple[float, float] | None = None, cap: int | None = 480
) -> Family:
    source = replace(source_of_network(network, num_classes=1000, in_channels=3, batch_size=2), scale=scale)
    return families.family_of(source, names or ("s", "m", "l"), cap)


def networks(family: Family) -> Mapping[str, Architecture]:
    return {member.name: member.parsed() for member in family.members}


@pytest.mark.parametrize("name", ["s", "b0", "m", "l", "b3"])
def test_the_published_family_from_any_published_size(name: str) -> None:
    found = family(catalog.get(f"efficientnetv2-{name}").architecture, *SIZES["efficientnetv2"])
    assert found.stands_at == name
    for member in found.members:
        published = catalog.get(f"efficientnetv2-{member.name}")
        assert member.parsed() == published.architecture
        assert member.params == published.params
        assert member.test_size == min(480, published.test_size)
    assert [(each.name, each.computed_test_size) for each in found.members if each.is_capped] == [
        ("l", 608),
        ("xl", 512),
    ]


@pytest.mark.parametrize("name", ["b0", "b1", "b4", "b7", "l2"])
def test_efficientnets_from_any_of_them(name: str) -> None:
    source = families.small_source(catalog.get(f"efficientnet-{name}").architecture)
    planner = families.planner_of(source, "efficientnet", cap=None)
    requests = [parse_request(size) for size in SIZES["efficientnet"]]
    for member in planner.plan(requests, source.setting()).members:
        published = catalog.get(f"efficientnet-{member.name}")
        assert (member.parsed(), member.test_size) == (published.architecture, published.test_size)
        assert not member.is_capped
        assert not member.late_growth


def test_without_a_cap_l_is_tested_and_trained_larger() -> None:
    (large,) = family(families.S, "l", cap=None).members
    assert (large.test_size, large.parsed().resolution) == (608, 480)


@pytest.mark.parametrize("seed", range(8))
def test_members_of_a_searched_space(seed: int) -> None:
    """S is what was found; M and L keep each stage's choices, and their layers follow from layers ÷ 1.8."""
    print(f"{seed=}")
    network = get_space("efficientnetv2", scale="s").sample(random.Random(seed))
    found = networks(family(network))
    assert found["s"] == network
    for name, depth in (("m", 2.2), ("l", 3.1)):
        published, scaled = catalog.get(f"efficientnetv2-{name}").architecture, found[name]
        assert [stage.out_channels for stage in scaled.stages] == [stage.out_channels for stage in published.stages]
        assert (scaled.stem_channels, scaled.head_channels) == (published.stem_channels, published.head_channels)
        for number, (before, after) in enumerate(zip(network.stages, scaled.stages, strict=False), start=1):
            assert replace(after, num_repeats=1, out_channels=1) == replace(before, num_repeats=1, out_channels=1)
            base = after.num_repeats / depth - (number == 5)
            assert abs(1.8 * base - before.num_repeats) <= 1.8 / 2 + 1.8, "within a rounded base layer"
        last, new = network.stages[-1], scaled.stages[-1]
        assert len(scaled.stages) == 7
        assert replace(new, num_repeats=1, out_channels=1) == replace(last, num_repeats=1, out_channels=1, stride=1)
        assert new.out_channels == (512 if name == "m" else 640), "320 of the base, which is 5/3 of 192"


def test_a_space_of_another_size_keeps_its_proportions() -> None:
    """V2-S's space at 224 pixels: tested at 288, and M at 288 · 480/384 = 360, up to a whole 384."""
    network = get_space("efficientnetv2", scale="s", resolution=224).sample(random.Random(1))
    found = family(network)
    assert [(member.parsed().resolution, member.computed_test_size) for member in found.members] == [
        (224, 288),
        (304, 384),
        (384, 480),
    ]
    assert found.members[2].test_size == 480


@pytest.mark.parametrize("scale", [(0.5, 0.6), (1.0, 2.0), (1.4, 1.8), (1.1, 3.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_spaces_with_a_scale_of_their_own(scale: tuple[float, float], seed: int) -> None:
    print(f"{seed=}")
    space = get_space("efficientnetv2", scale=scale, resolution=64)
    network = space.sample(random.Random(seed))
    found = family(network, scale=scale)
    base = parse(found.base)
    assert (found.width, found.depth, found.stands_at) == (*scale, "s")
    assert [stage.out_channels for stage in base.stages] == [16, 32, 48, 96, 112, 192]
    for before, after in zip(network.stages, base.stages, strict=True):
        assert abs(after.num_repeats - before.num_repeats / scale[1]) < 1
    members = networks(found)
    assert members["s"] == network
    # A scale's backbone in place of the network: what M has to be follows from the base by published multipliers.
    widths = [8 * int((base * scale[0] * 1.6 / 1.4 + 4) // 8) for base in (16, 32, 48, 96, 112, 192, 320)]
    assert [stage.out_channels for stage in members["m"].stages] == widths


@pytest.mark.parametrize(("scale", "rung"), [((1.0, 1.0), "b0"), ((1.0, 1.1), "b1"), ((1.1, 1.2), "b2")])
def test_a_known_scale_tells_sizes_of_the_same_widths_apart(scale: tuple[float, float], rung: str) -> None:
    """A member of B0's space may have as many layers as B1, and the other way round."""
    rng = random.Random(3)
    print("seed=3")
    space = get_space("efficientnetv2", scale=scale)
    for network in (space.backbone, *(space.sample(rng) for _ in range(20))):
        assert start_from(network, EFFICIENTNET_V2, scale).rung.name == rung


def test_a_published_width_at_another_depth_is_no_published_size() -> None:
    """B2's widths, but three times the base's layers: layers are divided by the space's depth, not by B2's."""
    network = get_space("efficientnetv2", scale=(1.1, 3.0)).backbone
    start = start_from(network, EFFICIENTNET_V2, (1.1, 3.0))
    assert [stage.num_repeats for stage in start.base.stages] == [1, 2, 2, 3, 5, 8]
    assert not start.is_on_ladder


@pytest.mark.parametrize(
    "text",
    [
        "stem8-ir_r3_k5_s2_e4_c16_se0.25-head32@32",
        "stem16-er_r1_k3_s1_e1_c16-ir_r2_k3_s2_e6_c24-head64@48",
        "stem24-er_r2_k3_s1_e1_c16-ir_r2_k3_s2_e6_c24_se0.5-ir_r4_k7_s2_e3_c40-head64@100",
        "stem8-er_r2_k3_s2_e4_c12-er_r2_k3_s2_e4_c20-head64@64",
    ],
)
def test_networks_of_any_shape(text: str) -> None:
    """One stage, two, stems that equal the first stage or not, widths that are no multiples of 8."""
    network = parse(text)
    found = family(network)
    members = networks(found)
    assert members["s"] == network
    assert (found.stands_at, parse(found.base)) == ("s", network)
    for name, factor in (("m", 1.6 / 1.4), ("l", 2.0 / 1.4)):
        scaled, deeper = members[name], 2.2 / 1.8 if name == "m" else 3.1 / 1.8
        assert len(scaled.stages) == len(network.stages) + 1
        assert scaled.head_channels == network.head_channels
        is_same = network.stem_channels == network.stages[0].out_channels
        assert scaled.stem_channels == (scaled.stages[0].out_channels if is_same else network.stem_channels)
        for before, after in zip(network.stages, scaled.stages, strict=False):
            assert abs(after.out_channels - before.out_channels * factor) <= 4
            assert after.num_repeats >= before.num_repeats * deeper
        assert abs(scaled.stages[-1].out_channels - network.stages[-1].out_channels * 5 / 3 * factor) <= 4 + factor / 2


def test_the_network_stays_as_it_is_where_it_stands() -> None:
    """Also where rules would round its widths, its layers or its size to something else."""
    odd = parse("stem8-er_r2_k3_s2_e4_c12-er_r2_k3_s2_e4_c20-head64@100")
    source = families.small_source(odd)
    for request in ("s", "s:step-time=1x", f"own:params={count_params(odd, 10)}"):
        planner = families.planner_of(families.timed_source(odd) if "step" in request else source)
        (member,) = planner.plan([parse_request(request)], source.setting()).members
        assert (member.architecture, member.phi) == (str(odd), 0.0)


def test_v2_s_is_the_largest_within_its_own_parameters() -> None:
    """Although the rule without exceptions would make it larger."""
    (member,) = family(families.S, "s:params=21458488").members
    assert member.parsed() == families.S
    (member,) = family(catalog.get("efficientnetv2-m").architecture, "m:params=54139356").members
    assert member.params <= 54_139_356


def test_a_size_above_the_cap_is_no_start() -> None:
    with pytest.raises(ValueError, match=r"trains at 600 pixels, which must be at most the cap of 480 on"):
        family(catalog.get("efficientnet-b7").architecture)
    assert family(catalog.get("efficientnet-b7").architecture, "s", cap=None).members[0].test_size >= 600


def test_growth_along_a_ladder_passes_through_its_sizes() -> None:
    for ladder in LADDERS.values():
        for start in ladder.knots:
            here = ladder.rung(start)
            growth = along(ladder, here.phi)
            for name in ladder.knots:
                rung = ladder.rung(name)
                by = growth(rung.phi - here.phi)
                found = (here.width * by.width, here.depth * by.depth, here.test_size * by.size)
                assert found == pytest.approx((rung.width, rung.depth, rung.test_size), rel=1e-12)


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)
def test_growth_never_shrinks(ladder: Ladder) -> None:
    growth = along(ladder, 4)
    steps = [growth(step / 10) for step in range(-100, 101)]
    for before, after in itertools.pairwise(steps):
        assert after.width >= before.width
        assert after.depth >= before.depth
        assert after.size >= before.size
        assert after != before
    assert (growth(0).width, growth(0).depth, growth(0).size) == (1, 1, 1)


def test_compound_growth() -> None:
    growth = compounded(Coefficients(alpha=1.2, beta=1.1, gamma=1.15))
    assert (growth(0).depth, growth(0).width, growth(0).size) == (1, 1, 1)
    assert (growth(2).depth, growth(2).width, growth(2).size) == pytest.approx((1.44, 1.21, 1.3225))
    assert growth(-1).depth == pytest.approx(1 / 1.2)


def test_mean_coefficients_lead_from_end_to_end() -> None:
    mean = mean_coefficients(EFFICIENTNET)
    assert (mean.alpha**8, mean.beta**8, mean.gamma**8) == pytest.approx((3.6, 2.2, 3.0))
    assert 2 / mean.cost == pytest.approx(1, abs=0.1), "about twice the multiply-adds, as its authors wanted"


def test_late_growth_of_the_sizes_in_a_family() -> None:
    assert [member.late_growth for member in family(families.S, "b0", "s", "m", "xl").members] == [
        False,
        False,
        True,
        True,
    ]
    assert EFFICIENTNET_V2.rung("m").late_growth == LateGrowth()
