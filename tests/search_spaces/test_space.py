"""One contract for every space, and what each named space promises."""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from search_spaces import catalog
from search_spaces.architecture import Architecture, Stage, parse
from search_spaces.efficientnet_v2 import efficientnet_v2
from search_spaces.mnasnet import mnasnet
from search_spaces.named_spaces import get_space, space_names
from search_spaces.space import SearchSpace, StageChoices, Value
from search_spaces.space_file import space_from_mapping
from search_spaces.strict_yaml import parse_yaml

OWN = """
name: mine
resolution: 48
stem_channels: 16
head_channels: 64
stages:
  - {out_channels: 16, stride: 1, num_repeats: 1, block: er, expand_ratio: 1}
  - {out_channels: 24, stride: 2, num_repeats: [1, 2], kernel_size: 3}
  - {out_channels: 40, stride: 2, num_repeats: [2, 3], block: [er, ir], expand_ratio: [2, 4], se_ratio: [0, 0.25, 0.5]}
"""

# The last two are where an architecture could be counted twice: SE is open, and Fused-MBConv never has it.
SPACES: dict[str, Callable[[], SearchSpace]] = {
    "v2 b0": lambda: efficientnet_v2(scale="b0"),
    "v2 b3": lambda: efficientnet_v2(scale="b3"),
    "v2 s": lambda: efficientnet_v2(scale="s"),
    "v2 s offset": lambda: efficientnet_v2(scale="s", layers="offset"),
    "v2 m": lambda: efficientnet_v2(scale="m"),
    "v2 quarter": lambda: efficientnet_v2(scale=(0.25, 0.5)),
    "v2 quarter offset": lambda: efficientnet_v2(scale=[0.25, 0.5], layers="offset", resolution=32),
    "mnasnet": lambda: mnasnet(),
    "mnasnet 128": lambda: mnasnet(resolution=128),
    "one member": lambda: small_space(block=("er",), expand_ratio=(1,), kernel_size=(3,)),
    "fused only": lambda: small_space(block=("er",), se_ratio=(0.25, 0.5)),
    "own": lambda: space_from_mapping(parse_yaml(OWN)),
    "small": lambda: small_space(num_repeats=(1, 2), se_ratio=(0.0, 0.25)),
}
SAMPLES = 1_000


def small_space(**choices: Any) -> SearchSpace:
    first: dict[str, Any] = {"out_channels": 16, "stride": 2, "num_repeats": (1,)} | choices
    stages = (
        StageChoices(**first),
        StageChoices(out_channels=24, stride=1, num_repeats=(2,), kernel_size=(3,), expand_ratio=(4,), block=("ir",)),
    )
    backbone = Architecture(
        stages=tuple(stage.stage({axis: getattr(stage, axis)[-1] for axis in AXES}) for stage in stages),
        stem_channels=8,
        head_channels=32,
        resolution=16,
    )
    return SearchSpace(name="small", stages=stages, stem_channels=8, head_channels=32, resolution=16, backbone=backbone)


AXES = ("block", "num_repeats", "kernel_size", "expand_ratio", "se_ratio")


def members(space: SearchSpace, names: Sequence[str]) -> set[Architecture]:
    """Every architecture that these parameters reach from the backbone, listed one by one."""
    start = space.to_params(space.backbone)
    values = [space.choices[name] for name in names]
    return {space.from_params(start | dict(zip(names, chosen, strict=True))) for chosen in product(*values)}


def refused(space: SearchSpace, params: dict[str, Any]) -> str:
    with pytest.raises(ValueError) as error:
        space.from_params(params)
    assert str(error.value).isprintable()
    return str(error.value)


def chi_square(counts: Counter[Any], values: Sequence[Any]) -> float:
    """Pearson's statistic against equal chances; with n values its mean is n - 1, its variance 2(n - 1)."""
    expected = counts.total() / len(values)
    assert set(counts) <= set(values)
    return sum((counts[value] - expected) ** 2 / expected for value in values)


def require_equal_chances(counts: Counter[Any], values: Sequence[Any]) -> None:
    freedom = len(values) - 1
    assert chi_square(counts, values) <= freedom + 5 * math.sqrt(2 * freedom) + 5, counts


