"""family.yaml: what is written is read back, and what is damaged is told in one line and stops nobody else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_search
import families
import pytest

from nas.family.members import Family, FitEntry, StepTimeFigure, dump_family, read_family
from nas.family.members import Fit as FamilyFit
from nas.reference import find_network
from nas.report.page import render
from nas.run import read_run
from search_spaces.scaling import Coefficients
from search_spaces.strict_yaml import dump_yaml, parse_yaml

LOW = "stem8-er_r1_k3_s2_e4_c16-head64@32"


@pytest.fixture(scope="module")
def family() -> Family:
    """Predicted, partly measured and fitted: every field has a value somewhere."""
    found = families.family_of(families.timed_source())
    first, *others = found.members
    measured = StepTimeFigure(seconds=0.0123, relative_error=0.004, verdict="stable")
    entry = FitEntry(
        coefficients=Coefficients(alpha=1.2, beta=1.1, gamma=1.15),
        architecture=LOW,
        accuracy=0.9,
        accuracy_se=0.01,
        num_trainings=2,
        predicted_step_time_s=0.02,
        measured_step_time_s=None,
        params=1000,
        macs=10_000,
        reward=0.91,
        reward_se=0.01,
    )
    fit = FamilyFit(
        num_candidates=7,
        entries=(entry, replace(entry, coefficients=None, measured_step_time_s=0.021)),
        is_decided=True,
        failed=("<it> died",),
    )
    setting = replace(found.setting, measured_on="here")
    return replace(
        found,
        members=(replace(first, measured=measured), *others),
        coefficients=entry.coefficients,
        fit=fit,
        setting=setting,
    )


@pytest.fixture
def written(family: Family, tmp_path: Path) -> Path:
    (tmp_path / "family.yaml").write_text(dump_family(family), encoding="utf-8")
    return tmp_path / "family.yaml"


def test_what_is_written_is_read_back(family: Family, written: Path) -> None:
    assert read_family(written) == family
    plain = replace(family, coefficients=None, fit=None, max_size=None)
    written.write_text(dump_family(plain), encoding="utf-8")
    assert read_family(written) == plain


def first_member(written: dict[str, Any]) -> dict[str, Any]:
    member: dict[str, Any] = written["members"][0]
    return member


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "format": (lambda d: d.update(format=2, something="new"), "is a family of format 2, we read 1"),
    "unknown key": (lambda d: d.update(colour="red"), "is no family: colour: "),
    "unknown key of a member": (lambda d: first_member(d).update(colour=1), "is no family: members.0.colour: "),
    "missing key": (lambda d: d.pop("ladder"), "is no family: ladder: "),
    "missing key of a member": (lambda d: first_member(d).pop("params"), "is no family: members.0.params: "),
    "no number": (lambda d: first_member(d).update(params="many"), "is no family: members.0.params: "),
    "twice the same name": (
        lambda d: first_member(d).update(name="m"),
        "is no family: a family has members of different names, got m, m, l",
    ),
    "no members": (lambda d: d.update(members=[]), "is no family: a family has members of different names, got none"),
    "no architecture": (lambda d: first_member(d).update(architecture="stem"), "an architecture begins with its stem"),
    "members of another kind": (lambda d: d.update(members="s, m"), "is no family: members: "),
    "shrinking coefficients": (
        lambda d: d["coefficients"].update(alpha=0.5),
        "is no family: coefficients: alpha must be finite and at least 1, got 0.5",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damages_are_told_in_one_line(written: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    values: dict[str, Any] = parse_yaml(written.read_text(encoding="utf-8"))
    spoil(values)
    written.write_text(dump_yaml(values), encoding="utf-8")
    with pytest.raises(ValueError) as raised:
        read_family(written)
    assert str(raised.value).startswith(str(written))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "members: [", "members: 1\nmembers: 2\n", "\x00", "just text"])
def test_what_is_no_mapping_is_told_in_one_line(written: Path, text: str) -> None:
    written.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as raised:
        read_family(written)
    assert str(written) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no such file: "):
        read_family(tmp_path / "family.yaml")
    (tmp_path / "family.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"^cannot read "):
        read_family(tmp_path / "family.yaml")


def test_a_member_is_an_architecture_everywhere(family: Family, written: Path) -> None:
    assert find_network(f"{written}:m").architecture == family.member("m").parsed()
    with pytest.raises(ValueError, match=r"holds a family; name a member of it, e\.g\. .*family\.yaml:m$"):
        find_network(str(written))
    with pytest.raises(ValueError, match=r"^no member 'huge'; known: s, m, l$"):
        find_network(f"{written}:huge")
    with pytest.raises(ValueError, match=r"^no member ''; known: s, m, l$"):
        find_network(f"{written}:")


def test_a_family_needs_members() -> None:
    found = families.family_of(families.small_source())
    for members in ((), (found.members[0], found.members[0])):
        with pytest.raises(ValueError, match="a family has members of different names"):
            replace(found, members=members)
    with pytest.raises(ValueError, match="an architecture begins with its stem"):
        replace(found.members[0], architecture="stem")


def test_a_run_has_its_family_and_a_damaged_one_stops_nothing(family: Family, tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", trials=3, finalists=0)
    run, _ = fake_search.run(config)
    assert run.family is None
    run.directory.family_file.write_text(dump_family(family), encoding="utf-8")
    assert read_run(run.directory.path).family == family

    run.directory.family_file.write_text("members: [", encoding="utf-8")
    again, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=5, finalists=0))
    assert len(again.records) >= 5
    assert isinstance(again.family, str)
    assert str(run.directory.family_file) in again.family
    assert "family.yaml" in render(again)
    assert "family.yaml" in run.directory.report_file.read_text(encoding="utf-8")
