"""The benchmark's report: one HTML file with curves and tables, in the style of a search's report."""

import math
from collections.abc import Sequence
from datetime import date

import numpy as np

from nas.report.figure import Figure, Panel, Trace, axis, legend_below
from nas.report.markup import Markup, element, join
from nas.report.page import assemble, figures_section

from .games import REWARD
from .sheets import Volumes, describe, sheets_of
from .standings import Contest, Curves, Standing

FLOOR = 1e-5
"""Gaps below are drawn here: the axis is logarithmic."""
_TICKS = [mantissa * 10.0**power for power in range(-3, 2) for mantissa in (1, 2, 5)]
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a7d0a", "#7f7f7f")
"""Told apart in every colour blindness, on light and dark ground."""


def render(contests: Sequence[Contest], notes: Sequence[str], volumes: Volumes) -> str:
    """The report as HTML.

    Args:
        contests: Beds and rules, each with its samplers.
        notes: What the beds are, and what they can tell apart, in sentences.
        volumes: Of long runs.
    """
    figures = _figures(contests, volumes)
    body = join(
        [
            element("p", "Samplers compared", class_="kicker"),
            element("h1", "How soon a sampler finds the best architecture"),
            element("p", f"Whole searches played offline · {date.today().isoformat()}", class_="meta"),
            figures_section(figures),
            element("section", element("h2", "Reading this"), element("ul", *(element("li", note) for note in notes))),
            *(_section(contest, volumes) for contest in contests),
        ]
    )
    return assemble("Samplers compared", body, figures)


def _figures(contests: Sequence[Contest], volumes: Volumes) -> list[Figure]:
    games = [contest for contest in contests if contest.objectives == REWARD]
    fronts = [contest for contest in contests if contest.objectives != REWARD]
    figures = []
    if games:
        caption = (
            "Mean over seeds of how far the best architecture trained so far is below the best there is, with its "
            f"standard error as a band. The axis is logarithmic; gaps below {FLOOR:.3%} are drawn there."
        )
        panels = [_gap_panel(contest) for contest in games]
        figures.append(Figure(name="gaps", title="Gap over trainings", caption=caption, panels=panels, wide=True))
    if fronts:
        caption = "Mean over seeds of the dominated volume, relative to the front of a long run with accuracy known."
        panels = [_volume_panel(contest, volumes[contest.bed, contest.objectives]) for contest in fronts]
        title = "Hypervolume over trainings"
        figures.append(Figure(name="volumes", title=title, caption=caption, panels=panels, wide=True))
    return figures


def _gap_panel(contest: Contest) -> Panel:
    traces = [
        trace
        for place, standing in enumerate(contest.standings)
        for trace in _curve(standing, 100 * standing.gap, place, floor=100 * FLOOR)
    ]
    return _panel(
        contest, traces, axis("gap, %", type="log", tickvals=_TICKS, ticktext=list(map("{:g}".format, _TICKS)))
    )


def _volume_panel(contest: Contest, long_run: float) -> Panel:
    traces = [
        trace
        for place, standing in enumerate(contest.standings)
        for trace in _curve(standing, 100 * standing.volume / long_run, place, floor=0.0)
    ]
    return _panel(contest, traces, axis("hypervolume, %"))


def _panel(contest: Contest, traces: list[Trace], yaxis: dict[str, object]) -> Panel:
    title = {"text": describe(contest), "font": {"size": 13}, "x": 0.02, "xanchor": "left", "y": 0.99, "yanchor": "top"}
    layout = {
        "xaxis": axis("trainings", zeroline=False),
        "yaxis": {**yaxis, "zeroline": False},
        "legend": legend_below(),
        "title": title,
        "margin": {"t": 84},
    }
    return Panel(traces=traces, layout=layout, height=460)


def _curve(standing: Standing, curves: Curves, place: int, floor: float) -> list[Trace]:
    """A line and its band."""
    mean = curves.mean(axis=0)
    error = curves.std(axis=0, ddof=1) / math.sqrt(len(curves)) if len(curves) > 1 else np.zeros_like(mean)
    numbers = list(range(1, len(mean) + 1))
    colour = _COLOURS[place % len(_COLOURS)]
    low, high, middle = (np.maximum(values, floor).tolist() for values in (mean - error, mean + error, mean))
    band: Trace = {
        "type": "scatter",
        "mode": "lines",
        "x": numbers + numbers[::-1],
        "y": high + low[::-1],
        "fill": "toself",
        "fillcolor": f"{colour}26",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": standing.sampler,
    }
    line: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": standing.sampler,
        "x": numbers,
        "y": middle,
        "line": {"color": colour, "width": 2},
        "legendgroup": standing.sampler,
        "hovertemplate": f"{standing.sampler}, %{{x}} trainings: %{{y:.3g}} %<extra></extra>",
    }
    return [band, line]


def _section(contest: Contest, volumes: Volumes) -> Markup:
    sheets = [sheet.on_page() for sheet in sheets_of(contest, volumes)]
    return element("section", element("h2", describe(contest)), *sheets)
