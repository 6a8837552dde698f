"""The report of a training: one HTML file that asks no network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.architecture import parse

from ..comparison import flatten
from ..full_training.directory import TrainingDirectory
from ..full_training.record import EpochRecord, TrainingRecord, read_record
from ..full_training.schedule_text import SCHEDULE_HEADS, schedule_rows
from ..quantities import duration, percent
from ..run import read_environment
from ..run_directory import write_whole
from .markup import Markup, details, element, join, section, table
from .page import assemble, figures_section
from .training_figures import training_figures
from .training_headline import state_text, training_headline

NUM_FIRST = 12
"""Rows of a table that are seen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training as its directory tells it, running or ended."""

    record: TrainingRecord
    config: str
    """As YAML; empty where the file is missing."""
    environment: dict[str, Any]


def read_training(directory: TrainingDirectory) -> Training:
    """Read a training directory.

    Raises:
        ValueError: In one line, if there is no training, or a file of it is damaged.
    """
    config = directory.config_file
    return Training(
        record=read_record(directory.record_file),
        config=config.read_text(encoding="utf-8") if config.exists() else "",
        environment=dict(read_environment(directory.environment_file)),
    )


def write_training_page(training: Training, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, render_training(training))


def render_training(training: Training) -> str:
    """The page as HTML."""
    record = training.record
    figures = training_figures(record)
    body = join(
        [
            training_headline(record),
            *_events(record),
            figures_section(figures, heading="Curves" if record.epochs else "Plan"),
            _schedule(record),
            *_epochs(record),
            _reading(record),
            _circumstances(training),
        ]
    )
    return assemble(f"Training on {record.source} ({state_text(record)})", body, figures)


def _events(record: TrainingRecord) -> list[Markup]:
    if not record.events:
        return []
    rows = [(str(event.epoch), event.kind, event.text) for event in record.events]
    return [section("events", "What happened", table(("epoch", "what", ""), rows, numeric=(0,)))]


def _schedule(record: TrainingRecord) -> Markup:
    rows = schedule_rows(record.stages)
    written = [_table(SCHEDULE_HEADS, rows[:NUM_FIRST])]
    if len(rows) > NUM_FIRST:
        written.append(details(f"Stages {NUM_FIRST + 1} to {len(rows)}", _table(SCHEDULE_HEADS, rows[NUM_FIRST:])))
    note = (
        "Batch: images in a step, of all processes together, and in how many parts each process computes its share. "
        "lr: the learning rate as a multiple of the configuration's, because larger batches take larger steps."
    )
    return section("stages", "Stages", element("p", note), *written)


def _epochs(record: TrainingRecord) -> list[Markup]:
    if not record.epochs:
        return []
    heads = ("epoch", "stage", "size", "loss", "lr", "as trained", "averaged", "images/s", "training", "judging")
    rows = [_epoch(each, record) for each in reversed(record.epochs)]
    return [section("epochs", "Epochs", details(f"All {len(rows)}, the last one first", _table(heads, rows)))]


def _epoch(each: EpochRecord, record: TrainingRecord) -> tuple[str, ...]:
    return (
        str(each.epoch),
        str(each.stage),
        str(record.stages[each.stage - 1].resolution),
        f"{each.train_loss:.4f}",
        f"{each.learning_rate:.3g}",
        percent(each.accuracy),
        "–" if each.ema_accuracy is None else percent(each.ema_accuracy),
        f"{each.images_per_s:.0f}",
        duration(each.train_seconds),
        duration(each.eval_seconds),
    )


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Markup:
    return table(heads, rows, numeric=range(len(heads)))


def _reading(record: TrainingRecord) -> Markup:
    luck = "The kept epoch is the one that did best on these very images, so a little of its accuracy is luck. " + (
        "They are the test images, so nothing is left to say how much; a training that is judged by a minival "
        "keeps them apart."
        if record.judged_by == "test"
        else "nas evaluate says what it reaches on the test images, which no curve here has seen."
    )
    points = [
        ("Accuracy has an error.", "± is one standard error, from the number of images that it is taken on."),
        ("The best is chosen.", luck),
    ]
    size = parse(record.architecture).resolution
    if record.test_size != size:
        sizes = (
            f"The network was judged at {record.test_size} pixels throughout, and trained at {size} in the end: a size "
            "for use is often best a little above the last one of training. nas evaluate --size tries others."
        )
        points.append(("Size in training is not size in use.", sizes))
    items = [element("li", element("strong", head), " ", text) for head, text in points]
    return section("reading", "How to read this", element("ul", *items))


def _circumstances(training: Training) -> Markup:
    environment = [(key, str(value)) for key, value in flatten(training.environment).items()]
    return section(
        "circumstances",
        "Circumstances",
        details("Configuration", element("pre", training.config or "config.yaml is missing", tabindex=0)),
        details("Environment", table(("", ""), environment)),
    )