@pytest.mark.parametrize("space", [pytest.param(make(), id=name) for name, make in SPACES.items()])
class TestEverySpace:
    def test_samples_are_members(self, space: SearchSpace) -> None:
        for seed in range(50):
            print(f"{seed=}")
            assert space.contains(space.sample(random.Random(seed)))

    def test_the_same_seed_draws_the_same_sequence(self, space: SearchSpace) -> None:
        first, second = random.Random(1), random.Random(1)
        assert [space.sample(first) for _ in range(5)] == [space.sample(second) for _ in range(5)]

    def test_parameters_and_architecture_are_two_views_of_one_thing(self, space: SearchSpace) -> None:
        for seed in range(50):
            print(f"{seed=}")
            architecture = space.sample(random.Random(seed))
            params = space.to_params(architecture)
            assert space.from_params(params) == architecture
            assert space.to_params(space.from_params(params)) == params
            assert list(params) == list(space.choices)
            assert all(params[name] in values for name, values in space.choices.items())

    def test_an_encoded_member_comes_back(self, space: SearchSpace) -> None:
        for seed in range(50):
            print(f"{seed=}")
            architecture = space.sample(random.Random(seed))
            places = space.encode(architecture)
            assert len(places) == len(space.choices)
            assert space.decode(places) == architecture
            params = space.to_params(architecture)
            assert [values[place] for values, place in zip(space.choices.values(), places, strict=True)] == [
                *params.values()
            ]

    def test_places_of_numpy_are_decoded_too(self, space: SearchSpace) -> None:
        assert space.decode(np.array(space.encode(space.backbone), dtype=np.int64)) == space.backbone

    def test_places_that_are_none_are_refused(self, space: SearchSpace) -> None:
        places = space.encode(space.backbone)
        wrong = [(*places, 0), (*places[:-1], 99), (*places[:-1], -1), places[:-1] if places else (0,)]
        for each in wrong:
            with pytest.raises(ValueError, match=r"^places must be .*, got ") as error:
                space.decode(each)
            assert str(error.value).isprintable()

    def test_a_stranger_is_not_encoded(self, space: SearchSpace) -> None:
        with pytest.raises(ValueError, match="head_channels must be"):
            space.encode(replace(space.backbone, head_channels=space.head_channels + 8))

    def test_a_sample_survives_its_text(self, space: SearchSpace) -> None:
        architecture = space.sample(random.Random(0))
        assert parse(str(architecture)) == architecture

    def test_parameters_are_what_any_sampler_and_storage_can_hold(self, space: SearchSpace) -> None:
        for name, values in space.choices.items():
            assert name.isidentifier()
            assert len(values) > 1
            assert {type(value) for value in values} <= {str, int, float}

    def test_size_is_the_number_of_different_architectures(self, space: SearchSpace) -> None:
        """Stages are independent, so listing each stage's variants one by one tells the whole number."""
        prefixes = [f"stage{number}_" for number in range(1, len(space.stages) + 1)]
        listed = [members(space, [name for name in space.choices if name.startswith(prefix)]) for prefix in prefixes]
        assert space.size == math.prod(map(len, listed))

    def test_the_backbone_is_a_member(self, space: SearchSpace) -> None:
        assert space.contains(space.backbone)
        assert space.from_params(space.to_params(space.backbone)) == space.backbone

    def test_all_members_have_the_backbones_stem_widths_strides_head_and_size(self, space: SearchSpace) -> None:
        def frame(architecture: Architecture) -> tuple[Any, ...]:
            widths = [(stage.out_channels, stage.stride) for stage in architecture.stages]
            return widths, architecture.stem_channels, architecture.head_channels, architecture.resolution

        assert {str(frame(space.sample(random.Random(seed)))) for seed in range(20)} == {str(frame(space.backbone))}

    def test_no_fused_block_has_se(self, space: SearchSpace) -> None:
        stages = [stage for seed in range(50) for stage in space.sample(random.Random(seed)).stages]
        assert {stage.se_ratio for stage in stages if stage.block == "er"} <= {0.0}

    def test_every_choice_is_drawn_with_equal_chances(self, space: SearchSpace) -> None:
        seed = 20261121
        print(f"{seed=}")
        rng = random.Random(seed)
        drawn = [space.sample(rng) for _ in range(SAMPLES)]
        for name, values in space.choices.items():
            number, axis = int(name[5 : name.index("_")]), name[name.index("_") + 1 :]
            stages = [architecture.stages[number - 1] for architecture in drawn]
            if axis == "se_ratio":
                stages = [stage for stage in stages if stage.block == "ir"]
            if stages:
                require_equal_chances(Counter(getattr(stage, axis) for stage in stages), values)

    def test_what_differs_in_the_frame_is_no_member(self, space: SearchSpace) -> None:
        backbone = space.backbone
        last = replace(backbone.stages[-1], out_channels=backbone.stages[-1].out_channels + 8)
        strangers = [
            replace(backbone, stem_channels=backbone.stem_channels + 8),
            replace(backbone, head_channels=backbone.head_channels + 8),
            replace(backbone, resolution=backbone.resolution + 1),
            replace(backbone, stages=(*backbone.stages[:-1], last)),
            replace(backbone, stages=(*backbone.stages, replace(last, stride=1))),
            replace(backbone, stages=backbone.stages[:-1]),
        ]
        assert not any(map(space.contains, strangers))

    def test_a_fused_stage_with_se_is_no_member(self, space: SearchSpace) -> None:
        """No member has one; an architecture that is called a member is given back as it was."""
        stages = tuple(replace(stage, block="er", expand_ratio=4, se_ratio=0.25) for stage in space.backbone.stages)
        assert not space.contains(replace(space.backbone, stages=stages))

    def test_missing_unknown_and_wrong_parameters_are_named(self, space: SearchSpace) -> None:
        params = space.to_params(space.backbone)
        message = refused(space, params | {"stage1_colour": 3})
        assert "'stage1_colour'" in message
        assert space.name in message
        for name in space.choices:
            assert f"{name!r}" in refused(space, {key: value for key, value in params.items() if key != name})
            for wrong in ("xr", 99, 0.33, -1, None, [3], float("nan"), True):
                message = refused(space, params | {name: wrong})
                assert name.split("_", 1)[1] in message
                assert repr(wrong) in message

    def test_it_can_be_a_key(self, space: SearchSpace) -> None:
        assert {space: 1}[space] == 1


