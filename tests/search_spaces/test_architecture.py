"""The value and its text form: what is read is what was written, and everything else is refused in one line."""

import copy
import pickle
import random
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models._efficientnet_builder import decode_arch_def

from search_spaces import catalog
from search_spaces.architecture import Architecture, Stage, parse, parse_stage

V2_S = (
    "stem24-er_r2_k3_s1_e1_c24-er_r4_k3_s2_e4_c48-er_r4_k3_s2_e4_c64-ir_r6_k3_s2_e4_c128_se0.25-"
    "ir_r9_k3_s1_e6_c160_se0.25-ir_r15_k3_s2_e6_c256_se0.25-head1280@300"
)
STAGE: dict[str, Any] = {
    "block": "ir",
    "num_repeats": 2,
    "kernel_size": 3,
    "stride": 2,
    "expand_ratio": 4,
    "out_channels": 48,
    "se_ratio": 0.25,
}


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    """The message, which must be a single short line."""
    require_one_line(error.value)
    return str(error.value)


def require_one_line(error: ValueError) -> None:
    assert str(error).isprintable()
    assert 0 < len(str(error)) < 400


# --- round trips -----------------------------------------------------------------------------------------------------

counts = st.integers(1, 999_999)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    block, expand_ratio = draw(st.sampled_from(("er", "ir"))), draw(counts | st.just(1))
    takes_se = block == "ir" or expand_ratio > 1
    return Stage(
        block=block,
        num_repeats=draw(counts),
        kernel_size=2 * draw(st.integers(0, 400_000)) + 1,
        stride=draw(st.sampled_from((1, 2))),
        expand_ratio=expand_ratio,
        # Few channels with a small ratio would squeeze them all away.
        out_channels=draw(st.integers(10_000, 999_999)),
        se_ratio=draw(st.integers(0, 10_000)) / 10_000 if takes_se else 0.0,
    )


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    return Architecture(
        stages=tuple(draw(st.lists(stages(), min_size=1, max_size=8))),
        stem_channels=draw(st.integers(10_000, 999_999)),
        head_channels=draw(counts),
        resolution=draw(st.integers(512, 999_999)),
    )


@settings(deadline=None)
@given(architectures())
def test_every_architecture_is_read_back_from_its_text(architecture: Architecture) -> None:
    text = str(architecture)
    assert parse(text) == architecture
    assert str(parse(text)) == text
    assert text.isascii()
    assert not set(text) & set(" \t\n\"'\\$&|;<>()*?[]{}~#!`")  # One word to every shell.


@settings(deadline=None)
@given(stages())
def test_every_stage_is_read_back_from_its_text(stage: Stage) -> None:
    assert parse_stage(str(stage)) == stage


@pytest.mark.parametrize("name", catalog.names())
def test_published_networks_are_read_back_from_their_text(name: str) -> None:
    architecture = catalog.get(name).architecture
    assert parse(str(architecture)) == architecture


def test_a_text_says_every_field() -> None:
    architecture = parse("stem8-er_r1_k3_s1_e1_c16-ir_r2_k5_s2_e6_c24_se0.25-head32@64")
    assert architecture == Architecture(
        stages=(
            Stage(block="er", num_repeats=1, kernel_size=3, stride=1, expand_ratio=1, out_channels=16, se_ratio=0.0),
            Stage(block="ir", num_repeats=2, kernel_size=5, stride=2, expand_ratio=6, out_channels=24, se_ratio=0.25),
        ),
        stem_channels=8,
        head_channels=32,
        resolution=64,
    )


def test_published_v2_s_is_written_as_documented() -> None:
    assert str(catalog.get("efficientnetv2-s").architecture) == V2_S


@pytest.mark.parametrize("ratio", ["0.25", "0.5", "0.0625", "0.0001", "0.9999", "1"])
def test_se_ratios_are_kept_to_the_digit(ratio: str) -> None:
    text = f"ir_r1_k3_s1_e4_c16000_se{ratio}"
    stage = parse_stage(text)
    assert (str(stage), stage.se_ratio) == (text, float(ratio))


def test_no_se_is_not_written() -> None:
    assert str(Stage(**STAGE | {"se_ratio": 0})) == str(Stage(**STAGE | {"se_ratio": 0.0})) == "ir_r2_k3_s2_e4_c48"


# --- a value ---------------------------------------------------------------------------------------------------------


