"""A family as a page of its own and in a run's report: whole, escaped, and with the family's own figures."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import families
import plotly.graph_objects as go
import pytest
from html_page import Page
from rich.console import Console

from nas.cli.family_table import family_table
from nas.family.comparison import family_notes, stage_growth, step_time_ratio
from nas.family.members import Family, Fit, FitEntry, StepTimeFigure, dump_family
from nas.quantities import count, milliseconds
from nas.report.family_page import render_family, write_family_page
from nas.report.family_section import family_figure
from nas.report.page import render
from nas.run import Run, read_run
from search_spaces import catalog
from search_spaces.architecture import parse
from search_spaces.scaling import Coefficients

EVIL = '</script><script>alert("1")</script>&amp;<b>$body'


@pytest.fixture(scope="module")
def published() -> Family:
    return families.family_of(families.small_source(families.S))


@pytest.fixture(scope="module")
def timed() -> Family:
    """With predicted step times, one measurement, and a fit."""
    family = families.family_of(families.timed_source())
    small, medium, large = family.members
    figure = StepTimeFigure(seconds=0.0123, relative_error=0.01, verdict="unstable")
    entry = FitEntry(
        coefficients=Coefficients(alpha=1.3, beta=1.05, gamma=1.2),
        architecture=medium.architecture,
        accuracy=0.9,
        accuracy_se=0.01,
        num_trainings=2,
        predicted_step_time_s=0.02,
        measured_step_time_s=None,
        params=1000,
        macs=10_000,
        reward=0.9123,
        reward_se=0.01,
    )
    fit = Fit(num_candidates=31, entries=(entry, replace(entry, coefficients=None)), is_decided=False, failed=(EVIL,))
    return replace(family, members=(small, replace(medium, measured=figure), large), fit=fit)


@pytest.fixture(scope="module")
def page(published: Family) -> Page:
    return Page(render_family(published))


def printed(family: Family) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(family_table(family))
    return " ".join(captured.get().split())


def test_the_page_is_whole_and_asks_no_network(page: Page) -> None:
    assert page.open == []
    assert [item for item in page.attributes if item[1] in ("src", "href", "srcset", "action")] == []
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy


def test_growth_is_drawn_stage_by_stage(published: Family, page: Page) -> None:
    """A bar for each layer of each member, all to one scale."""
    layers = [sum(stage.num_repeats for stage in member.parsed().stages) for member in published.members]
    assert layers == [40, 57, 79]
    assert page.tags.count("svg") == 3
    assert page.tags.count("rect") == sum(layers)
    boxes = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "viewbox")]
    assert len(boxes) == 3
    assert len(set(boxes)) == 1


def test_costs_stages_and_settings_are_told(published: Family, page: Page) -> None:
    for member in published.members:
        assert count(member.params) in page.text
        assert member.architecture in page.text.replace("- ", "-")
    for expected in (
        "6 × 128", "14 × 176", "19 × 224", "5 × 512", "7 × 640",  # layers × channels
        "480 (computed: 608)", "128 → 300", "128 → 384", "5 → 25", "0 → 0.4", "0.1 → 0.5",
        "The cap of 480 pixels clips the inference size: l 608 → 480.",
        "M, l: a new last stage, and one base layer more before it (then depths are multiplied).",
        "MBConv6 k3", "Fused-MBConv4 k3",
    ):  # fmt: skip
        assert expected in page.text
    assert "predicted S" not in page.text, "nothing is known of step times"


def test_the_table_of_the_command_line_tells_the_same(published: Family) -> None:
    text = printed(published)
    for expected in ("6 × 128", "7 × 640", "480 px*", "384 px", "5 → 25", "0.1 → 0.5", "608 → 480"):
        assert expected in text
    for member in published.members:
        assert count(member.params) in text


def test_step_times_are_told_where_they_are_known(timed: Family) -> None:
    text, table = Page(render_family(timed)).text, printed(timed)
    small, medium, large = timed.members
    ratios = [step_time_ratio(member, small) for member in timed.members]
    assert small.predicted is not None
    assert medium.measured is not None
    assert large.predicted is not None
    assert ratios[0] == 1
    assert ratios[2] == large.predicted.seconds / small.predicted.seconds
    for told in (text, table):
        assert milliseconds(0.0123, 0.000123) in told
        assert milliseconds(small.predicted.seconds, small.predicted.seconds * small.predicted.relative_error) in told
        assert f" {ratios[1]:.2f} " in told
        assert f" {0.0123 / small.predicted.seconds:.2f} " not in told, "measured ÷ predicted compares nothing"


def test_a_fit_is_told(timed: Family) -> None:
    for told in (Page(render_family(timed)).text, printed(timed)):
        assert "1.3, 1.05, 1.2" in told
        assert "ladder" in told
        assert "0.9123" in told
        assert "of 31 networks that growth could lead to, 2 were trained" in told.replace("Of 31", "of 31")
        assert "none is better than the ladder's beyond doubt" in told


def test_what_comes_from_outside_is_text(timed: Family) -> None:
    setting = replace(timed.setting, predicted_for=EVIL, measured_on=EVIL)
    members = tuple(replace(member, name=f"{member.name}{EVIL}") for member in timed.members)
    found = Page(render_family(replace(timed, setting=setting, members=members)))
    assert found.open == []
    assert found.tags.count("script") == 3
    assert "b" not in found.tags
    assert found.text.count(EVIL) >= 6


def test_the_figure_is_what_plotly_understands(published: Family, timed: Family) -> None:
    for family, bars in ((published, 3), (timed, 4)):
        (panel,) = family_figure(family).panels
        assert len(panel.traces) == bars, "step time where all members have one"
        traces = json.loads(json.dumps(list(panel.traces), allow_nan=False).replace('"@area', '"#12345'))
        go.Figure(data=traces, layout=json.loads(re.sub(r'"@[a-z0-9]+"', '"#123456"', json.dumps(panel.layout))))
        for trace in panel.traces:
            assert trace["y"][0] == 1
            assert trace["x"] == ["s", "m", "l"]
    of_m, of_s = (catalog.get(f"efficientnetv2-{name}").params - 990 * 1281 for name in "ms")
    of_params = next(trace for trace in family_figure(published).panels[0].traces if trace["name"] == "parameters")
    assert of_params["y"][1] == pytest.approx(of_m / of_s), "with ten classes in place of a thousand"


def test_rows_of_the_comparison(published: Family) -> None:
    rows = {row.stage: row for row in stage_growth(published.members)}
    assert list(rows) == ["stem", "1", "2", "3", "4", "5", "6", "7", "head"]
    assert rows["7"].cells == (None, "5 × 512", "7 × 640")
    assert rows["5"].cells == ("9 × 160", "14 × 176", "19 × 224")
    assert (rows["stem"].cells, rows["head"].cells) == (("24", "24", "32"), ("1280",) * 3)
    assert (rows["2"].block, rows["7"].block) == ("Fused-MBConv4 k3", "MBConv6 k3")


def test_ratios_compare_like_with_like(timed: Family) -> None:
    one, other = (StepTimeFigure(seconds=seconds, relative_error=0.01) for seconds in (1.0, 3.0))
    first = replace(timed.members[0], predicted=one, measured=other)
    both = replace(timed.members[1], predicted=other, measured=one)
    assert step_time_ratio(both, first) == 1 / 3
    assert step_time_ratio(replace(both, measured=None), first) == 3
    assert step_time_ratio(both, replace(first, measured=None)) == 3
    assert step_time_ratio(both, replace(first, predicted=None, measured=None)) is None
    assert step_time_ratio(replace(both, measured=None), replace(first, predicted=None)) is None


def test_notes_say_only_what_is(published: Family) -> None:
    plain = family_notes(families.family_of(families.small_source(), ["s"]))
    assert not any("cap" in note or "late" in note for note in plain)
    own = replace(published, coefficients=Coefficients(alpha=1.2, beta=1.1, gamma=1.15))
    assert "depth by 1.2, width by 1.1 and size by 1.15 (α·β²·γ² = 1.92)" in family_notes(own)[0]


def test_the_page_is_written_whole(published: Family, tmp_path: Path) -> None:
    write_family_page(published, tmp_path / "family.html")
    assert [path.name for path in tmp_path.iterdir()] == ["family.html"]
    assert (tmp_path / "family.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_a_runs_report_shows_its_family(make_run: Callable[..., Run]) -> None:
    run = make_run(trials=6, retrain=False)
    assert 'id="family"' not in render(run)
    best = parse(run.leaderboard()[0].architecture)
    family = families.family_of(families.small_source(best))
    run.directory.family_file.write_text(dump_family(family), encoding="utf-8")
    found = Page(render(read_run(run.directory.path)))
    assert found.open == []
    assert ("section", "id", "family") in found.attributes
    identities = [value for _, name, value in found.attributes if name == "id"]
    assert len(set(identities)) == len(identities)
    for member in family.members:
        assert member.architecture in found.text.replace("- ", "-")


def test_a_report_says_why_a_family_cannot_be_read(make_run: Callable[..., Run]) -> None:
    run = make_run(trials=2, retrain=False)
    run.directory.family_file.write_text(f"members: {json.dumps(EVIL)}", encoding="utf-8")
    found = Page(render(read_run(run.directory.path)))
    assert found.open == []
    assert found.tags.count("script") == 3
    assert f"{run.directory.family_file} is no family" in found.text
