"""The published ladders: every size from the base by rule, and from every size every other."""

import random
from dataclasses import replace

import pytest

from proxies.complexity import count_params
from search_spaces import catalog, get_space
from search_spaces.architecture import parse
from search_spaces.ladders import EFFICIENTNET, EFFICIENTNET_V2, LADDERS, Ladder, Rung, shallower
from search_spaces.scaling import MAX_TEST_SIZE, LateGrowth, cap_resolution, compound

RUNGS = [(ladder, rung) for ladder in LADDERS.values() for rung in ladder.rungs]
IDS = [f"{ladder.name}-{rung.name}" for ladder, rung in RUNGS]
EXCEPTIONS = {"s": {4: (136, 128), 6: (272, 256)}, "s-v1": {4: (136, 128)}, "m": {4: (152, 160)}}
"""Stage → width of the rule, and width that was published; XL's are numbers of its own."""


def published_cap(rung: Rung) -> int | None:
    """The cap under which a size was published; V2-XL was evaluated above it."""
    return None if rung.name == "xl" else MAX_TEST_SIZE


def plain(rung: Rung) -> Rung:
    """A size without what the rule does not say."""
    return replace(rung, exceptions=(), published_train_size=None)


def test_the_ladders_hold_every_published_network() -> None:
    assert sorted(IDS) == sorted(catalog.names())


@pytest.mark.parametrize(("ladder", "rung"), RUNGS, ids=IDS)
def test_every_published_network_follows_from_the_base(ladder: Ladder, rung: Rung) -> None:
    published = catalog.get(f"{ladder.name}-{rung.name}")
    max_size = None if ladder is EFFICIENTNET else published_cap(rung)
    made = ladder.member(rung.name, max_size)
    assert made == published.architecture
    assert count_params(made) == published.params
    assert rung.sizes(max_size) == (published.architecture.resolution, published.test_size)


@pytest.mark.parametrize("rung", EFFICIENTNET.rungs, ids=lambda rung: rung.name)
def test_efficientnet_has_no_exceptions(rung: Rung) -> None:
    assert (rung.exceptions, rung.late_growth, rung.stem, rung.head) == ((), None, "scaled", "scaled")


@pytest.mark.parametrize("rung", EFFICIENTNET_V2.rungs, ids=lambda rung: rung.name)
def test_three_widths_were_published_against_the_rule_and_xl_has_its_own(rung: Rung) -> None:
    ruled = EFFICIENTNET_V2.scaled(EFFICIENTNET_V2.base, plain(rung), resolution=300)
    actual = catalog.get(f"efficientnetv2-{rung.name}").architecture
    pairs = enumerate(zip(ruled.stages, actual.stages, strict=True), start=1)
    different = {n: (rule.out_channels, ours.out_channels) for n, (rule, ours) in pairs if rule != ours}
    expected = {"xl": {5: (224, 256), 6: (384, 512)}} | EXCEPTIONS
    assert different == expected.get(rung.name, {})
    assert {number for number, _ in rung.exceptions} == set(different), "no exception that the rule gives anyway"
    assert (ruled.stem_channels, ruled.head_channels) == (actual.stem_channels, actual.head_channels)


def test_training_sizes_that_were_published_against_the_rule() -> None:
    against = {
        rung.name: (plain(rung).sizes(None)[0], rung.published_train_size)
        for rung in EFFICIENTNET_V2.rungs
        if rung.published_train_size not in (None, plain(rung).sizes(None)[0])
    }
    assert against == {"b0": (176, 192), "s": (304, 300), "s-v1": (304, 300), "xl": (408, 384)}


@pytest.mark.parametrize(("name", "stage_5"), [("m", 11), ("l", 16)])
def test_m_and_l_need_their_late_growth(name: str, stage_5: int) -> None:
    rung = EFFICIENTNET_V2.rung(name)
    assert rung.late_growth == LateGrowth()
    uniform = EFFICIENTNET_V2.scaled(EFFICIENTNET_V2.base, replace(rung, late_growth=None), resolution=384)
    assert [len(uniform.stages), uniform.stages[4].num_repeats] == [6, stage_5]
    assert uniform != catalog.get(f"efficientnetv2-{name}").architecture


