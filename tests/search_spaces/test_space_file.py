"""A user's own space: a few lines of YAML, and every mistake in them named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.architecture import parse
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace, StageChoices
from search_spaces.space_file import read_space, space_from_mapping, space_to_mapping

FEW_LINES = """
resolution: 32
stem_channels: 16
head_channels: 128
stages:
  - {out_channels: 16, stride: 1, num_repeats: [1, 2]}
  - {out_channels: 32, stride: 2, num_repeats: [1, 2, 3], block: ir, expand_ratio: [3, 6], se_ratio: [0, 0.25]}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """The space above as plain data, with other top-level values; None takes a key away."""
    mapping = yaml.safe_load(FEW_LINES) | changes
    return {key: value for key, value in mapping.items() if value is not None}


def with_stage(**changes: Any) -> dict[str, Any]:
    """The space above with another second stage."""
    mapping = changed()
    stage = mapping["stages"][1] | changes
    mapping["stages"][1] = {key: value for key, value in stage.items() if value is not None}
    return mapping


def test_a_few_lines_are_a_space(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, FEW_LINES))
    assert space == SearchSpace(
        name="custom",
        stages=(
            StageChoices(out_channels=16, stride=1, num_repeats=(1, 2)),
            StageChoices(
                out_channels=32,
                stride=2,
                num_repeats=(1, 2, 3),
                block=("ir",),
                kernel_size=(3, 5),
                expand_ratio=(3, 6),
                se_ratio=(0, 0.25),
            ),
        ),
        stem_channels=16,
        head_channels=128,
        resolution=32,
        backbone=parse("stem16-ir_r1_k3_s1_e1_c16_se0.25-ir_r1_k3_s2_e3_c32-head128@32"),
    )
    # 2 · 2 · 3 · 2 in stage 1 and 3 · 2 · 2 · 2 in stage 2.
    assert space.size == 24 * 24


def test_the_defaults_are_efficientnetv2s_choices(tmp_path: Path) -> None:
    ours, theirs = read_space(written(tmp_path, FEW_LINES)).stages[0], get_space("efficientnetv2").stages[0]
    assert set(ours.block) == set(theirs.block)
    assert (ours.kernel_size, ours.expand_ratio, ours.se_ratio) == (
        theirs.kernel_size, theirs.expand_ratio, theirs.se_ratio,
    )  # fmt: skip


def test_get_space_reads_a_file_by_path_or_text(tmp_path: Path) -> None:
    path = written(tmp_path, FEW_LINES)
    assert get_space(path) == get_space(str(path)) == read_space(path)
    other = path.rename(tmp_path / "space.txt")
    assert get_space(other) == read_space(other)


def test_a_file_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"takes no options, got \['scale'\]"):
        get_space(written(tmp_path, FEW_LINES), scale="s")


def test_a_backbone_of_ones_own(tmp_path: Path) -> None:
    text = "stem16-er_r2_k5_s1_e6_c16-ir_r3_k5_s2_e6_c32_se0.25-head128@32"
    space = read_space(written(tmp_path, f"name: mine\nbackbone: {text}\n{FEW_LINES}"))
    assert (space.name, str(space.backbone)) == ("mine", text)


@pytest.mark.parametrize("name", ["efficientnetv2", "mnasnet", "few lines"])
def test_writing_and_reading_are_inverse(tmp_path: Path, name: str) -> None:
    space = space_from_mapping(changed()) if name == "few lines" else get_space(name)
    assert space_from_mapping(space_to_mapping(space)) == space
    assert read_space(written(tmp_path, yaml.safe_dump(space_to_mapping(space)))) == space