@pytest.mark.parametrize(
    ("name", "size"), [("one member", 1), ("fused only", 2 * 3), ("small", 2 * 2 * 3 * 3), ("own", 2 * 12 * 32)]
)
def test_size_equals_the_length_of_a_full_list(name: str, size: int) -> None:
    """Counted by hand, too: "small" is 2 layer counts × 2 kernels × 3 expansions × 3 (MBConv, with SE, Fused)."""
    space = SPACES[name]()
    listed = members(space, list(space.choices))
    assert space.size == len(listed) == size
    assert all(map(space.contains, listed))


def test_choices_are_drawn_independently() -> None:
    """Every pair of values of two choices is as likely as any other."""
    seed = 7
    print(f"{seed=}")
    rng, space = random.Random(seed), efficientnet_v2(scale="b0")
    drawn = [space.sample(rng).stages for _ in range(3_000)]
    pairs = [(a, b) for a in (3, 5) for b in (1, 4, 6)]
    require_equal_chances(Counter((stages[0].kernel_size, stages[0].expand_ratio) for stages in drawn), pairs)
    require_equal_chances(Counter((stages[1].kernel_size, stages[4].expand_ratio) for stages in drawn), pairs)


# --- EfficientNetV2 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["ratio", "offset"])
@pytest.mark.parametrize("scale", ["b0", "b1", "b2", "b3", "s", "m", "l", "xl"])
def test_the_published_network_lies_in_the_space_and_is_not_its_backbone(scale: str, layers: str) -> None:
    space = efficientnet_v2(scale=scale, layers=layers)
    published = catalog.get(f"efficientnetv2-{scale}").architecture
    assert space.contains(published)
    assert space.from_params(space.to_params(published)) == published
    assert space.backbone != published


