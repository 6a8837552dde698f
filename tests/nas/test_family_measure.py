"""The members of a family timed: related to one reference, and one that cannot be timed spoils no other's."""

from dataclasses import replace
from typing import Any

import fake_search
import families
import pytest

from nas.family import measure
from nas.family.measure import measure_family, with_measurements
from nas.family.members import Family, Member, dump_family
from proxies.device import find_device
from proxies.execution import parse_mode
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime
from search_spaces.architecture import Architecture, parse

NETWORK = parse("stem8-er_r1_k3_s2_e4_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32")
SECONDS = {"s": 1.0, "m": 2.5, "l": 4.0}


@pytest.fixture(scope="module")
def family() -> Family:
    return families.family_of(families.timed_source())


class Stopwatch:
    """Times members as it is told, or finds that their memory does not suffice."""

    def __init__(self, *too_large: str) -> None:
        self.too_large = too_large
        self.references: list[float | None] = []

    def __call__(self, member: Member, reference_s: float | None) -> StepTime:
        self.references.append(reference_s)
        if member.name in self.too_large:
            raise InfeasibleError("out of memory")
        measured = fake_search.step_time(SECONDS[member.name])
        return replace(measured, reference_s=reference_s or measured.reference_s)


def measured(family: Family, stopwatch: Stopwatch, reference_s: float | None = None) -> tuple[Family, list[str]]:
    return with_measurements(family, stopwatch, lambda doing: None, reference_s)


def test_every_member_is_timed(family: Family) -> None:
    found, problems = measured(family, Stopwatch())
    assert problems == []
    for before, after in zip(family.members, found.members, strict=True):
        assert after.measured is not None
        assert after.measured.seconds == pytest.approx(0.1 * SECONDS[after.name])
        assert after.measured.verdict in ("stable", "unstable", "contaminated")
        assert after.step_time == after.measured
        assert replace(after, measured=None) == before
    assert dump_family(found) != dump_family(family)


@pytest.mark.parametrize("too_large", [("l",), ("s",), ("s", "l"), ("s", "m", "l")])
def test_a_member_that_does_not_fit_is_told_and_the_others_stay(family: Family, too_large: tuple[str, ...]) -> None:
    found, problems = measured(family, Stopwatch(*too_large))
    assert problems == [f"{name}: out of memory" for name in too_large]
    for before, after in zip(family.members, found.members, strict=True):
        if after.name in too_large:
            assert after == before
            assert after.step_time == after.predicted
        else:
            assert after.measured is not None


def test_all_are_related_to_one_reference(family: Family) -> None:
    """A canary that is slower at one member's turn makes that member no slower."""
    stopwatch = Stopwatch("m")
    measured(family, stopwatch)
    assert stopwatch.references == [None, 0.1, 0.1]
    stopwatch = Stopwatch()
    found, _ = measured(family, stopwatch, 0.05)
    assert stopwatch.references == [0.05] * 3
    assert found.members[0].measured is not None
    assert found.members[0].measured.seconds == pytest.approx(0.05)


def test_it_is_told_whose_turn_it_is(family: Family) -> None:
    said: list[str] = []
    with_measurements(family, Stopwatch(), said.append)
    assert said == ["timing s", "timing m", "timing l"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("is_here", [True, False])
def test_steps_are_timed_as_they_were_predicted(monkeypatch: pytest.MonkeyPatch, threads: int, is_here: bool) -> None:
    """In the mode, with the threads and the canary of a table of this very device, and else in the fastest mode."""
    device, source = find_device("cpu"), families.timed_source(NETWORK)
    identity = replace(device.identity(), threads=threads) if is_here else families.NOBODY
    table = replace(source.tables[0], device=identity, canary_s=0.0123)
    source = replace(source, tables=(table,))
    asked: list[dict[str, Any]] = []

    def remembered(network: Architecture, **settings: Any) -> StepTime:
        assert network == NETWORK
        asked.append(settings)
        return fake_search.step_time(1.0)

    fastest = parse_mode("bfloat16-channels_last")
    monkeypatch.setattr(measure, "measure_step_time", remembered)
    monkeypatch.setattr(measure, "choose_mode", lambda *args, **settings: fastest)
    family = families.family_of(source, ["s"])
    found, problems = measure_family(family, source, device, budget_s=7.0, on_progress=lambda doing: None)
    assert problems == []
    assert found.members[0].measured is not None
    (settings,) = asked
    mode, canary_s, of = (source.workload.mode, 0.0123, identity) if is_here else (fastest, None, device.identity())
    assert (settings["mode"], settings["reference_s"]) == (mode, canary_s)
    assert (settings["num_classes"], settings["in_channels"], settings["device"]) == (10, 3, device)
    assert (settings["setting"].batch_size, settings["setting"].budget_s) == (4, 7.0)
    assert settings["setting"].threads == of.threads
    assert (found.setting.mode, found.setting.measured_on) == (str(mode), str(of))


@pytest.mark.slow
def test_a_family_is_timed_for_real() -> None:
    device, source = find_device("cpu"), families.timed_source(NETWORK)
    family = families.family_of(source, ["s"])
    found, problems = measure_family(family, source, device, budget_s=0.0, on_progress=lambda doing: None)
    assert problems == []
    assert all(member.measured and member.measured.seconds > 0 for member in found.members)


@pytest.mark.gpu
def test_a_member_too_large_for_the_gpu_is_told() -> None:
    """Images of 32,768 pixels, whose first maps no memory holds; the member before it keeps its measurement."""
    source = families.small_source(NETWORK)
    family = families.family_of(source, ["s", "l"])
    small, large = family.members
    huge = replace(large, architecture=str(replace(large.parsed(), resolution=32_768)))
    family = replace(family, members=(small, huge))
    found, problems = measure_family(family, source, find_device("cuda"), budget_s=0.0, on_progress=lambda doing: None)
    assert [problem.partition(":")[0] for problem in problems] == ["l"]
    assert found.members[0].measured is not None
    assert found.members[1] == huge