def test_equal_architectures_are_one_key() -> None:
    known = {parse(V2_S): "first", parse(V2_S.replace("@300", "@301")): "second"}
    assert known[parse(V2_S)] == "first"
    assert len(known) == 2


@pytest.mark.parametrize("value", [parse(V2_S), parse(V2_S).stages[3]])
def test_values_are_frozen(value: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, next(iter(value.__dataclass_fields__)), None)
    with pytest.raises((AttributeError, TypeError)):
        value.nickname = "no such field"


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_and_pickles_are_equal(clone: Callable[[object], object]) -> None:
    """Workers get architectures through pickle."""
    assert clone(parse(V2_S)) == parse(V2_S)


def test_replace_checks_again() -> None:
    with pytest.raises(ValueError, match="resolution must be at least the total stride 32, got 31"):
        replace(parse(V2_S), resolution=31)


def test_total_stride_is_the_product_of_all_strides() -> None:
    assert parse(V2_S).total_stride == 32
    assert parse("stem8-er_r3_k3_s1_e1_c16-head32@2").total_stride == 2


def test_a_stage_is_named_as_in_papers() -> None:
    assert [stage.block_name for stage in parse(V2_S).stages[:4:3]] == ["Fused-MBConv1 k3", "MBConv4 k3"]


# --- malformed text --------------------------------------------------------------------------------------------------

