"""Figures of a training: curves over epochs with the borders of its stages, and the schedule."""

import math
from collections.abc import Callable, Sequence
from html import escape

from proxies.binomial import binomial_error
from proxies.training.progressive import ProgressiveStage

from ..full_training.record import EpochRecord, TrainingRecord
from ..full_training.schedule_text import StageSpan, stage_spans
from ..quantities import percent
from .figure import Figure, Panel, Trace, axis, legend_below

MOST_BORDERS, MOST_LABELS = 40, 8
"""Stages that are told apart by lines, and by their sizes beside these; more would be a grey surface."""
HEIGHT = 320
"""Of the curves, pixels."""

_SYMBOLS = {"resumed": "triangle-right", "rolled back": "x", "skipped images": "diamond-open"}


def training_figures(record: TrainingRecord) -> list[Figure]:
    """Curves of the epochs so far, none before the first, and the whole schedule."""
    curves = [_accuracy(record), *_curves(record)] if record.epochs else []
    return [*curves, _schedule(record)]


def _accuracy(record: TrainingRecord) -> Figure:
    raw = [each.accuracy for each in record.epochs]
    averaged = [each.ema_accuracy for each in record.epochs if each.ema_accuracy is not None]
    floor = _floor([*raw, *averaged])
    kinds = [("trained", "@warm", lambda each: each.num_correct)]
    if averaged:
        kinds.append(("averaged", "@accent", lambda each: each.ema_num_correct))
    traces = [_scored(record, *kind) for kind in kinds]
    layout = {
        **_epochs_layout(record),
        "yaxis": axis("accuracy", tickformat=".0%", zeroline=False),
        "legend": legend_below(),
    }
    return Figure(
        name="accuracy",
        title="Accuracy over epochs",
        caption=(
            f"Top-1 on {record.num_judged} {record.judged_by} images at {record.test_size} pixels after each epoch, "
            "by the weights as trained and by their average. The ring is the best epoch, whose weights are kept, with "
            "its standard error. Upright lines are the borders of stages, named by their image sizes."
        ),
        panels=[Panel(traces=[*traces, *_best(record), *_events(record, floor)], layout=layout, height=HEIGHT)],
    )


def _scored(record: TrainingRecord, name: str, colour: str, correct: Callable[[EpochRecord], int | None]) -> Trace:
    """A curve of accuracies, with their errors where the pointer rests."""
    points = [(each, count) for each in record.epochs if (count := correct(each)) is not None]
    texts = [percent(count / each.num_judged, binomial_error(count, each.num_judged)) for each, count in points]
    return {
        **_line([each.epoch for each, _ in points], [count / each.num_judged for each, count in points], name, colour),
        "text": [f"<b>epoch {each.epoch}</b>, {name}<br>{text}" for (each, _), text in zip(points, texts, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _best(record: TrainingRecord) -> list[Trace]:
    best = record.best
    if best is None:
        return []
    error = best.judged_standard_error
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "best",
            "x": [best.epoch],
            "y": [best.judged_accuracy],
            "error_y": {"array": [error], "color": "@ink", "thickness": 1.5, "width": 3},
            "marker": {"color": "@ink", "size": 13, "symbol": "circle-open", "line": {"width": 2.5}},
            "hoverinfo": "skip",
        }
    ]


def _events(record: TrainingRecord, floor: float) -> list[Trace]:
    """What happened on the way, along the foot of the figure."""
    if not record.events:
        return []
    texts = [f"<b>epoch {event.epoch}: {event.kind}</b><br>{escape(event.text)}" for event in record.events]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "event",
            "x": [event.epoch for event in record.events],
            "y": [floor] * len(record.events),
            "marker": {"color": "@no", "size": 10, "symbol": [_SYMBOLS[event.kind] for event in record.events]},
            "text": texts,
            "hovertemplate": "%{text}<extra></extra>",
        }
    ]


def _curves(record: TrainingRecord) -> list[Figure]:
    losses = "Mean over the steps of each epoch; it may rise at a border, where images grow and regularisation with it."
    rates = "Of the last step of each epoch, as the optimizer took it."
    speeds = "Images trained on ÷ the time of the steps; evaluation is left out. Larger images take longer."
    return [
        _curve(record, "loss", "Training loss", losses, lambda each: each.train_loss),
        _curve(record, "learning-rate", "Learning rate", rates, lambda each: each.learning_rate),
        _curve(record, "throughput", "Images per second", speeds, lambda each: each.images_per_s),
    ]


def _curve(
    record: TrainingRecord, name: str, title: str, caption: str, value: Callable[[EpochRecord], float]
) -> Figure:
    values = [_finite(value(each)) for each in record.epochs]
    line = _line([each.epoch for each in record.epochs], values, title, "@accent")
    layout = {**_epochs_layout(record), "yaxis": axis("", rangemode="tozero", zeroline=False), "showlegend": False}
    trace = {**line, "hovertemplate": "epoch %{x}: %{y:.4g}<extra></extra>"}
    return Figure(name=name, title=title, caption=caption, panels=[Panel(traces=[trace], layout=layout, height=HEIGHT)])


