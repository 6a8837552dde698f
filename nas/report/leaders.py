"""Figure: the accuracy of the leaders with its error."""

from ..leaderboard import Z95, Entry
from ..quantities import percent
from .figure import Figure, Panel, Trace, axis, describe, legend_below
from .findings import Findings

_NUM_ROWS = 12


def leaders_figure(findings: Findings) -> Figure:
    """A of the first in the leaderboard and of the backbone, with intervals and each single training."""
    shown = findings.board[:_NUM_ROWS]
    if findings.backbone is not None and findings.backbone not in shown:
        shown = [*shown, findings.backbone]
    images = findings.run.preparation.data.num_minival
    again = [entry for entry in shown if entry.num_trainings > 1]
    once = [entry for entry in shown if entry.num_trainings == 1]
    traces = [
        _intervals(shown),
        *([_means(once, "one training", "circle-open")] if once else []),
        *([_means(again, "retrained, mean", "circle")] if again else []),
        *([_trainings(findings, again)] if again else []),
    ]
    rows = [_row(entry) for entry in shown]
    layout = {
        "xaxis": axis("accuracy A, %", zeroline=False),
        "yaxis": {"categoryorder": "array", "categoryarray": rows, "autorange": "reversed", "showgrid": False},
        "legend": legend_below(),
    }
    return Figure(
        name="leaders",
        title="How sure the accuracies are",
        caption=(
            f"Accuracy on the {images} minival images: thick bars one standard error, thin bars 95 %. Ranks follow the "
            "reward, not the accuracy. Ticks are the single trainings of what was trained again."
        ),
        panels=[Panel(traces=traces, layout=layout, height=130 + 26 * len(shown))],
        wide=True,
    )


def _row(entry: Entry) -> str:
    name = "backbone" if entry.is_backbone else f"trial {entry.number}"
    return f"{entry.rank} · {name}"


def _intervals(entries: list[Entry]) -> Trace:
    """95 % of all rows; it stands first and so fixes their order."""
    return _points(entries) | {
        "name": "95 %",
        "mode": "markers",
        "showlegend": False,
        "hoverinfo": "skip",
        "marker": {"size": 1, "color": "@muted"},
        "error_x": _bars([Z95 * entry.accuracy_se for entry in entries], "@muted", 1),
    }


def _means(entries: list[Entry], name: str, symbol: str) -> Trace:
    return _points(entries) | {
        "mode": "markers",
        "name": name,
        "marker": {"size": 10, "color": "@accent", "symbol": symbol, "line": {"width": 2, "color": "@accent"}},
        "error_x": _bars([entry.accuracy_se for entry in entries], "@accent", 3),
        "text": [describe(entry) for entry in entries],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _points(entries: list[Entry]) -> Trace:
    return {
        "type": "scatter",
        "x": [100 * entry.accuracy for entry in entries],
        "y": [_row(entry) for entry in entries],
    }


def _bars(errors: list[float], colour: str, thickness: float) -> dict[str, object]:
    return {"array": [100 * error for error in errors], "color": colour, "thickness": thickness, "width": 0}


def _trainings(findings: Findings, entries: list[Entry]) -> Trace:
    points = []
    for entry in entries:
        outcome = findings.run.records[entry.number].outcome
        further = findings.run.replicates.get(entry.number, {}).values()
        own = [outcome.accuracy] if outcome is not None else []
        points += [(training, _row(entry)) for training in [*own, *further]]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "single training",
        "x": [100 * training.accuracy for training, _ in points],
        "y": [row for _, row in points],
        "marker": {"symbol": "line-ns", "size": 11, "line": {"width": 2, "color": "@warm"}, "color": "@warm"},
        "text": [f"seed {training.seed}: {percent(training.accuracy)}" for training, _ in points],
        "hovertemplate": "%{text}<extra></extra>",
    }