# A stage in the middle of an otherwise sound text -> what the message must name: the rule, then the value.
BAD_STAGES = {
    "ir_r2_k3_s2_e4_x5_c48": ("unknown key", "'x'"),
    "ir_r2_k3_s2_e4_c48_n7": ("unknown key", "'n'"),
    "ir_r2_k3_s2_e4_c48_noskip": ("unknown key", "'noskip'"),
    "ir_r2_k3_s2_e4_c48_c48": ("doubled key", "'c'"),
    "ir_r2_r2_k3_s2_e4_c48": ("doubled key", "'r'"),
    "ir_r2_k3_s2_e4_c48_se0.25_se0.25": ("doubled key", "'se'"),
    "ir_r2_k4_s2_e4_c48": ("odd", "4"),
    "ir_r0_k3_s2_e4_c48": ("num_repeats", "'0'"),
    "ir_r2_k0_s2_e4_c48": ("kernel_size", "'0'"),
    "ir_r2_k3_s0_e4_c48": ("stride", "'0'"),
    "ir_r2_k3_s3_e4_c48": ("stride must be 1 or 2", "3"),
    "ir_r2_k3_s2_e0_c48": ("expand_ratio", "'0'"),
    "ir_r2_k3_s2_e4_c0": ("out_channels", "'0'"),
    "ir_k3_s2_e4_c48": ("missing key", "'r'"),
    "ir_r2_s2_e4_c48": ("missing key", "'k'"),
    "ir_r2_k3_e4_c48": ("missing key", "'s'"),
    "ir_r2_k3_s2_c48": ("missing key", "'e'"),
    "ir_r2_k3_s2_e4": ("missing key", "'c'"),
    "ir": ("missing key", "'ir'"),
    "": ("begins with 'er' or 'ir'", "''"),
    "xr_r2_k3_s2_e4_c48": ("begins with 'er' or 'ir'", "'xr'"),
    "ds_r2_k3_s2_e1_c48": ("begins with 'er' or 'ir'", "'ds'"),
    "IR_r2_k3_s2_e4_c48": ("begins with 'er' or 'ir'", "'IR'"),
    "ir_R2_k3_s2_e4_c48": ("a key and a number", "'R2'"),
    "ir_r2_k3_s2_e4_c48_": ("a key and a number", "''"),
    "ir__r2_k3_s2_e4_c48": ("a key and a number", "''"),
    "ir_r2_k3_s2_e4_c48 ": ("a key and a number", "'c48 '"),
    " ir_r2_k3_s2_e4_c48": ("begins with 'er' or 'ir'", "' ir'"),
    "ir_r2_k3_s2_e4_c48\n": ("a key and a number", r"'c48\n'"),
    "ir_r2_k3\n_s2_e4_c48": ("a key and a number", r"'k3\n'"),
    "ir_r2_3_s2_e4_c48": ("a key and a number", "'3'"),
    "ir_r2_k3_s2_e4_c48.5": ("out_channels", "'48.5'"),
    "ir_r2_k_s2_e4_c48": ("kernel_size", "''"),
    "ir_r02_k3_s2_e4_c48": ("num_repeats", "'02'"),
    "ir_r2_k3_s2_e4_c+48": ("a key and a number", "'c+48'"),
    "ir_r2_k3_s2_e4_c4_8": ("a key and a number", "'8'"),
    "ir_r٢_k3_s2_e4_c48": ("a key and a number", "'r٢'"),  # ARABIC-INDIC DIGIT TWO
    "ir_r2_k3_s2_e4_c¹": ("a key and a number", "'c¹'"),
    "ir_r2_k3_s2_e4_c1000000": ("out_channels", "'1000000'"),
    "ir_r2_k3_s2_e4_c" + "9" * 100_000: ("out_channels", "'99999999999999999999'"),
    "ir_" + "x" * 100_000 + "2_k3_s2_e4_c48": ("unknown key", "'xxxxxxxxxxxxxxxxxxxx'"),
    "ir_k3_r2_s2_e4_c48": ("order r k s e c se", "k r s e c"),
    "ir_r2_k3_s2_e4_se0.25_c48": ("order r k s e c se", "r k s e se c"),
    "ir_r2_k3_s2_e4_c48_se": ("se_ratio", "''"),
    "ir_r2_k3_s2_e4_c48_se0": ("se_ratio", "'0'"),
    "ir_r2_k3_s2_e4_c48_se0.0": ("se_ratio", "'0.0'"),
    "ir_r2_k3_s2_e4_c48_se0.250": ("se_ratio", "'0.250'"),
    "ir_r2_k3_s2_e4_c48_se.25": ("se_ratio", "'.25'"),
    "ir_r2_k3_s2_e4_c48_se00.25": ("se_ratio", "'00.25'"),
    "ir_r2_k3_s2_e4_c48_se0.2.5": ("se_ratio", "'0.2.5'"),
    "ir_r2_k3_s2_e4_c48_se1.0": ("se_ratio", "'1.0'"),
    "ir_r2_k3_s2_e4_c48_se1.5": ("se_ratio", "'1.5'"),
    "ir_r2_k3_s2_e4_c48_se2": ("se_ratio", "'2'"),
    "ir_r2_k3_s2_e4_c48_senan": ("unknown key", "'senan'"),
    "ir_r2_k3_s2_e4_c48_se1e1": ("a key and a number", "'se1e1'"),
    "ir_r2_k3_s2_e4_c48_se0.12345": ("se_ratio", "'0.12345'"),
    "ir_r2_k3_s2_e4_c48_se0.00001": ("se_ratio", "'0.00001'"),
    "ir_r2_k3_s2_e4_c48_se0." + "0" * 400 + "1": ("se_ratio", "'0.000000000000000000'"),  # As a float it is 0.
    "ir_r2_k3_s2_e4_c48_se0.01": ("stage 1", "0.01"),
    "er_r2_k3_s2_e1_c48_se0.25": ("Fused-MBConv with expand_ratio 1", "0.25"),
}