def _schedule(record: TrainingRecord) -> Figure:
    stages = record.stages
    drawn: list[tuple[str, list[tuple[str, Callable[[ProgressiveStage], float]]]]] = [
        ("image size, pixels", [("size", lambda stage: stage.resolution)]),
        ("images in a step", [("batch", lambda stage: stage.batch_size)]),
        ("RandAugment, magnitude", [("RandAugment", lambda stage: stage.randaugment)]),
        (
            "mixing, α",
            [("mixup", lambda stage: stage.mixup), ("CutMix", lambda stage: stage.cutmix)],
        ),
        ("dropout", [("dropout", lambda stage: stage.drop_rate)]),
        ("cutout, share of the side", [("cutout", lambda stage: stage.cutout)]),
    ]
    used = [(title, lines) for title, lines in drawn if any(value(stage) for _, value in lines for stage in stages)]
    return Figure(
        name="schedule",
        title="Schedule",
        caption=_schedule_caption(record),
        panels=[_schedule_panel(record, title, lines) for title, lines in used],
        wide=True,
    )


def _schedule_caption(record: TrainingRecord) -> str:
    reached = f" The dotted line is where the training stands, after epoch {len(record.epochs)}."
    return "Image size and strength of regularisation over all epochs planned." + reached * _is_under_way(record)


def _schedule_panel(
    record: TrainingRecord, title: str, lines: Sequence[tuple[str, Callable[[ProgressiveStage], float]]]
) -> Panel:
    spans = stage_spans(record.stages)
    colours = ("@accent", "@warm")
    traces = []
    for (name, value), colour in zip(lines, colours, strict=False):
        epochs = [place for span in spans for place in (span.first_epoch - 0.5, span.last_epoch + 0.5)]
        values = [value(span.stage) for span in spans for _ in range(2)]
        line = _line(epochs, values, name, colour)
        # A line over another of the same values would hide it.
        style = {"color": colour, "width": 2, "dash": "solid" if colour == "@accent" else "dash"}
        traces.append({**line, "mode": "lines", "line": style, "hovertemplate": f"{name} %{{y:.3g}}<extra></extra>"})
    last = record.num_epochs
    layout = {
        "xaxis": axis("epoch", range=[0.5, last + 0.5], zeroline=False, **_ticks(last)),
        "yaxis": axis(title, rangemode="tozero", zeroline=False),
        "shapes": [*_borders(spans, with_labels=False), *_reached(record)],
        "showlegend": len(lines) > 1,
        **({"legend": legend_below()} if len(lines) > 1 else {}),
    }
    return Panel(traces=traces, layout=layout, height=250)


def _line(x: Sequence[float], y: Sequence[float | None], name: str, colour: str) -> Trace:
    """A curve; a single point would leave no line, and many marks hide it."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(x) <= 60 else "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 6},
    }


def _epochs_layout(record: TrainingRecord) -> dict[str, object]:
    """The axis of the epochs so far, and the borders of the stages among them."""
    last = max(2, *(entry.epoch for entry in record.epochs), *(event.epoch for event in record.events))
    spans = [span for span in stage_spans(record.stages) if span.first_epoch <= last]
    return {
        "xaxis": axis("epoch", range=[0.5, last + 0.5], zeroline=False, **_ticks(last)),
        "shapes": _borders(spans, with_labels=True),
    }


def _borders(spans: Sequence[StageSpan], *, with_labels: bool) -> list[dict[str, object]]:
    """A line where each stage begins, named by its size."""
    if len(spans) > MOST_BORDERS:
        return []
    labelled = with_labels and len(spans) <= MOST_LABELS
    return [_border(span, labelled) for span in spans if labelled or span.number > 1]


def _border(span: StageSpan, labelled: bool) -> dict[str, object]:
    start = span.first_epoch - 0.5
    style = {"color": "@muted", "width": 1 if span.number > 1 else 0}
    line = {"type": "line", "x0": start, "x1": start, "yref": "paper", "y0": 0, "y1": 1, "line": style, "opacity": 0.6}
    if not labelled:
        return line
    text = {
        "text": f"{span.stage.resolution} px",
        "textposition": "end",
        "textangle": 0,
        "xanchor": "left",
        "yanchor": "top",
        "font": {"color": "@muted", "size": 11},
    }
    return {**line, "label": text}


def _reached(record: TrainingRecord) -> list[dict[str, object]]:
    if not _is_under_way(record):
        return []
    place = len(record.epochs) + 0.5
    style = {"color": "@ink", "width": 1.5, "dash": "dot"}
    return [{"type": "line", "x0": place, "x1": place, "yref": "paper", "y0": 0, "y1": 1, "line": style}]


def _is_under_way(record: TrainingRecord) -> bool:
    return 0 < len(record.epochs) < record.num_epochs


def _ticks(last: int) -> dict[str, object]:
    return {"dtick": 1} if last <= 10 else {"tickformat": "d"}


def _floor(values: Sequence[float]) -> float:
    """Below all curves."""
    return min(values) - 0.06 * ((max(values) - min(values)) or 0.1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