def test_the_cap_clips_l_and_nothing_else_below_xl() -> None:
    clipped = {
        rung.name: (rung.test_size, cap_resolution(rung.test_size, EFFICIENTNET_V2.max_size))
        for rung in EFFICIENTNET_V2.rungs
        if rung.sizes(EFFICIENTNET_V2.max_size)[1] != rung.test_size
    }
    assert clipped == {"l": (608, 480), "xl": (512, 480)}
    assert EFFICIENTNET_V2.rung("l").sizes(480) == (384, 480)
    assert EFFICIENTNET_V2.rung("l").sizes(None) == (480, 608)
    assert EFFICIENTNET_V2.rung("s").sizes(320) == (256, 320), "a lower cap lowers the training size with it"


@pytest.mark.parametrize(("ladder", "rung"), RUNGS, ids=IDS)
def test_from_every_size_every_other_is_reached(ladder: Ladder, rung: Rung) -> None:
    network = catalog.get(f"{ladder.name}-{rung.name}").architecture
    standing = ladder.standing(network)
    assert standing == rung
    base = ladder.unscaled(network, rung)
    assert base == ladder.base
    for other in ladder.rungs:
        published = catalog.get(f"{ladder.name}-{other.name}").architecture
        assert ladder.scaled(base, other, resolution=published.resolution) == published


@pytest.mark.parametrize("scale", ["s", "m", "l", "b2", "b3", "xl"])
def test_members_of_a_space_stand_at_its_scale_whatever_their_blocks(scale: str) -> None:
    rng = random.Random(5)
    print("seed=5")
    space = get_space("efficientnetv2", scale=scale)
    for _ in range(20):
        member = space.sample(rng)
        rung = EFFICIENTNET_V2.standing(member)
        assert rung is not None
        assert rung.name == scale
        base = EFFICIENTNET_V2.unscaled(member, rung)
        assert [stage.out_channels for stage in base.stages] == [16, 32, 48, 96, 112, 192]
        for before, after in zip(member.stages, base.stages, strict=False):
            assert replace(after, num_repeats=1, out_channels=1) == replace(before, num_repeats=1, out_channels=1)


def test_strangers_stand_nowhere() -> None:
    s = catalog.get("efficientnetv2-s").architecture
    strangers = [
        replace(s, stem_channels=32),
        replace(s, head_channels=1792),
        replace(s, stages=s.stages[:-1]),
        replace(s, stages=(*s.stages[:3], replace(s.stages[3], out_channels=136), *s.stages[4:])),
        replace(s, stages=(*s.stages[:4], replace(s.stages[4], stride=2), *s.stages[5:])),
        catalog.get("efficientnet-b4").architecture,
        parse("stem8-er_r1_k3_s2_e1_c8-head32@32"),
    ]
    assert [EFFICIENTNET_V2.standing(stranger) for stranger in strangers] == [None] * len(strangers)
    assert EFFICIENTNET_V2.standing(replace(s, resolution=224)) == EFFICIENTNET_V2.rung("s"), "at any size"


def test_a_network_can_be_unscaled_only_where_it_stands() -> None:
    s = catalog.get("efficientnetv2-s").architecture
    with pytest.raises(ValueError, match="another number of stages"):
        EFFICIENTNET_V2.unscaled(s, EFFICIENTNET_V2.rung("m"))


@pytest.mark.parametrize("ladder", LADDERS.values(), ids=LADDERS)
def test_names(ladder: Ladder) -> None:
    assert [rung.phi for rung in ladder.rungs] == sorted(rung.phi for rung in ladder.rungs)
    assert {ladder.rung(name).name for name in ladder.knots} == set(ladder.knots)
    with pytest.raises(ValueError, match=r"^no size 'xxl'"):
        ladder.rung("xxl")
    with pytest.raises(ValueError, match=r"^no size 'xxl'"):
        ladder.member("xxl")


@pytest.mark.parametrize(("depth", "seed"), [(1.0, 0), (1.8, 1), (3.1, 2)])
def test_shallower_undoes_depth_alone(depth: float, seed: int) -> None:
    print(f"{seed=}")
    network = get_space("efficientnetv2", scale="b0").sample(random.Random(seed))
    assert shallower(compound(network, depth=depth), depth) == network