@pytest.mark.parametrize("stage", BAD_STAGES, ids=lambda stage: stage[:40])
def test_a_malformed_stage_is_refused_by_rule_and_value(stage: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(f"stem24-{stage}-head1280@300")
    message = one_line(error)
    assert all(part in message for part in BAD_STAGES[stage]), message


BAD_TEXTS = {
    "": ("an architecture is a text", "''"),
    " ": ("begins with its stem", "' '"),
    "\n": ("begins with its stem", r"'\n'"),
    "efficientnetv2": ("begins with its stem", "'efficientnetv2'"),
    "stem24": ("ends with its head", "'stem24'"),
    "stem24-": ("ends with its head", "''"),
    "stem24-head1280@300": ("1 to 99 stages", "got 0"),
    "stem24-ir_r1_k3_s1_e1_c24": ("ends with its head", "'ir_r1_k3_s1_e1_c24'"),
    "ir_r1_k3_s1_e1_c24-head1280@300": ("begins with its stem", "'ir_r1_k3_s1_e1_c24'"),
    "stem-ir_r1_k3_s1_e1_c24-head1280@300": ("begins with its stem", "'stem'"),
    "stem0-ir_r1_k3_s1_e1_c24-head1280@300": ("stem channels", "'0'"),
    "stem024-ir_r1_k3_s1_e1_c24-head1280@300": ("stem channels", "'024'"),
    "stem٢٤-ir_r1_k3_s1_e1_c24-head1280@300": ("begins with its stem", "'stem٢٤'"),
    "Stem24-ir_r1_k3_s1_e1_c24-head1280@300": ("begins with its stem", "'Stem24'"),
    V2_S.upper(): ("begins with its stem", "'STEM24'"),
    " " + V2_S: ("begins with its stem", "' stem24'"),
    V2_S + "\n": ("ends with its head", r"'head1280@300\n'"),
    V2_S + "x": ("ends with its head", "'head1280@300x'"),
    V2_S + "-": ("ends with its head", "''"),
    V2_S + "@300": ("ends with its head", "'head1280@300@300'"),
    V2_S + V2_S: ("begins with 'er' or 'ir'", "'head1280@300stem24'"),
    V2_S.replace("@300", ""): ("ends with its head", "'head1280'"),
    V2_S.replace("@300", "@"): ("ends with its head", "'head1280@'"),
    V2_S.replace("@300", "@0"): ("resolution", "'0'"),
    V2_S.replace("@300", "@0300"): ("resolution", "'0300'"),
    V2_S.replace("@300", "@300.0"): ("ends with its head", "'head1280@300.0'"),
    V2_S.replace("@300", "@31"): ("total stride 32", "31"),
    V2_S.replace("@300", "@" + "9" * 5000): ("resolution", "'99999999999999999999'"),
    V2_S.replace("head1280", "head0"): ("head channels", "'0'"),
    V2_S.replace("head1280", "head"): ("ends with its head", "'head@300'"),
    V2_S.replace("head1280", "head-1280"): ("ends with its head", "'1280@300'"),
    V2_S.replace("se0.25-head", "se1e-1-head"): ("a key and a number", "'se1e'"),
    V2_S.replace("-", "--", 1): ("begins with 'er' or 'ir'", "''"),
    V2_S.replace("-", "+", 1): ("begins with its stem", "'stem24+er_r2_k3_s1_e1_c24'"),
    "stem24" + "-ir_r1_k3_s2_e1_c24" * 20_000 + "-head1280@300": ("1 to 99 stages", "got 20000"),
}


@pytest.mark.parametrize("text", BAD_TEXTS, ids=lambda text: text[:40])
def test_a_malformed_text_is_refused_by_rule_and_value(text: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(text)
    message = one_line(error)
    assert all(part in message for part in BAD_TEXTS[text]), message


@pytest.mark.parametrize("value", [None, 3, 3.5, True, b"stem24", ["stem24"], Path("stem24"), ()])
def test_what_is_no_text_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="an architecture is a text") as error:
        parse(value)
    assert repr(value) in one_line(error)


@pytest.mark.parametrize("seed", range(20))
def test_a_text_with_a_slip_is_refused_in_one_line_or_means_exactly_what_it_says(seed: int) -> None:
    """Never a text that is read as something else: whatever is accepted is written the same again."""
    print(f"{seed=}")
    rng = random.Random(seed)
    answers = [read(with_slip(V2_S, rng)) for _ in range(200)]
    assert {type(answer) for answer in answers} == {Architecture, ValueError}


def read(text: str) -> Architecture | ValueError:
    try:
        architecture = parse(text)
    except ValueError as error:
        require_one_line(error)
        return error
    assert str(architecture) == text
    return architecture


def with_slip(text: str, rng: random.Random) -> str:
    place, letter = rng.randrange(len(text)), rng.choice("0123456789._-@ercskhadtmi \n\u0663")
    return text[:place] + rng.choice(("", letter, text[place] + letter)) + text[place + 1 :]


# --- wrong values, given directly ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["num_repeats", "kernel_size", "stride", "expand_ratio", "out_channels"])
@pytest.mark.parametrize(
    "value", [True, 1.0, "1", None, 0, -1, 1_000_000, float("nan"), [1], np.int64(1), Decimal(1), Fraction(1)], ids=repr
)
def test_a_stage_takes_whole_numbers_only(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as error:
        Stage(**STAGE | {name: value})
    assert repr(value) in one_line(error)


@pytest.mark.parametrize("value", ["xr", "", "IR", "mbconv", None, 0, ["ir"], {"ir": 1}], ids=repr)
def test_a_stage_takes_known_blocks_only(value: Any) -> None:
    with pytest.raises(ValueError, match="block must be") as error:
        Stage(**STAGE | {"block": value})
    assert repr(value) in one_line(error)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "0.25",
        None,
        -0.25,
        1.5,
        2,
        float("nan"),
        float("inf"),
        1 / 3,
        0.12345,
        0.00001,
        np.float64(0.25),
        [],
    ],
    ids=repr,
)
def test_a_stage_takes_se_ratios_it_can_write_only(value: Any) -> None:
    with pytest.raises(ValueError, match="se_ratio must lie in") as error:
        Stage(**STAGE | {"se_ratio": value})
    assert repr(value) in one_line(error)