def test_the_backbone_at_scale_s_is_all_mbconv_with_efficientnets_kernels() -> None:
    """V2-S's widths, depths and strides (Table 4 as released), B0's kernels 3 3 5 3 5 5 (arXiv:1905.11946, Table 1)."""
    assert str(efficientnet_v2(scale="s").backbone) == (
        "stem24-ir_r2_k3_s1_e1_c24_se0.25-ir_r4_k3_s2_e6_c48_se0.25-ir_r4_k5_s2_e6_c64_se0.25-"
        "ir_r6_k3_s2_e6_c128_se0.25-ir_r9_k5_s1_e6_c160_se0.25-ir_r15_k5_s2_e6_c256_se0.25-head1280@300"
    )


def test_the_backbone_at_a_pair_is_v2_b0_multiplied() -> None:
    """Widths 16 32 48 96 112 192 × ¼ to multiples of 8, layers 1 2 2 3 5 8 × ½ upwards, worked out by hand."""
    assert str(efficientnet_v2(scale=(0.25, 0.5)).backbone) == (
        "stem8-ir_r1_k3_s1_e1_c8_se0.25-ir_r1_k3_s2_e6_c8_se0.25-ir_r1_k5_s2_e6_c16_se0.25-"
        "ir_r2_k3_s2_e6_c24_se0.25-ir_r3_k5_s1_e6_c32_se0.25-ir_r4_k5_s2_e6_c48_se0.25-head320@192"
    )


def test_a_pair_of_ones_is_b0() -> None:
    assert efficientnet_v2(scale=(1, 1)) == efficientnet_v2(scale="b0")


@pytest.mark.parametrize("scale", ["b0", "s", "m", "xl"])
def test_the_backbones_kernels_are_those_of_efficientnet(scale: str) -> None:
    kernels = [stage.kernel_size for stage in catalog.get("efficientnet-b0").architecture.stages]
    backbone = efficientnet_v2(scale=scale).backbone
    assert [stage.kernel_size for stage in backbone.stages] == kernels[: len(backbone.stages)]
    assert [stage.expand_ratio for stage in backbone.stages] == [1] + [6] * (len(backbone.stages) - 1)
    assert {(stage.block, stage.se_ratio) for stage in backbone.stages} == {("ir", 0.25)}


def test_every_stage_has_the_papers_choices() -> None:
    space = efficientnet_v2(scale="s")
    for number in range(1, 7):
        assert sorted(space.choices[f"stage{number}_block"]) == ["er", "ir"]
        assert space.choices[f"stage{number}_kernel_size"] == (3, 5)
        assert space.choices[f"stage{number}_expand_ratio"] == (1, 4, 6)
        assert f"stage{number}_se_ratio" not in space.choices


def test_layer_rules() -> None:
    """½, ¾, 1 and 1¼ of V2-S's 2 4 4 6 9 15 layers, upwards and each once; or one less and one more."""
    ratio = [stage.num_repeats for stage in efficientnet_v2(scale="s").stages]
    assert ratio == [(1, 2, 3), (2, 3, 4, 5), (2, 3, 4, 5), (3, 5, 6, 8), (5, 7, 9, 12), (8, 12, 15, 19)]
    offset = [stage.num_repeats for stage in efficientnet_v2(scale="s", layers="offset").stages]
    assert offset == [(1, 2, 3), (3, 4, 5), (3, 4, 5), (5, 6, 7), (8, 9, 10), (14, 15, 16)]
    one_layer = efficientnet_v2(scale="b0", layers="offset").stages[0]
    assert one_layer.num_repeats == (1, 2)


def test_resolution_is_the_users() -> None:
    space = efficientnet_v2(scale="s", resolution=128)
    published = catalog.get("efficientnetv2-s").architecture
    assert space.backbone.resolution == space.sample(random.Random(0)).resolution == 128
    assert space.contains(replace(published, resolution=128))
    assert not space.contains(published)


# --- MnasNet ---------------------------------------------------------------------------------------------------------


def test_mnasnet_has_efficientnet_b0_as_backbone_and_se_as_a_choice() -> None:
    space = mnasnet()
    assert space.backbone == catalog.get("efficientnet-b0").architecture
    assert [set(stage.block) for stage in space.stages] == [{"ir"}] * 7
    # 2 kernels × 3 expansions × 2 (SE), and 3 layers, in stage 6 four.
    assert space.size == 12**7 * 3**6 * 4
    assert space.contains(
        replace(space.backbone, stages=tuple(replace(s, se_ratio=0.0) for s in space.backbone.stages))
    )


