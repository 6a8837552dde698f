"""Figure: the model's predictions of candidates it was not shown, against what was measured of them."""

import numpy as np
from numpy.typing import NDArray

from ..opinion import HeldOut, Opinion
from .figure import Figure, Panel, Trace, axis


def held_out_figure(opinion: Opinion) -> Figure:
    """Leave-one-out predictions against measured accuracies."""
    found, name = opinion.held_out, level_name(opinion)
    layout = {
        "xaxis": axis(f"predicted {name}, %", zeroline=False),
        "yaxis": axis(f"measured {name}, %", zeroline=False),
        "showlegend": False,
    }
    return Figure(
        name="held-out",
        title="How well it predicts what it has not seen",
        caption=_caption(found),
        panels=[Panel(traces=[_points(found), _equality(found)], layout=layout)],
        wide=True,
    )


def level_name(opinion: Opinion) -> str:
    """What the model predicts, as people write it."""
    return "A · (S ÷ S of the backbone)ʷ" if opinion.is_step_time_believed else "accuracy"


def ranking_text(found: HeldOut) -> str:
    """Kendall's τ with its interval."""
    low, high = (f"{value:.2f}".replace("-", "\N{MINUS SIGN}") for value in (found.ranking.low, found.ranking.high))
    return f"τ = {found.ranking.tau:.2f} [{low}, {high}]".replace("= -", "= \N{MINUS SIGN}")


def _caption(found: HeldOut) -> str:
    shown = "" if found.measured_noise is None else f" (repeated trainings show {_points_text(found.measured_noise)})"
    return (
        "Each dot is a trained candidate, predicted from all others; on the line, the measurement is what was "
        f"predicted. The model ranks held-out candidates with Kendall {ranking_text(found)}: 1 is the right order, 0 a "
        f"guess, the interval 90 %. It is typically off by {_points_text(found.error)}, where the mean of all would be "
        f"by {_points_text(found.spread)}; its 95 % intervals hold {100 * found.coverage:.0f} % of the measurements. "
        f"It takes noise between trainings to be about {_points_text(found.noise)}{shown}, which no model can predict. "
        "Like the sampler, it sees one training of each candidate."
    )


def _points_text(fraction: float) -> str:
    return f"{100 * fraction:.1f} points"


def _equality(found: HeldOut) -> Trace:
    """From the lowest to the highest prediction."""
    ends = _percents(np.array([found.predicted.min(), found.predicted.max()]))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"color": "@ink", "width": 1.5, "dash": "dash"},
        "hoverinfo": "skip",
    }


def _points(found: HeldOut) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _percents(found.predicted),
        "y": _percents(found.measured),
        "customdata": _percents(found.predicted_se),
        "text": [str(record.number) for record in found.records],
        "marker": {"size": 7, "color": "@accent", "opacity": 0.6},
        "hovertemplate": (
            "<b>trial %{text}</b><br>predicted %{x:.1f} ± %{customdata:.1f} %<br>measured %{y:.1f} %<extra></extra>"
        ),
    }


def _percents(fractions: NDArray[np.float64]) -> list[float]:
    return [round(100 * float(value), 3) for value in fractions]
