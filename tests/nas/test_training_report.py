"""The report of a training, and its tables in the terminal: at any time of its life."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest
from fake_training import STAGES, diverged_record, epoch_record, training_record, write_training
from html_page import Page
from rich.console import Console
from typer.testing import CliRunner

from nas.cli import app
from nas.cli.training_tables import epoch_line, schedule_table
from nas.full_training.record import Event, TrainingRecord
from nas.full_training.schedule_text import stage_spans
from nas.report.figure import Figure
from nas.report.training_figures import MOST_BORDERS, training_figures
from nas.report.training_page import Training, read_training, render_training
from proxies.training.progressive import ProgressiveStage

EVENTS = (
    Event(epoch=3, kind="resumed", text="from step 44"),
    Event(epoch=4, kind="rolled back", text="the loss was not finite <nan>"),
    Event(epoch=5, kind="skipped images", text="2 images"),
)
RECORDS = {
    "before the first epoch": training_record(),
    "one epoch": training_record(epochs=1),
    "under way": training_record(epochs=5, events=EVENTS),
    "finished": training_record(epochs=7, state="finished", events=EVENTS),
    "without average": training_record(epochs=7, state="finished", with_ema=False),
    "diverged": diverged_record(),
    "diverged at once": replace(diverged_record(), epochs=()),
}


def page_of(record: TrainingRecord) -> Page:
    return Page(render_training(Training(record=record, config="seed: 0\n", environment={"torch": "2.x"})))


def figure(record: TrainingRecord, name: str) -> Figure:
    return next(figure for figure in training_figures(record) if figure.name == name)


def painted(value: object) -> object:
    """Roles of colours replaced by a colour, as the page's script does it."""
    if isinstance(value, str) and value.startswith("@"):
        return "#123456"
    if isinstance(value, dict):
        return {key: painted(item) for key, item in value.items()}
    return [painted(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_every_page_is_whole_and_asks_no_network(record: TrainingRecord) -> None:
    page = page_of(record)
    assert page.open == []
    assert [item for item in page.attributes if item[1] in ("src", "href", "srcset", "data", "action")] == []
    panels = {value for _, name, value in page.attributes if name == "id"}
    for each in training_figures(record):
        assert {f"{each.name}-{place}" for place in range(len(each.panels))} <= panels
    assert "nan" not in page.tags


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_figures_are_what_plotly_understands(record: TrainingRecord) -> None:
    for each in training_figures(record):
        for panel in each.panels:
            go.Figure(data=painted(list(panel.traces)), layout=painted(panel.layout))
            json.dumps([list(panel.traces), panel.layout], allow_nan=False)


def test_the_best_epoch_is_told_with_its_error() -> None:
    """Averaged weights: 146 of 180 after epoch 7; Wilson's half width by hand."""
    page = page_of(RECORDS["finished"])
    share, images = 146 / 180, 180
    error = (share * (1 - share) / images + 1 / (4 * images**2)) ** 0.5 / (1 + 1 / images)
    assert f"{100 * share:.1f} ± {100 * error:.1f} %" in page.text
    assert "146 of 180 minival images right after epoch 7" in page.text
    assert "averaging gives +6.1 points" in page.text, "135 of 180 as trained"


def test_time_and_speed_are_of_all_epochs() -> None:
    """Seven epochs of 1408 images in 3, 4, … 9 s, and half a second of judging each."""
    text = page_of(RECORDS["finished"]).text
    assert "45.5 s" in text
    assert f"{7 * 1408 / 42:.0f} of training" in text


def test_states() -> None:
    assert "5 of 7 epochs" in page_of(RECORDS["under way"]).text
    assert "diverged, 3 of 7 epochs" in page_of(RECORDS["diverged"]).text
    assert "No epoch has been completed yet" in page_of(RECORDS["before the first epoch"]).text
    assert "finished 7 epochs" in page_of(RECORDS["finished"]).text


def test_what_happened_is_listed_and_marked() -> None:
    record = RECORDS["under way"]
    text = page_of(record).text
    assert all(event.text in text for event in EVENTS)
    marks = next(trace for trace in figure(record, "accuracy").panels[0].traces if trace["name"] == "event")
    assert marks["x"] == [3, 4, 5]
    assert len(set(marks["marker"]["symbol"])) == 3


def test_stage_borders_stand_between_epochs_and_name_the_sizes() -> None:
    for name in ("accuracy", "loss", "learning-rate", "throughput"):
        shapes = figure(RECORDS["finished"], name).panels[0].layout["shapes"]
        assert [(shape["x0"], shape["label"]["text"]) for shape in shapes] == [
            (0.5, "8 px"),
            (2.5, "12 px"),
            (4.5, "16 px"),
        ]


def test_borders_of_stages_to_come_are_not_drawn_on_curves() -> None:
    shapes = figure(RECORDS["diverged"], "loss").panels[0].layout["shapes"]
    assert [shape["x0"] for shape in shapes] == [0.5, 2.5]


def test_many_stages_have_no_borders() -> None:
    """A random size for each epoch."""
    stages = tuple(
        ProgressiveStage(epochs=1, resolution=8 + each % 9, batch_size=8) for each in range(MOST_BORDERS + 1)
    )
    record = replace(training_record(epochs=2), stages=stages)
    for panel in figure(record, "schedule").panels:
        assert [shape["x0"] for shape in panel.layout["shapes"]] == [2.5], "where the training stands"
    assert page_of(record).open == []


def test_the_schedule_is_drawn_as_steps() -> None:
    panels = figure(RECORDS["before the first epoch"], "schedule").panels
    assert list(panels[0].traces[0]["x"]) == [0.5, 2.5, 2.5, 4.5, 4.5, 7.5]
    assert list(panels[0].traces[0]["y"]) == [8, 8, 12, 12, 16, 16]
    titles = [panel.layout["yaxis"]["title"]["text"] for panel in panels]
    assert titles == ["image size, pixels", "images in a step", "RandAugment, magnitude", "mixing, α", "dropout"]


def test_a_loss_that_is_not_finite_leaves_a_gap() -> None:
    record = training_record(epochs=2)
    record = replace(record, epochs=(record.epochs[0], replace(record.epochs[1], train_loss=float("inf"))))
    assert figure(record, "loss").panels[0].traces[0]["y"] == [2.0, None]


def test_names_from_outside_are_escaped() -> None:
    name = 'imagefolder:/data/</script><script>alert("1")</script>&amp;<b>'
    record = replace(training_record(epochs=1), source=name, class_names=("<i>cat</i>", *"123456789"))
    found = page_of(record)
    assert found.tags.count("script") == 3
    assert not {"b", "i"} & set(found.tags)
    assert name in found.text


def test_a_report_needs_no_torch(tmp_path: Path) -> None:
    directory = write_training(tmp_path / "run", RECORDS["under way"])
    script = (
        "import sys; from pathlib import Path; from nas.full_training.directory import TrainingDirectory; "
        "from nas.report.training_page import read_training, render_training; "
        f"render_training(read_training(TrainingDirectory(Path({str(directory.path)!r})))); "
        "import nas.cli.training_tables; "
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2], timeout=120)


# The command


def test_report_writes_a_page_for_a_training_directory(tmp_path: Path) -> None:
    directory = write_training(tmp_path / "run", RECORDS["under way"])
    done = CliRunner().invoke(app, ["report", str(directory.path)])
    assert done.exit_code == 0, done.output
    text = directory.report_file.read_text(encoding="utf-8")
    assert "architecture: tiny" in text
    assert re.search(r"versions\.torch.*2\.x", text)


def test_report_needs_neither_configuration_nor_environment(tmp_path: Path) -> None:
    directory = write_training(tmp_path / "run", RECORDS["one epoch"])
    directory.config_file.unlink()
    directory.environment_file.unlink()
    assert "config.yaml is missing" in render_training(read_training(directory))


@pytest.mark.parametrize("record", ["{", '{"format": 1}', "[]"])
def test_a_damaged_record_is_one_line(tmp_path: Path, record: str) -> None:
    directory = write_training(tmp_path / "run", RECORDS["one epoch"])
    directory.record_file.write_text(record)
    done = CliRunner().invoke(app, ["report", str(directory.path)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "training.json" in done.stderr


# The terminal


def printed(stages: Sequence[ProgressiveStage]) -> list[list[str]]:
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(schedule_table(stages))
    return [re.split(r"\s{2,}", line.strip()) for line in console.export_text().splitlines() if line.strip("─ ")]


def test_schedule_table() -> None:
    heads, *rows = printed(STAGES)
    assert heads == [
        "stage", "epochs", "from–to", "size", "batch", "lr", "RandAugment", "mixup", "CutMix", "dropout"
    ]  # fmt: skip
    assert rows[0] == ["1", "2", "1–2", "8 px", "64", "× 2", "5", "–", "–", "0.1"]
    assert rows[1] == ["2", "2", "3–4", "12 px", "64 in 2", "× 1", "10", "0.1", "0.1", "0.2"]
    assert rows[2] == ["3", "3", "5–7", "16 px", "32", "× 1", "15", "0.2", "0.2", "0.3"]


def test_schedule_table_of_a_plain_training_shows_no_empty_columns() -> None:
    heads, row = printed([ProgressiveStage(epochs=1, resolution=8, batch_size=8)])
    assert heads == ["stage", "epochs", "from–to", "size", "batch", "lr"]
    assert row == ["1", "1", "1", "8 px", "8", "× 1"]


def test_spans_cover_all_epochs_once() -> None:
    covered = [epoch for span in stage_spans(STAGES) for epoch in range(span.first_epoch, span.last_epoch + 1)]
    assert covered == list(range(1, 8))


def test_epoch_line() -> None:
    line = epoch_line(epoch_record(7), STAGES[2], num_epochs=120)
    assert line == (
        "epoch   7/120 · stage 3, 16 px · loss 0.2857 · A 75.0 ± 3.2 % · averaged 81.1 % · 156 images/s · 9.5 s"
    )
    assert "averaged" not in epoch_line(epoch_record(7, with_ema=False), STAGES[2], num_epochs=7)