@pytest.mark.parametrize("name", ["stem_channels", "head_channels", "resolution"])
@pytest.mark.parametrize("value", [True, 64.0, "64", None, 0, -64, 1_000_000, np.int64(64)], ids=repr)
def test_an_architecture_takes_whole_numbers_only(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as error:
        replace(parse(V2_S), **{name: value})
    assert repr(value) in one_line(error)


@pytest.mark.parametrize("value", [[Stage(**STAGE)], None, "ir", Stage(**STAGE), ("ir",), (Stage(**STAGE), None)])
def test_an_architecture_takes_a_tuple_of_stages_only(value: Any) -> None:
    with pytest.raises(ValueError, match="stages must be a tuple of Stage") as error:
        Architecture(stages=value)
    assert repr(value) in one_line(error)


@pytest.mark.parametrize("number", [0, 100, 20_000])
def test_an_architecture_has_a_number_of_stages_one_can_write(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 99 stages") as error:
        Architecture(stages=(Stage(**STAGE),) * number)
    assert str(number) in one_line(error)


def test_squeeze_and_excitation_keeps_a_channel() -> None:
    assert parse("stem4-ir_r1_k3_s1_e4_c8_se0.25-head8@32").stages[0].se_ratio == 0.25
    with pytest.raises(ValueError, match=r"stage 2 has 3 input channels, got se_ratio 0\.25"):
        parse("stem4-ir_r1_k3_s1_e4_c3_se0.25-ir_r1_k3_s1_e4_c8_se0.25-head8@32")


# --- timm's dialect --------------------------------------------------------------------------------------------------

# Ours -> timm's text, and what timm reads from it: block type, and the arguments that matter there.
DIALECT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "er_r2_k3_s1_e1_c24": ("cn_r2_k3_s1_e1_c24_skip", "cn", {"kernel_size": 3, "skip": True}),
    "er_r2_k5_s2_e4_c24": ("er_r2_k5_s2_e4_c24", "er", {"exp_kernel_size": 5, "exp_ratio": 4.0, "se_ratio": 0.0}),
    "ir_r2_k5_s2_e6_c24_se0.25": (
        "ir_r2_k5_s2_e6_c24_se0.25",
        "ir",
        {"dw_kernel_size": 5, "exp_ratio": 6.0, "se_ratio": 0.25, "noskip": False},
    ),
    "ir_r2_k3_s1_e1_c24": ("ds_r2_k3_s1_e1_c24", "ds", {"dw_kernel_size": 3, "se_ratio": 0.0, "noskip": False}),
    "ir_r2_k3_s1_e1_c24_se0.5": ("ds_r2_k3_s1_e1_c24_se0.5", "ds", {"dw_kernel_size": 3, "se_ratio": 0.5}),
}


@pytest.mark.parametrize("text", DIALECT)
def test_timm_reads_what_we_mean(text: str) -> None:
    timms, block_type, arguments = DIALECT[text]
    stage = parse_stage(text)
    strings = Architecture(stages=(stage,), stem_channels=24).to_timm()
    assert strings == [[timms]]
    blocks = decode_arch_def(strings)[0]
    assert len(blocks) == stage.num_repeats
    assert blocks[0]["block_type"] == block_type
    assert (blocks[0]["out_chs"], blocks[0]["stride"]) == (stage.out_channels, stage.stride)
    assert {name: blocks[0][name] for name in arguments} == arguments


def test_timm_gets_one_string_a_stage_in_order() -> None:
    strings = parse(V2_S).to_timm()
    assert strings[0] == ["cn_r2_k3_s1_e1_c24_skip"]
    assert strings[1:] == [[text] for text in V2_S.split("-")[2:-1]]
