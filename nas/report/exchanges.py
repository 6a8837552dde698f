"""Figure: what giving one choice of the favourite another value would change, stage by stage."""

import math
from collections.abc import Sequence
from itertools import groupby

from search_spaces.space import Value

from ..leaderboard import Z95
from ..opinion import Opinion
from ..samplers.exchanges import Exchange
from .figure import Figure, Panel, Trace, axis

_BLOCKS = {"er": "Fused", "ir": "MBConv"}
_NAMES = {
    "block": "block",
    "kernel_size": "kernel",
    "expand_ratio": "expansion",
    "num_repeats": "layers",
    "se_ratio": "SE",
}
_KINDS = (("better", "@warm", "circle"), ("worse", "@accent", "circle"), ("undecided", "@muted", "circle-open"))


def exchanges_figure(opinion: Opinion) -> Figure:
    """One panel for each stage, a row for each other value of its choices."""
    shown = sorted(opinion.exchanges, key=lambda each: (stage_of(each), list(_NAMES).index(kind_of(each))))
    ends = [end for each in shown for end in interval(each, opinion)]
    room = 0.06 * ((max(ends) - min(ends)) if ends else 1.0)
    reach = [min(ends, default=-1.0) - room, max(ends, default=1.0) + room]
    return Figure(
        name="exchanges",
        title=f"Which choices it believes in, around {_favourite(opinion)}",
        caption=_caption(opinion, shown),
        panels=[
            _panel(stage, list(group), opinion, reach)
            for stage, group in groupby(shown, key=lambda each: stage_of(each))
        ],
        wide=True,
    )


def stage_of(exchange: Exchange) -> int:
    """Number of the stage that it changes."""
    return int(exchange.choice.partition("_")[0].removeprefix("stage"))


def kind_of(exchange: Exchange) -> str:
    """The kind of its choice, e.g. "kernel_size"."""
    return exchange.choice.partition("_")[2]


def change(exchange: Exchange, opinion: Opinion) -> float:
    """Expected change of what is searched for, %."""
    return _percent(_gain(exchange, opinion))


def interval(exchange: Exchange, opinion: Opinion) -> tuple[float, float]:
    """Of 95 %, in %."""
    reach = Z95 * exchange.accuracy_deviation
    gain = _gain(exchange, opinion)
    return _percent(gain - reach), _percent(gain + reach)


def verdict(exchange: Exchange, opinion: Opinion) -> str:
    """ "better" or "worse" where the interval of 95 % excludes no change, else "undecided"."""
    low, high = interval(exchange, opinion)
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def _gain(exchange: Exchange, opinion: Opinion) -> float:
    return exchange.accuracy + (0.0 if opinion.is_of_accuracy else exchange.factor)


def _percent(logarithm: float) -> float:
    return 100 * math.expm1(logarithm)


def _goal(opinion: Opinion) -> str:
    return "accuracy" if opinion.is_of_accuracy else "reward"


def _favourite(opinion: Opinion) -> str:
    return f"trial {opinion.records[opinion.favourite].number}"


def _caption(opinion: Opinion, shown: Sequence[Exchange]) -> str:
    verdicts = [verdict(each, opinion) for each in shown]
    better, worse = verdicts.count("better"), verdicts.count("worse")
    return (
        f"Trial {opinion.records[opinion.favourite].number} is what the model believes best of all that was trained. "
        f"Each row gives one of its choices another value and keeps the rest: the expected change of "
        f"{_goal(opinion)}, with its interval of 95 %. Orange: better; blue: worse; grey ring: undecided. It is sure "
        f"of {better + worse} of {len(shown)}: {better} for the better, {worse} for the worse. {_parts(opinion)}"
    )


def _parts(opinion: Opinion) -> str:
    """What of a change is believed, and what is known."""
    if opinion.is_of_accuracy:
        return "With several objectives, only accuracy is shown; the costs are known, and stand beside the pointer."
    if opinion.is_step_time_believed:
        return (
            "Step times are measured, so the model does not know them beforehand: the bars are about accuracy and step "
            "time together, and of the cost only that of the parameters is known."
        )
    return "Step time and parameters are known beforehand: the bars are about accuracy alone."


def _panel(stage: int, rows: Sequence[Exchange], opinion: Opinion, reach: Sequence[float]) -> Panel:
    names = [_row(each) for each in rows]
    traces = [
        _points([each for each in rows if verdict(each, opinion) == kind], opinion, colour, symbol)
        for kind, colour, symbol in _KINDS
    ]
    layout = {
        "title": {"text": f"stage {stage}", "x": 0, "xanchor": "left", "font": {"size": 14}},
        "xaxis": axis(f"change of {_goal(opinion)}, %", range=list(reach), zeroline=True, zerolinewidth=2),
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names,
            "range": [len(names) - 0.5, -0.5],
            "showgrid": False,
            "ticksuffix": " ",
        },
        "margin": {"t": 32, "r": 4},
        "showlegend": False,
    }
    return Panel(traces=[trace for trace in traces if trace["x"]], layout=layout, height=90 + 24 * len(rows))


def _points(rows: Sequence[Exchange], opinion: Opinion, colour: str, symbol: str) -> Trace:
    changes = [change(each, opinion) for each in rows]
    ends = [interval(each, opinion) for each in rows]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": changes,
        "y": [_row(each) for each in rows],
        "error_x": {
            "symmetric": False,
            "array": [high - middle for middle, (_, high) in zip(changes, ends, strict=True)],
            "arrayminus": [middle - low for middle, (low, _) in zip(changes, ends, strict=True)],
            "color": colour,
            "thickness": 2,
            "width": 0,
        },
        "marker": {"size": 9, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
        "text": [_hover(each, opinion) for each in rows],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _row(exchange: Exchange) -> str:
    name = "" if kind_of(exchange) == "block" else f"{_NAMES[kind_of(exchange)]} "
    return f"{name}{_shown(exchange.before)} → {_shown(exchange.after)}"


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, int | float) else _BLOCKS.get(value, value)


def _hover(exchange: Exchange, opinion: Opinion) -> str:
    low, high = interval(exchange, opinion)
    reach = Z95 * exchange.accuracy_deviation
    believed = (
        f"{'A and S together' if opinion.is_step_time_believed else 'accuracy'} {signed(_percent(exchange.accuracy))} "
        f"({signed(_percent(exchange.accuracy - reach))} to {signed(_percent(exchange.accuracy + reach))}), believed"
    )
    total = f"{_goal(opinion)} {signed(change(exchange, opinion))} ({signed(low)} to {signed(high)})"
    known = "costs" if opinion.is_of_accuracy else f"cost {signed(_percent(exchange.factor))}"
    costs = [
        f"{name} {signed(_percent(value))}"
        for name, value in (("S", exchange.step_time), ("P", exchange.params))
        if value is not None
    ]
    lines = [f"<b>stage {stage_of(exchange)}: {_row(exchange)}</b>", total]
    return "<br>".join([*lines, *([] if opinion.is_of_accuracy else [believed]), f"{known}, known: {', '.join(costs)}"])


def signed(percent: float) -> str:
    """
    >>> signed(-1.23), signed(0.5)
    ('−1.2 %', '+0.5 %')
    """
    return f"{percent:+.1f} %".replace("-", "\N{MINUS SIGN}")
