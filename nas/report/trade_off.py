"""Figure: accuracy against step time, with the Pareto front."""

from collections.abc import Iterator, Sequence

from ..leaderboard import Entry
from ..quantities import count
from .figure import Figure, Panel, Trace, axis, describe, legend_below
from .findings import Findings, pareto_front

# Pixels across of the largest network's mark.
_LARGEST_MARK = 34
_WORDS = {"accuracy": "accuracy", "step_time": "step time", "params": "parameters"}


def trade_off_figure(findings: Findings) -> Figure:
    """A against S, the area of a mark being P."""
    board, front = findings.board, findings.front
    others = [entry for entry in board if entry not in front]
    largest = max((entry.params for entry in board), default=1)
    steps = pareto_front(board, ("accuracy", "step_time"))
    traces = [
        _steps(steps),
        _marks(others, "dominated", "@muted", 0.35, largest),
        _marks(front, "Pareto front", "@accent", 0.8, largest, errors=True),
        *_labels(findings),
    ]
    layout = {
        "xaxis": axis("step time S, ms", zeroline=False),
        "yaxis": axis("accuracy A, %", zeroline=False),
        "legend": legend_below() | {"itemsizing": "constant"},
    }
    return Figure(
        name="trade-off",
        title="Accuracy against step time",
        caption=_caption(findings),
        panels=[Panel(traces=traces, layout=layout, height=460)],
        wide=True,
    )


def _caption(findings: Findings) -> str:
    sizes = sorted(entry.params for entry in findings.board) or [0]
    words = [_WORDS[name] for name in findings.run.config.objectives or ("accuracy", "step_time")]
    return (
        f"Up and to the left is better. The area of a mark is the number of parameters, {count(sizes[0])} to "
        f"{count(sizes[-1])}. On the front: what no other architecture beats in "
        f"{', '.join(words[:-1])} and {words[-1]}; bars are one standard error, so points that are closer "
        "than that may change places."
    )


def _marks(
    entries: Sequence[Entry], name: str, colour: str, opacity: float, largest: int, *, errors: bool = False
) -> Trace:
    bars = {"thickness": 1, "width": 0, "color": colour}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [1000 * entry.step_time_s for entry in entries],
        "y": [100 * entry.accuracy for entry in entries],
        "error_x": {"array": [1000 * entry.step_time_se for entry in entries], "visible": errors, **bars},
        "error_y": {"array": [100 * entry.accuracy_se for entry in entries], "visible": errors, **bars},
        "marker": {
            "size": [entry.params for entry in entries],
            "sizemode": "area",
            "sizeref": 2 * largest / _LARGEST_MARK**2,
            "sizemin": 3,
            "color": colour,
            "opacity": opacity,
            "line": {"color": "@panel", "width": 1},
        },
        "text": [describe(entry) for entry in entries],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _steps(front: Sequence[Entry]) -> Trace:
    """The border of what was reached: the best accuracy at or below each step time."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "border",
        "x": [1000 * entry.step_time_s for entry in front],
        "y": [100 * entry.accuracy for entry in front],
        "line": {"color": "@accent", "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _labels(findings: Findings) -> list[Trace]:
    """The best, the backbone and judged published networks, each by name; one mark may have several."""
    names: dict[int, list[str]] = {}
    for entry, name in _named(findings):
        names.setdefault(entry.number, []).append(name)
    middle = _middle([entry.step_time_s for entry in findings.board])
    entries = {entry.number: entry for entry in findings.board}
    return [
        _label(entries[number], " · ".join(found), is_best=entries[number] is findings.best, middle=middle)
        for number, found in names.items()
    ]


def _named(findings: Findings) -> Iterator[tuple[Entry, str]]:
    if findings.best is not None:
        yield findings.best, "best"
    if findings.backbone is not None:
        yield findings.backbone, "backbone (reference)"
    for reference in findings.references:
        if reference.entry is not None:
            yield reference.entry, f"{reference.name} (reference)"


def _middle(values: Sequence[float]) -> float:
    return (min(values) + max(values)) / 2 if values else 0.0


def _label(entry: Entry, name: str, *, is_best: bool, middle: float) -> Trace:
    colour = "@warm" if is_best else "@ink"
    side = "right" if entry.step_time_s <= middle else "left"
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [1000 * entry.step_time_s],
        "y": [100 * entry.accuracy],
        "marker": {
            "symbol": "star" if is_best else "diamond",
            "size": 13,
            "color": colour,
            "line": {"color": "@panel", "width": 1.5},
        },
        "text": [name],
        "textposition": f"bottom {side}",
        "textfont": {"color": colour, "size": 12},
        "hovertext": [describe(entry)],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": False,
        "showlegend": False,
    }