# --- by name ---------------------------------------------------------------------------------------------------------


def test_names_lead_to_the_spaces() -> None:
    assert space_names() == ("efficientnetv2", "mnasnet")
    assert get_space("efficientnetv2") == efficientnet_v2(scale="s")
    assert get_space("efficientnetv2", scale="b0", layers="offset", resolution=64) == efficientnet_v2(
        scale="b0", layers="offset", resolution=64
    )
    assert get_space("mnasnet", resolution=64) == mnasnet(resolution=64)


# Arguments of get_space -> what the message must name.
BAD_CALLS: list[tuple[Any, dict[str, Any], tuple[str, ...]]] = [
    ("efficientnetv3", {}, ("unknown space", "'efficientnetv3'", "did you mean 'efficientnetv2'?")),
    ("", {}, ("unknown space", "''")),
    (None, {}, ("unknown space", "None")),
    (5, {}, ("unknown space", "5")),
    ("mnasnet", {"scale": "s"}, ("no option 'scale'",)),
    ("efficientnetv2", {"depth": 2}, ("no option 'depth'",)),
    ("efficientnetv2", {"scale": "z"}, ("scale", "'z'")),
    ("efficientnetv2", {"scale": "S"}, ("scale", "'S'")),
    ("efficientnetv2", {"scale": ""}, ("scale", "''")),
    ("efficientnetv2", {"scale": 5}, ("scale", "5")),
    ("efficientnetv2", {"scale": None}, ("scale", "None")),
    ("efficientnetv2", {"scale": ()}, ("pair", "()")),
    ("efficientnetv2", {"scale": (1, 2, 3)}, ("pair", "(1, 2, 3)")),
    ("efficientnetv2", {"scale": ("1", "2")}, ("pair", "('1', '2')")),
    ("efficientnetv2", {"scale": {"width": 1, "depth": 1}}, ("pair", "{'width': 1, 'depth': 1}")),
    ("efficientnetv2", {"scale": (0, 1)}, ("scale", "(0, 1)")),
    ("efficientnetv2", {"scale": (1, -1)}, ("scale", "(1, -1)")),
    ("efficientnetv2", {"scale": (math.nan, 1)}, ("scale", "nan")),
    ("efficientnetv2", {"scale": (1, math.inf)}, ("scale", "inf")),
    ("efficientnetv2", {"scale": (1e9, 1)}, ("from 1 to 999999", "16000000000")),
    ("efficientnetv2", {"scale": (1, 1e9)}, ("from 1 to 999999", "1000000000")),
    ("efficientnetv2", {"layers": "half"}, ("layers", "'half'")),
    ("efficientnetv2", {"layers": ["ratio"]}, ("layers", "['ratio']")),
    ("efficientnetv2", {"resolution": 16}, ("total stride 32", "16")),
    ("efficientnetv2", {"resolution": 0}, ("resolution", "0")),
    ("efficientnetv2", {"resolution": "224"}, ("resolution", "'224'")),
    ("mnasnet", {"resolution": 224.0}, ("resolution", "224.0")),
]


@pytest.mark.parametrize(("name", "options", "named"), BAD_CALLS, ids=str)
def test_a_space_that_cannot_be_is_refused_by_rule_and_value(
    name: Any, options: dict[str, Any], named: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError) as error:
        get_space(name, **options)
    message = str(error.value)
    assert message.isprintable()
    assert all(part in message for part in named), message


