"""What an audit's directory shows: tables, the recipe's part, and the report, finished or not."""

import io
import json
import re
from pathlib import Path

import fake_audit
import pandas as pd
import pytest
from html_page import Page

from nas.audit.advice import describe
from nas.audit.analysis import Analysis, analyse
from nas.audit.config import ProxyTraining
from nas.audit.results import AuditResults, Cell
from nas.audit.views import proxies_frame, trainings_frame, view_texts, write_views
from nas.config import make_config
from nas.report.audit_figures import audit_figures
from nas.report.audit_page import render_audit
from search_spaces.strict_yaml import parse_yaml


@pytest.fixture(scope="module")
def results() -> AuditResults:
    return fake_audit.audit(fake_audit.config(num_architectures=12))


@pytest.fixture(scope="module")
def finished(results: AuditResults) -> Analysis:
    return analyse(results)


@pytest.fixture(scope="module")
def begun(results: AuditResults) -> Analysis:
    """The target once, some of one proxy, one failure."""
    later = [cell for cell in results.planned() if cell.replicate or cell.training != "e8"]
    failed = Cell(number=5, training="e8", replicate=0)
    kept = [cell for cell in later if cell.training != fake_audit.SHORT.key or cell.number > 3]
    return analyse(fake_audit.without(fake_audit.without(results, *kept), failed, because="<out> of memory"))


@pytest.fixture(scope="module")
def untrained(results: AuditResults) -> Analysis:
    return analyse(fake_audit.without(results, *results.trainings))


def test_every_training_has_a_row(results: AuditResults, begun: Analysis) -> None:
    frame = trainings_frame(results)
    assert len(frame) == 12 * (2 + 3)
    assert set(frame.state) == {"done"}
    row = frame[(frame.number == 2) & (frame.training == fake_audit.HALF.key)].iloc[0]
    record = results.trainings[Cell(number=2, training=fake_audit.HALF.key, replicate=0)]
    assert (row.accuracy, row.num_images, row.lr) == (record.accuracy, record.num_images, 0.01)
    assert row.reward == pytest.approx(record.accuracy * results.architectures[2].reward_factor)
    assert row.architecture == results.architectures[2].architecture
    assert trainings_frame(begun.results).state.value_counts().to_dict() == {"planned": 44, "done": 15, "failed": 1}


def test_every_proxy_has_a_row(finished: Analysis, begun: Analysis) -> None:
    frame = proxies_frame(finished)
    assert list(frame.training) == [each.training.key for each in finished.standings]
    assert frame.cost.is_monotonic_increasing
    assert frame.recommended.sum() == 1
    assert list(frame.tau) == [each.accuracy.tau for each in finished.standings]
    waiting = proxies_frame(begun)
    assert list(waiting.state) == ["so far", "not yet", "not yet"]
    assert waiting.reason.notna().sum() == 2


def test_tables_are_written_as_they_are(finished: Analysis, tmp_path: Path) -> None:
    write_views(finished, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"audit.csv", "proxies.csv", "proxy.yaml", "report.html"}
    read = pd.read_csv(tmp_path / "proxies.csv")
    assert list(read.training) == list(proxies_frame(finished).training)
    assert len(pd.read_csv(tmp_path / "audit.csv")) == 60


@pytest.mark.parametrize("training", [fake_audit.HALF, fake_audit.NARROW, ProxyTraining(epochs=3, batch_size=16)])
def test_the_fragment_makes_a_search_judge_by_that_proxy(training: ProxyTraining, tmp_path: Path) -> None:
    settings = fake_audit.config(num_architectures=8, proxies=(training,), out=tmp_path)
    analysis = analyse(fake_audit.audit(settings, noise=1e-5))
    text = dict(view_texts(analysis))["proxy.yaml"]
    assert text.startswith(f"# {training.key}: {describe(training)}. Kendall's τ ")
    assert "on 8 architectures" in text.splitlines()[0]
    assert f"audit {tmp_path}, cpu Some Processor." in text.splitlines()[1]
    assert {"fidelity", "w", "v"} <= set(parse_yaml(text)) <= {"fidelity", "train", "w", "v"}
    (tmp_path / "proxy.yaml").write_text(text)
    base = make_config({"space": fake_audit.SPACE}, {})
    found = make_config({"space": fake_audit.SPACE, "include": "proxy.yaml"}, {}, folder=tmp_path)
    assert found.fidelity == training.fidelity
    assert found.train == training.train_config(base.train)
    assert analysis.recommendation is not None
    chosen = analysis.recommendation.standing
    assert chosen.slope is not None
    assert chosen.slope.is_sure
    assert (found.w, found.v) == pytest.approx((base.w / chosen.slope.value, base.v / chosen.slope.value), abs=1e-3)
    own = {"fidelity": base.fidelity, "train": base.train, "w": base.w, "v": base.v}
    assert found.model_copy(update=own) == base


def test_nothing_is_recommended_before_anything_is_known(untrained: Analysis) -> None:
    assert set(dict(view_texts(untrained))) == {"audit.csv", "proxies.csv"}


@pytest.mark.parametrize("name", ["finished", "begun", "untrained"])
def test_the_report_is_whole_and_asks_no_network(request: pytest.FixtureRequest, name: str) -> None:
    analysis: Analysis = request.getfixturevalue(name)
    text = render_audit(analysis)
    page = Page(text.split("<script>")[0])
    assert not [value for _, key, value in page.attributes if key in ("src", "href")]
    panels = json.loads(re.search(r'id="figure-data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    figures = audit_figures(analysis)
    assert set(panels) == {f"{figure.name}-{i}" for figure in figures for i in range(len(figure.panels))}
    assert len(figures) == {"finished": 3, "begun": 1, "untrained": 0}[name] + (name == "begun")
    assert all(trace["x"] or trace["name"] for panel in panels.values() for trace in panel["data"])
    for each in analysis.standings:
        assert each.training.key in page.text
    for key in analysis.pending:
        assert f"{key} " in page.text


def test_the_report_tells_what_failed(begun: Analysis) -> None:
    text = render_audit(begun)
    assert "&lt;out&gt; of memory" in text
    assert "16 of 60 trainings" in Page(text.split("<script>")[0]).text


def test_the_scatter_names_its_architectures(finished: Analysis) -> None:
    figure = next(figure for figure in audit_figures(finished) if figure.name == "agreement")
    hovers = [text for trace in figure.panels[0].traces for text in trace["text"]]
    assert len(hovers) == 12
    for number, each in enumerate(finished.results.architectures):
        folded = "".join(each.architecture.split("-"))
        hover = next(text for text in hovers if f"<b>architecture {number}</b>" in text)
        assert folded in hover.replace("<br>", "").replace("-", "")


def test_early_stops_are_drawn_to_their_end(finished: Analysis) -> None:
    figure = next(figure for figure in audit_figures(finished) if figure.name == "early-stops")
    drawn = {trace["name"]: trace for trace in figure.panels[0].traces}
    assert [len(drawn[name]["x"]) for name in ("e8", "e2", "e4-w0.5")] == [8, 2, 4]
    assert drawn["e8"]["x"][-1] == 1.0
    assert finished.ceiling is not None
    assert drawn["e8"]["y"][-1] == finished.ceiling.accuracy.tau


def test_csv_is_read_back_as_numbers(finished: Analysis) -> None:
    text = dict(view_texts(finished))["audit.csv"]
    frame = pd.read_csv(io.StringIO(text))
    assert frame.seed.dtype.kind == "i"
    assert frame.accuracy.between(0, 1).all()
