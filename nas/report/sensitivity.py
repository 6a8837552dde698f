"""Figure: which architecture would win with other exponents."""

import statistics

from ..leaderboard import Entry
from ..rerank import SensitivityMap, pruned_note, sensitivity_map
from .figure import Figure, Panel, Trace, axis, describe
from .findings import Findings

# Winners with a colour of their own; the rest share one.
NUM_COLOURS = 7


def sensitivity_figure(findings: Findings) -> Figure:
    """The plane of both exponents, coloured by the winner."""
    title = "What other exponents would choose"
    if not findings.board:
        return Figure(name="sensitivity", title=title, caption="Nothing has been judged yet.", panels=[])
    found = sensitivity_map(findings.board, findings.reward)
    ranked = list(found.shares)
    layout = {
        "xaxis": axis("w, exponent of step time", showgrid=False, zeroline=False, constrain="domain"),
        "yaxis": axis("v, exponent of parameters", showgrid=False, zeroline=False),
        "annotations": [_label(found, number) for number in ranked[:NUM_COLOURS] if found.shares[number] >= 0.03],
        "showlegend": False,
    }
    traces = [_cells(findings, found, ranked), _own(findings)]
    return Figure(
        name="sensitivity",
        title=title,
        caption=_caption(findings, found),
        panels=[Panel(traces=traces, layout=layout, height=420)],
    )


def _caption(findings: Findings, found: SensitivityMap) -> str:
    note = pruned_note(findings.run)
    return (
        f"The winner at each pair of exponents, without training anything again; {len(found.shares)} of "
        f"{len(findings.board)} architectures win somewhere. The cross marks this run's own (w, v). To the left and "
        "below, cost weighs more. A retrained winner gives way only to what is better beyond the noise."
        + (f" {note}." if note else "")
    )


def _cells(findings: Findings, found: SensitivityMap, ranked: list[int]) -> Trace:
    entries = {entry.number: entry for entry in findings.board}
    colours = {number: min(place, NUM_COLOURS) for place, number in enumerate(ranked)}
    by_v = list(zip(*found.winners, strict=True))
    return {
        "type": "heatmap",
        "x": list(found.ws),
        "y": list(found.vs),
        "z": [[colours[number] for number in row] for row in by_v],
        "text": [[_figures(entries[number]) for number in row] for row in by_v],
        "hovertemplate": "w %{x:.3f}, v %{y:.3f}<br>%{text}<extra></extra>",
        "colorscale": _steps(),
        "zmin": 0,
        "zmax": NUM_COLOURS,
        "showscale": False,
    }


def _figures(entry: Entry) -> str:
    """Without the reward, which holds for the run's own exponents only."""
    lines = describe(entry).split("<br>")
    return "<br>".join([f"<b>trial {entry.number}</b>", *lines[2:5]])


def _steps() -> list[list[object]]:
    """A colour scale of plain steps."""
    count = NUM_COLOURS + 1
    return [[edge / count, f"@area{place}"] for place in range(count) for edge in (place, place + 1)]


def _label(found: SensitivityMap, number: int) -> dict[str, object]:
    """The trial's number in the middle of its area: of its cells, the one nearest to their mean."""
    cells = [
        (w, v)
        for w, row in zip(found.ws, found.winners, strict=True)
        for v, winner in zip(found.vs, row, strict=True)
        if winner == number
    ]
    spans = (found.ws[-1] - found.ws[0]) or 1.0, (found.vs[-1] - found.vs[0]) or 1.0
    middle = [statistics.mean(values) for values in zip(*cells, strict=True)]
    w, v = min(cells, key=lambda cell: sum(((a - b) / s) ** 2 for a, b, s in zip(cell, middle, spans, strict=True)))
    return {"x": w, "y": v, "text": f"trial {number}", "showarrow": False, "font": {"size": 12, "color": "@ink"}}


def _own(findings: Findings) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [findings.reward.w],
        "y": [findings.reward.v],
        "marker": {"symbol": "cross-thin", "size": 16, "color": "@ink", "line": {"width": 2.5, "color": "@ink"}},
        "hovertemplate": "this run: w %{x:.3f}, v %{y:.3f}<extra></extra>",
    }
