"""The report as a file: whole, self-contained, escaped, and drawn from the run's own figures."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest
from html_page import Page

from nas.leaderboard import Entry
from nas.quantities import gibibytes, milliseconds
from nas.report.choices import ChoiceMean, choice_means
from nas.report.figure import Figure
from nas.report.findings import Findings, pareto_front
from nas.report.markup import Markup, element, join, table
from nas.report.page import draw, render, write_report
from nas.report.ribbon import ribbon
from nas.run import Run
from search_spaces import catalog
from search_spaces.architecture import parse

FIGURES = ["progress", "trade-off", "choices", "leaders", "step-times", "importance", "sensitivity"]


@pytest.fixture(scope="module")
def page(finished_run: Run) -> Page:
    return Page(render(finished_run))


def figure(run: Run, name: str) -> Figure:
    return next(figure for figure in draw(Findings(run)) if figure.name == name)


def painted(value: object) -> object:
    """Roles of colours replaced by a colour, as the page's script does it."""
    if isinstance(value, str) and value.startswith("@"):
        return "#123456"
    if isinstance(value, dict):
        return {key: painted(item) for key, item in value.items()}
    return [painted(item) for item in value] if isinstance(value, list) else value


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_nothing_is_asked_from_a_network(page: Page) -> None:
    """No element names a place to load from, and the policy forbids scripts to load any."""
    loads = [item for item in page.attributes if item[1] in ("src", "href", "srcset", "data", "action", "poster")]
    assert loads == []
    assert "link" not in page.tags
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_style_and_own_script_name_no_place() -> None:
    folder = Path(sys.modules["nas.report.page"].__file__ or "").parent
    for name in ("report.css", "report.js", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest", text), name


def test_all_figures_are_there(page: Page, finished_run: Run) -> None:
    figures = draw(Findings(finished_run))
    assert [figure.name for figure in figures] == FIGURES
    panels = {f"{figure.name}-{place}" for figure in figures for place in range(len(figure.panels))}
    assert panels <= {value for _, name, value in page.attributes if name == "id"}
    assert len(panels) == 6 + 4, "one for each figure, and one choice map for each of four axes"


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("run_name", ["finished_run", "front_run", "young_run"])
def test_figures_are_what_plotly_understands(request: pytest.FixtureRequest, run_name: str, name: str) -> None:
    """Plotly's own classes know every property and every value's range."""
    for panel in figure(request.getfixturevalue(run_name), name).panels:
        go.Figure(data=painted(list(panel.traces)), layout=painted(panel.layout))
        json.dumps([list(panel.traces), panel.layout], allow_nan=False)


def test_headline(page: Page, finished_run: Run) -> None:
    best = finished_run.leaderboard()[0]
    assert best.architecture in page.text.replace("- ", "-")
    assert f"{best.reward:.4f}" in page.text
    assert "Better than the backbone: yes" in page.text
    assert "40 of 40 judged, 3 infeasible, 1 failed attempt, 1 repeated" in page.text


def test_leaderboard_holds_every_judged_architecture(page: Page, finished_run: Run) -> None:
    for entry in finished_run.leaderboard():
        assert entry.architecture in page.text.replace("- ", "-")
        assert f"{entry.reward:.4f} ± {entry.reward_se:.4f}" in page.text


def test_configuration_and_environment(page: Page, finished_run: Run) -> None:
    assert " ".join(finished_run.config.to_yaml().split()) in page.text
    assert "0123abc" in page.text
    assert "bfloat16-channels_last" in page.text


def test_reasons_are_shown_as_text(page: Page) -> None:
    assert "the loss was not finite in epoch 2 <nan>" in page.text
    assert "nan" not in page.tags
    assert "its worker died with signal 9" in page.text


def test_names_from_outside_are_escaped(make_run: Callable[..., Run]) -> None:
    name = 'imagefolder:/data/</script><script>alert("1")</script>&amp;<b>$body'
    found = Page(render(make_run(trials=20, source=name)))
    assert found.tags.count("script") == 3
    assert "b" not in found.tags
    assert name in found.text


def test_figures_json_survives_the_script_element(make_run: Callable[..., Run]) -> None:
    text = render(make_run(trials=20))
    data = re.search(r'<script type="application/json" id="figure-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    panels = json.loads(data[1])
    hovers = [hover for trace in panels["progress-0"]["data"] for hover in trace.get("text", [])]
    assert "the loss was not finite in epoch 2 &lt;nan&gt;" in "".join(hovers)


def test_progress_follows_the_trials(finished_run: Run) -> None:
    traces = {trace["name"]: trace for trace in figure(finished_run, "progress").panels[0].traces}
    rewards = traces["one training"]["y"]
    best = traces["best so far"]["y"]
    assert best == [max(rewards[: place + 1]) for place in range(len(rewards))]
    assert len(traces["infeasible"]["x"]) == 3
    assert len(traces["failed, tried again"]["x"]) == 1
    assert all("not finite" in text for text in traces["infeasible"]["text"])
    assert len(traces["retrained, mean"]["x"]) == 4


def test_front_is_what_nothing_dominates(finished_run: Run) -> None:
    """Against a plain double loop over the definition, for two and three objectives."""
    board = finished_run.leaderboard()
    for objectives in (("accuracy", "step_time"), ("accuracy", "step_time", "params")):
        gains = {e.number: [e.accuracy, -e.step_time_s, -float(e.params)][: len(objectives)] for e in board}
        expected = {
            one
            for one in gains
            if not any(
                all(b >= a for a, b in zip(gains[one], gains[two], strict=True)) and gains[two] != gains[one]
                for two in gains
            )
        }
        assert {entry.number for entry in pareto_front(board, objectives)} == expected


def test_choice_means_against_pandas(finished_run: Run) -> None:
    import pandas as pd

    findings = Findings(finished_run)
    frame = pd.DataFrame([dict(record.params) for record in findings.complete])
    frame["reward"] = [findings.first_reward(record) for record in findings.complete]
    means = {(mean.stage, mean.axis, mean.value): mean for mean in choice_means(findings)}
    for kernel, group in frame.groupby("stage3_kernel_size")["reward"]:
        mean = means[3, "kernel_size", str(kernel)]
        assert mean.count == len(group)
        assert mean.deviation == pytest.approx(group.mean() - frame["reward"].mean())
        assert mean.error == pytest.approx(group.sem())


@pytest.mark.parametrize(
    ("count", "error", "clear"), [(4, 0.001, False), (5, 0.0351, True), (5, 0.037, False), (60, 0.0499, True)]
)
def test_a_choice_is_clear_by_students_t(count: int, error: float, clear: bool) -> None:
    """Quantiles from the tables: 2.776 with four degrees of freedom, 2.001 with 59."""
    mean = ChoiceMean(stage=1, axis="block", value="Fused", count=count, deviation=0.1, error=error)
    assert mean.is_clear == clear


def test_backbone_that_is_a_published_network_has_one_mark(make_run: Callable[..., Run]) -> None:
    """The space mnasnet starts from EfficientNet-B0."""
    run = make_run(trials=3, retrain=False, overrides={"space": {"name": "mnasnet"}})
    names = [trace["name"] for trace in figure(run, "trade-off").panels[0].traces]
    assert any("backbone (reference) · efficientnet-b0 (reference)" in name for name in names)


def test_few_trials_say_so(young_run: Run) -> None:
    found = Page(render(young_run))
    assert "2 of 40 judged running or interrupted" in found.text
    assert "Parameter importance needs at least 15 judged architectures; there are 2 so far." in found.text
    assert "This needs at least 8 judged architectures; there are 2 so far." in found.text


def test_nothing_judged(make_run: Callable[..., Run]) -> None:
    found = Page(render(make_run(trials=0, planned=5, retrain=False)))
    assert "No architecture has been judged to the end yet." in found.text


def test_multi_objective_run_lists_its_front(front_run: Run) -> None:
    found = Page(render(front_run))
    assert "Objectives: accuracy, step_time, params." in found.text
    assert "The Pareto front" in found.text
    assert all(entry.architecture in found.text.replace("- ", "-") for entry in Findings(front_run).front)


def test_published_networks_in_the_space_are_references(make_run: Callable[..., Run]) -> None:
    """V2-S lies in the space of scale s; ten classes and one channel cost it 990 rows and two thirds of its stem."""
    run = make_run(trials=0, planned=5, retrain=False, overrides={"space": {"name": "efficientnetv2", "scale": "s"}})
    references = {reference.name: reference for reference in Findings(run).references}
    assert set(references) == {"efficientnetv2-s"}
    published = catalog.get("efficientnetv2-s")
    assert references["efficientnetv2-s"].params == published.params - 990 * 1281 - 2 * 9 * 24
    assert references["efficientnetv2-s"].entry is None
    assert "efficientnetv2-s" in Page(render(run)).text


def test_report_is_written_whole(young_run: Run, tmp_path: Path) -> None:
    write_report(young_run, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>\n")


def test_a_report_needs_no_torch(young_run: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nas.report import write_report; from nas.run import read_run; "
        f"write_report(read_run(Path({str(young_run.directory.path)!r})), Path({str(tmp_path / 'r.html')!r})); "
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert (tmp_path / "r.html").exists()


def test_markup_escapes_what_is_not_markup() -> None:
    assert element("p", "a < b", class_='"') == '<p class="&quot;">a &lt; b</p>'
    assert join([Markup("<i>"), "<i>"]) == "<i>&lt;i&gt;"
    assert "&lt;td&gt;" in table(("h",), [("<td>",)])


def test_ribbon_has_a_bar_for_each_layer() -> None:
    drawing = ribbon(catalog.get("efficientnetv2-s").architecture)
    assert drawing.count("<rect") == 2 + 4 + 4 + 6 + 9 + 15
    assert drawing.count("<circle") == 0
    assert html.unescape(drawing).count("Fused-MBConv4 k3, 4 × 48 channels") == 2


def finalists(run: Run) -> list[Entry]:
    return [entry for entry in run.leaderboard() if entry.measurement is not None]


def test_a_finalist_that_is_off_is_named_near_the_top(page: Page, finished_run: Run) -> None:
    off = [entry for entry in finalists(finished_run) if abs(entry.surprise or 0.0) > 0.1]
    assert len(off) == 1, "one measurement is made up to be 14 % off"
    sentence = f"Trial {off[0].number} takes {100 * (off[0].surprise or 0):.0f} % longer than predicted."
    assert page.text.index(sentence) < page.text.index("Figures")


def test_finalists_are_shown_as_predicted_and_measured(page: Page, finished_run: Run) -> None:
    rows = page.text[page.text.index("The finalists, measured") : page.text.index("The leaders, stage by stage")]
    shown = finalists(finished_run)
    assert len(shown) == 4
    for entry in shown:
        assert entry.measurement is not None
        assert entry.predicted_step_time_s is not None
        step, table = entry.measurement.step_time, finished_run.tables[0]
        predicted = table.predict(parse(entry.architecture))
        assert predicted.median_s == entry.predicted_step_time_s
        assert milliseconds(step.median_s, step.median_s * step.relative_standard_error) in rows
        assert milliseconds(predicted.median_s, predicted.median_s * predicted.relative_standard_error) in rows
        assert f"{100 * (step.median_s / predicted.median_s - 1):+.1f} %".replace("-", "−") in rows
        assert gibibytes(entry.peak_memory_bytes) in rows
        assert gibibytes(entry.measurement.peak_memory_bytes or 0) in rows
    assert {entry.measurement.step_time.verdict for entry in shown if entry.measurement} <= set(rows.split())
    assert "inference" not in rows


def test_the_figure_of_step_times_holds_the_finalists(finished_run: Run) -> None:
    traces = figure(finished_run, "step-times").panels[0].traces
    points = {trace["name"]: trace for trace in traces if "name" in trace}
    assert set(points) == {"within 10 %", "off by more than 10 %"}
    assert len(points["off by more than 10 %"]["x"]) == 1
    assert points["off by more than 10 %"]["y"][0] / points["off by more than 10 %"]["x"][0] > 1.1
    assert len(points["within 10 %"]["x"]) == 3
    line = traces[0]
    assert line["x"] == line["y"], "equality"
    by_x = {1000 * (entry.predicted_step_time_s or 0): entry for entry in finalists(finished_run)}
    for trace in points.values():
        for place, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
            low, high = by_x[x].measurement.step_time.interval_s  # type: ignore[union-attr]
            assert y - trace["error_y"]["arrayminus"][place] == pytest.approx(1000 * low)
            assert y + trace["error_y"]["array"][place] == pytest.approx(1000 * high)


def test_the_calibration_is_told(page: Page, finished_run: Run) -> None:
    table = finished_run.tables[0]
    assert f"Step time predicted from blocks measured on {table.device}; finalists measured" in page.text
    assert f"{len(table.blocks)} blocks were measured on {table.device} in 18.0 s, at batch 32, 32 pixels" in page.text
    assert f"whole networks lie within {100 * table.residual:.1f} % of the sums of their blocks" in page.text


def test_predicted_step_times_are_marked(page: Page, finished_run: Run) -> None:
    for entry in finished_run.leaderboard():
        text = milliseconds(entry.step_time_s, entry.step_time_se)
        assert (f"≈ {text}" in page.text) == (entry.measurement is None)


def test_a_measured_search_predicts_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run(trials=8, overrides={"step_time": "measured"})
    text = Page(render(run)).text
    assert "Step time measured, candidate by candidate" in text
    assert "S was measured candidate by candidate" in text
    assert "than predicted" not in text
    assert "≈ " not in text.replace("≈ before S", "").replace("marked ≈", "")
    assert "step-times" not in [figure.name for figure in draw(Findings(run))]


def test_a_search_for_another_device_says_why_finalists_were_not_measured(make_run: Callable[..., Run]) -> None:
    run = make_run(trials=8, is_target_here=False)
    text = Page(render(run)).text
    assert "The finalists were not measured: S is meant for Some Processor" in text
    assert "The finalists, measured" not in text
    assert figure(run, "step-times").panels == []


def test_inference_is_a_column_where_it_was_asked_for(make_run: Callable[..., Run]) -> None:
    run = make_run(trials=8, overrides={"step_time": {"inference": True}})
    text = Page(render(run)).text
    for entry in finalists(run):
        assert entry.measurement is not None
        assert entry.measurement.inference is not None
        assert milliseconds(entry.measurement.inference.median_s) in text


def test_a_finalist_that_could_not_be_measured_is_told(finished_run: Run) -> None:
    (first, *_), others = finished_run.measurements.items(), dict(finished_run.measurements)
    del others[first[0]]
    run = replace(finished_run, measurements=others, failed_measurements={first[0]: "out of memory"})
    text = Page(render(run)).text
    assert f"Trial {first[0]} could not be measured, so that its S stays predicted: out of memory." in text


def test_a_table_of_few_networks_says_so(finished_run: Run) -> None:
    table = replace(finished_run.tables[0], networks=finished_run.tables[0].networks[:1])
    text = Page(render(replace(finished_run, tables=(table,)))).text
    assert "too few whole networks were timed to tell how far they lie from their sums, 3.0 % is assumed" in text
