"""What ``nas evaluate`` prints."""

from collections.abc import Iterator

from rich.table import Table

from proxies.classification import Classification, ClassScore
from proxies.evaluation import Score

from ..full_training.evaluation import Evaluation
from ..quantities import percent
from .tables import plain_table

NUM_CLASSES = 5
"""Shown of the best and of the worst."""


def evaluation_lines(evaluation: Evaluation, notes: tuple[str, ...]) -> Iterator[str]:
    """What the figures must be cited with."""
    mean, std = (
        ", ".join(f"{value:.4g}" for value in values)
        for values in (evaluation.normalisation.mean, evaluation.normalisation.std)
    )
    yield f"network     {evaluation.architecture}"
    yield f"weights     {evaluation.weights}"
    yield from (f"            {note}" for note in notes)
    yield f"images      {evaluation.source}, {evaluation.part}{_skipped(evaluation)}"
    yield f"normalised  {evaluation.normalised_as}: mean {mean}, deviation {std} of pixels from 0 to 255"
    yield f"computed    {evaluation.mode} on {evaluation.device}"


def evaluation_tables(evaluation: Evaluation, *, per_class: bool) -> Iterator[Table]:
    """Scores by size; then, if asked for, the classes that are found best and worst, at each size."""
    yield _sizes(evaluation)
    if per_class:
        for result in evaluation.results:
            yield _classes(result, evaluation.class_names)


def _skipped(evaluation: Evaluation) -> str:
    return f" ({evaluation.num_skipped} unreadable images left out)" if evaluation.num_skipped else ""


def _sizes(evaluation: Evaluation) -> Table:
    table = plain_table()
    for name in ("size", "images", "top-1", "top-5", "mean over classes"):
        if name != "top-5" or evaluation.results[0].top_score:
            table.add_column(name, justify="right", no_wrap=True)
    for result in evaluation.results:
        top = [] if result.top_score is None else [_percent(result.top_score)]
        table.add_row(
            f"{result.resolution} px",
            f"{result.score.num_images:,}",
            _percent(result.score),
            *top,
            percent(result.balanced_accuracy),
        )
    return table


def _classes(result: Classification, names: tuple[str, ...]) -> Table:
    table = plain_table()
    table.add_column(f"class, at {result.resolution} px", overflow="fold")
    for name in ("images", "found", "right where named"):
        table.add_column(name, justify="right", no_wrap=True)
    present = [(name, each) for name, each in zip(names, result.classes, strict=True) if each.num_images]
    ranked = sorted(present, key=lambda pair: (pair[1].accuracy or 0.0, pair[0]))
    is_cut = len(ranked) > 2 * NUM_CLASSES
    for name, each in ranked[:NUM_CLASSES] if is_cut else ranked:
        table.add_row(*_class(name, each))
    if is_cut:
        table.add_row(f"… {len(ranked) - 2 * NUM_CLASSES} more, all in --out", "", "", "")
        for name, each in ranked[-NUM_CLASSES:]:
            table.add_row(*_class(name, each))
    return table


def _class(name: str, score: ClassScore) -> tuple[str, str, str, str]:
    accuracy, error = score.accuracy or 0.0, score.standard_error
    precision = "–" if score.precision is None else percent(score.precision)
    return name, str(score.num_images), percent(accuracy, error), precision


def _percent(score: Score) -> str:
    return percent(score.accuracy, score.standard_error)