# --- choices made by hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"kernel_size": (3, 4)}, ("kernel_size must be odd", "4")),
        ({"kernel_size": ()}, ("kernel_size", "()")),
        ({"kernel_size": (3, 3)}, ("kernel_size", "(3, 3)")),
        ({"kernel_size": [3, 5]}, ("kernel_size", "[3, 5]")),
        ({"kernel_size": 3}, ("kernel_size", "3")),
        ({"kernel_size": ([3],)}, ("kernel_size", "[3]")),
        ({"kernel_size": (3.0,)}, ("kernel_size", "3.0")),
        ({"block": ("er", "xr")}, ("block", "'xr'")),
        ({"block": "er"}, ("block", "'er'")),
        ({"expand_ratio": (0,)}, ("expand_ratio", "0")),
        ({"num_repeats": (0, 1)}, ("num_repeats", "0")),
        ({"num_repeats": (1, True)}, ("num_repeats", "True")),
        ({"num_repeats": (np.int64(1),)}, ("num_repeats", "1")),
        ({"se_ratio": (0.25, 2.0)}, ("se_ratio", "2.0")),
        ({"se_ratio": (None,)}, ("se_ratio", "None")),
        ({"stride": 3}, ("stride must be 1 or 2", "3")),
        ({"stride": True}, ("stride", "True")),
        ({"out_channels": 0}, ("out_channels", "0")),
    ],
    ids=str,
)
def test_choices_that_no_stage_may_have_are_refused(choices: dict[str, Any], named: tuple[str, ...]) -> None:
    fields: dict[str, Any] = {"out_channels": 16, "stride": 1, "num_repeats": (1, 2)} | choices
    with pytest.raises(ValueError) as error:
        StageChoices(**fields)
    message = str(error.value)
    assert message.isprintable()
    assert all(part in message for part in named), message


def test_a_space_holds_its_backbone() -> None:
    space = small_space()
    stranger = replace(space.backbone, head_channels=40)
    with pytest.raises(
        ValueError, match=r"the backbone must lie in the space 'small': head_channels must be 32, got 40"
    ):
        replace(space, backbone=stranger)


def test_every_member_of_a_space_can_be_drawn() -> None:
    """The backbone alone would be sound: only a member with SE squeezes 2 channels to none."""
    thin = StageChoices(out_channels=2, stride=1, num_repeats=(1,))
    squeezed = StageChoices(out_channels=8, stride=1, num_repeats=(1,), se_ratio=(0.0, 0.25))
    plain: dict[str, Value] = {"num_repeats": 1, "kernel_size": 3, "expand_ratio": 4, "block": "ir"}
    backbone = Architecture(
        stages=(thin.stage(plain | {"se_ratio": 0.25}), squeezed.stage(plain | {"se_ratio": 0.0})),
        stem_channels=8,
        head_channels=8,
        resolution=32,
    )
    with pytest.raises(ValueError, match="squeeze-and-excitation must keep a channel: stage 2 has 2 input channels"):
        SearchSpace(
            name="thin",
            stages=(thin, squeezed),
            stem_channels=8,
            head_channels=8,
            resolution=32,
            backbone=backbone,
        )


def test_a_space_takes_a_tuple_of_choices_only() -> None:
    space = small_space()
    wrong: list[Any] = [[*space.stages], ("ir",), None]
    for stages in wrong:
        with pytest.raises(ValueError, match="stages must be a tuple of StageChoices"):
            replace(space, stages=stages)


def test_values_of_a_foreign_stage_name_the_rule() -> None:
    choices = StageChoices(out_channels=16, stride=2, num_repeats=(1, 2))
    stage = Stage(block="ir", num_repeats=3, kernel_size=3, stride=2, expand_ratio=4, out_channels=16, se_ratio=0.25)
    with pytest.raises(ValueError, match=r"num_repeats must be one of \(1, 2\), got 3"):
        choices.values_of(stage)
    with pytest.raises(ValueError, match="stride 2 and 16 channels"):
        choices.values_of(replace(stage, num_repeats=1, stride=1))


def test_parameters_come_back_as_they_were_offered() -> None:
    params: dict[str, Value] = efficientnet_v2().to_params(efficientnet_v2().backbone)
    assert {type(value) for value in params.values()} == {str, int}


@pytest.mark.parametrize("name", ["efficientnet-b0", "efficientnetv2-xl", "stem8-er_r1_k3_s1_e1_c8-head32@40"])
def test_a_network_is_a_space_of_one(name: str) -> None:
    space = get_space(name)
    assert (space.size, space.choices) == (1, {})
    assert (
        space.sample(random.Random(0))
        == space.backbone
        == (parse(name) if "@" in name else catalog.get(name).architecture)
    )
    assert get_space(name, resolution=64).backbone.resolution == 64


def test_a_network_takes_no_scale() -> None:
    with pytest.raises(ValueError, match=r"^the space 'efficientnet-b0' has no option 'scale' \(known: resolution\)$"):
        get_space("efficientnet-b0", scale="s")