# A mapping -> what the message must name: key, rule, value.
MALFORMED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (changed(colour="red"), ("unknown key 'colour'",)),
    (changed(head_chanels=1), ("unknown key 'head_chanels'", "head_channels")),
    (changed(resolution=None), ("missing key 'resolution'",)),
    (changed(stem_channels=None), ("missing key 'stem_channels'",)),
    (changed(head_channels=None), ("missing key 'head_channels'",)),
    (changed(stages=None), ("missing key 'stages'",)),
    (changed(stages=[]), ("stages must be a list", "[]")),
    (changed(stages={"a": 1}), ("stages must be a list", "{'a': 1}")),
    (changed(stages="ir"), ("stages must be a list", "'ir'")),
    (changed(stages=["ir_r1_k3"]), ("stage 1 must be a mapping", "'ir_r1_k3'")),
    (changed(name=3), ("name must be a text", "3")),
    (changed(name=""), ("name must be a text", "''")),
    (changed(resolution=32.0), ("resolution", "32.0")),
    (changed(resolution="32"), ("resolution", "'32'")),
    (changed(resolution=True), ("resolution", "True")),
    (changed(resolution=float("nan")), ("resolution", "nan")),
    (changed(resolution=[32]), ("resolution", "[32]")),
    (changed(resolution=3), ("total stride 4", "3")),
    (changed(stem_channels=0), ("stem_channels", "0")),
    (changed(stem_channels=1_000_000), ("stem_channels", "1000000")),
    (changed(head_channels=-1), ("head_channels", "-1")),
    (changed(backbone="stem16"), ("backbone: ", "'stem16'", "ends with its head")),
    (changed(backbone=16), ("backbone: ", "16")),
    (changed(backbone=""), ("backbone: ", "''")),
    (changed(backbone="stem16-ir_r1_k3_s1_e1_c16-head128@32"), ("backbone", "number of stages must be 2", "1")),
    (with_stage(color=1), ("stage 2", "unknown key 'color'")),
    (with_stage(out_channels=None), ("stage 2", "missing key 'out_channels'")),
    (with_stage(stride=None), ("stage 2", "missing key 'stride'")),
    (with_stage(num_repeats=None), ("stage 2", "missing key 'num_repeats'")),
    (with_stage(kernel_size=[3, 4]), ("stage 2", "kernel_size must be odd", "4")),
    (with_stage(kernel_size=[]), ("stage 2", "kernel_size", "()")),
    (with_stage(kernel_size=[3, 3]), ("stage 2", "kernel_size", "(3, 3)")),
    (with_stage(kernel_size=[[3], [5]]), ("stage 2", "kernel_size", "[3]")),
    (with_stage(kernel_size={"min": 3}), ("stage 2", "kernel_size", "{'min': 3}")),
    (with_stage(kernel_size="3"), ("stage 2", "kernel_size", "'3'")),
    (with_stage(num_repeats=[1, 2.0]), ("stage 2", "num_repeats", "2.0")),
    (with_stage(num_repeats=0), ("stage 2", "num_repeats", "0")),
    (with_stage(num_repeats=True), ("stage 2", "num_repeats", "True")),
    (with_stage(expand_ratio=0.5), ("stage 2", "expand_ratio", "0.5")),
    (with_stage(se_ratio=1.5), ("stage 2", "se_ratio", "1.5")),
    (with_stage(se_ratio=[0.25, float("nan")]), ("stage 2", "se_ratio", "nan")),
    (with_stage(se_ratio="0.25"), ("stage 2", "se_ratio", "'0.25'")),
    (with_stage(block="mbconv"), ("stage 2", "block", "'mbconv'")),
    (with_stage(block=[["ir"]]), ("stage 2", "block", "['ir']")),
    (with_stage(stride=3), ("stage 2", "stride must be 1 or 2", "3")),
    (with_stage(stride=[1, 2]), ("stage 2", "stride must be a whole number", "[1, 2]")),
    (with_stage(out_channels=[16, 32]), ("stage 2", "out_channels must be a whole number", "[16, 32]")),
    (with_stage(se_ratio=0.01), ("stage 2 has 16 input channels", "0.01")),
]


@pytest.mark.parametrize(("mapping", "named"), MALFORMED, ids=lambda value: "-".join(value)[:60] if value else "")
def test_a_malformed_space_is_refused_by_key_rule_and_value(
    tmp_path: Path, mapping: dict[str, Any], named: tuple[str, ...]
) -> None:
    path = written(tmp_path, yaml.safe_dump(mapping))
    with pytest.raises(ValueError) as error:
        read_space(path)
    message = str(error.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1
    assert all(part in message for part in named), message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (FEW_LINES + "resolution: 64\n", ":8:1: doubled key 'resolution'"),
        (FEW_LINES.replace("stride: 1,", "stride: 1, stride: 2,"), ":6:35: doubled key 'stride'"),
        (FEW_LINES.replace("  - {out", "\t- {out", 1), ":6:1: "),
        (FEW_LINES.replace("[1, 2]", "&layers [1, 2]").replace("[1, 2, 3]", "*layers"), ":7:48: aliases"),
        (FEW_LINES.replace("32", "!!python/int 32", 1), ":2:13: tags"),
        ("", ": must hold a mapping"),
        ("- a\n", ": must hold a mapping"),
    ],
)
def test_a_mistake_in_the_yaml_is_placed(tmp_path: Path, text: str, place: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ValueError) as error:
        read_space(path)
    assert str(error.value).startswith(f"{path}{place}")


@pytest.mark.parametrize("name", ["missing.yaml", "missing.yml", "folder.yaml"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ValueError) as error:
        get_space(str(tmp_path / name))
    assert str(error.value).isprintable()
    assert str(error.value).count(str(tmp_path / name)) == 1


def test_a_short_path_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that happens to stand in the message anyway."""
    monkeypatch.chdir(tmp_path)
    Path("s").write_text(FEW_LINES.replace("stride: 2", "stride: 3"))
    with pytest.raises(ValueError, match=r"^s: stage 2: stride must be 1 or 2, got 3$"):
        read_space(Path("s"))
