"""Figure: the reward over trials."""

from html import escape
from itertools import accumulate

from ..leaderboard import Entry
from ..quantities import reward_text
from ..trials import State, TrialRecord
from .figure import Figure, Panel, Trace, axis, describe, legend_below
from .findings import Findings


def progress_figure(findings: Findings) -> Figure:
    """Each trial's reward, the best so far, the retrained leaders, and the trials that gave none."""
    rewards = [findings.first_reward(record) for record in findings.complete]
    low, high = (min(rewards), max(rewards)) if rewards else (0.0, 1.0)
    floor = low - 0.08 * ((high - low) or 0.1)
    traces = [*_judged(findings, rewards), *_without_reward([*findings.pruned, *findings.unjudged], floor)]
    last = max((record.number for record in findings.run.records), default=0)
    ticks = {"dtick": 1} if last <= 10 else {"tickformat": "d"}
    layout = {
        "xaxis": axis("trial", range=[-0.02 * last - 0.5, 1.02 * last + 0.5], zeroline=False, **ticks),
        "yaxis": axis("reward", zeroline=False),
        "legend": legend_below(),
        "shapes": _backbone_line(findings.backbone),
    }
    return Figure(
        name="progress",
        title="Reward over trials",
        caption=(
            "Each dot is one short training. The line is the best so far; a ring is an architecture that was trained "
            "again, at the mean of its trainings with its standard error. The dotted line is the backbone."
        ),
        panels=[Panel(traces=traces, layout=layout, height=400)],
        wide=True,
    )


def _judged(findings: Findings, rewards: list[float]) -> list[Trace]:
    numbers = [record.number for record in findings.complete]
    entries = {entry.number: entry for entry in findings.board}
    again = [entry for entry in findings.board if entry.num_trainings > 1]
    single = {
        "type": "scatter",
        "mode": "markers",
        "name": "one training",
        "x": numbers,
        "y": rewards,
        "marker": {"color": "@accent", "size": 7, "opacity": 0.55},
        "text": [describe(entries[number]) for number in numbers],
        "hovertemplate": "%{text}<extra></extra>",
    }
    best = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": numbers,
        "y": list(accumulate(rewards, max)),
        "line": {"color": "@accent", "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
    }
    return [best, single, *([_retrained(again)] if again else [])]


def _retrained(entries: list[Entry]) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "retrained, mean",
        "x": [entry.number for entry in entries],
        "y": [entry.reward for entry in entries],
        "error_y": {"array": [entry.reward_se for entry in entries], "color": "@warm", "thickness": 1.5, "width": 3},
        "marker": {"color": "@warm", "size": 12, "symbol": "circle-open", "line": {"width": 2.5}},
        "text": [describe(entry) for entry in entries],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _without_reward(records: list[TrialRecord], floor: float) -> list[Trace]:
    """Pruned, infeasible and failed trials along the foot of the figure, with their reasons."""
    kinds = (
        (State.PRUNED, "pruned", "line-ns"),
        (State.INFEASIBLE, "infeasible", "x-thin"),
        (State.FAILED, "failed, tried again", "triangle-up-open"),
    )
    traces = []
    for state, name, symbol in kinds:
        found = [record for record in records if record.state is state]
        if found:
            traces.append(_reasons(found, name, symbol, floor))
    return traces


def _reasons(records: list[TrialRecord], name: str, symbol: str, floor: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [record.number for record in records],
        "y": [floor] * len(records),
        "marker": {"color": "@muted", "size": 8, "symbol": symbol, "line": {"color": "@muted", "width": 2}},
        "text": [f"<b>trial {record.number}</b> {name}<br>{escape(record.reason or '')}" for record in records],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _backbone_line(backbone: Entry | None) -> list[dict[str, object]]:
    if backbone is None:
        return []
    label = {
        "text": f"backbone {reward_text(backbone.reward)}",
        "textposition": "end",
        "font": {"color": "@muted", "size": 11},
        "yanchor": "bottom",
    }
    line = {"color": "@muted", "width": 1.5, "dash": "dot"}
    place = {"xref": "paper", "x0": 0, "x1": 1, "y0": backbone.reward, "y1": backbone.reward}
    return [{"type": "line", **place, "line": line, "label": label}]
