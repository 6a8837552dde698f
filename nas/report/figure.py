"""What a figure is, and what figures have in common.

Colours are named by their role, e.g. "@accent"; the page's script puts in the colours of the light or the dark scheme.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ..leaderboard import Entry
from ..quantities import count, percent, reward_text, step_time_text
from .markup import Markup, element

Trace = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One drawing, as Plotly's JSON."""

    traces: Sequence[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 380
    """Pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A titled figure of one or several panels; without panels its caption says why."""

    name: str
    """Of its element in the page; one word."""
    title: str
    caption: str
    panels: Sequence[Panel]
    wide: bool = False
    """Whether it takes the whole width of the page."""


def axis(title: str, **settings: object) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": title}, **settings}


def legend_below() -> dict[str, Any]:
    """A legend in a line above the drawing, where it takes no width from it on a phone."""
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}


def describe(entry: Entry) -> str:
    """An entry as the text that appears when the pointer rests on its mark."""
    lines = [
        f"<b>trial {entry.number}</b>, rank {entry.rank}",
        f"reward {reward_text(entry.reward, entry.reward_se)}",
        f"A {percent(entry.accuracy, entry.accuracy_se)}{trainings(entry)}",
        f"S {step_time_text(entry)}",
        f"P {count(entry.params)}, MACs {count(entry.macs)}",
    ]
    return "<br>".join([*lines, *fold_hover(entry.architecture)])


def trainings(entry: Entry) -> str:
    return f" (mean of {entry.num_trainings} trainings)" if entry.num_trainings > 1 else ""


def fold_hover(text: str, stages_a_line: int = 2) -> list[str]:
    """An architecture in short lines, escaped for Plotly."""
    parts = text.split("-")
    places = range(0, len(parts), stages_a_line)
    return [escape("-".join(parts[place : place + stages_a_line])) for place in places]


def frame(figure: Figure) -> Markup:
    """The place in the page that a figure is drawn in."""
    panels = [
        element("div", id=panel_id(figure, place), class_="panel", style=f"height:{panel.height}px")
        for place, panel in enumerate(figure.panels)
    ]
    return element(
        "figure",
        element("h3", figure.title),
        element("div", *panels, class_="panels"),
        element("figcaption", figure.caption),
        class_="wide" if figure.wide else None,
    )


def panel_id(figure: Figure, place: int) -> str:
    """Name of the element of one of its panels."""
    return f"{figure.name}-{place}"
