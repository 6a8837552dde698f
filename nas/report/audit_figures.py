"""Figures of an audit: τ against cost, a proxy's accuracies against the target's, and what early stops would see."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..audit.advice import cost_text, describe, found_text, tau_text
from ..audit.analysis import Analysis
from ..audit.config import ProxyTraining
from ..audit.scores import mean_of, scores_of
from ..audit.standing import Standing
from ..quantities import count, percent
from .figure import Figure, Panel, Trace, axis, fold_hover, legend_below

HEIGHT = 440
"""Pixels."""


def audit_figures(analysis: Analysis) -> list[Figure]:
    """What can be drawn so far."""
    chosen = analysis.recommendation
    drawn = [tau_figure(analysis)] if analysis.standings else []
    drawn += [agreement_figure(analysis, chosen.standing.training)] if chosen is not None else []
    return drawn + ([early_stops_figure(analysis)] if analysis.stops else [])


def tau_figure(analysis: Analysis) -> Figure:
    """How well each proxy ranks against what it costs."""
    chosen = analysis.recommendation and analysis.recommendation.standing
    front = [each for each in analysis.standings if each.on_front]
    others = [each for each in analysis.standings if not each.on_front]
    traces = [
        _border(front),
        _proxies(others, "other proxies", "@muted"),
        _proxies(front, "Pareto front", "@accent"),
        *([_star(chosen)] if chosen else []),
        *_ceiling(analysis),
    ]
    layout = {
        "xaxis": _cost_axis(),
        "yaxis": axis("Kendall's τ", zeroline=False),
        "legend": legend_below(),
        "shapes": [_line(analysis.results.config.min_tau, "@muted", "dot")],
    }
    return Figure(
        name="tau",
        title="How well each proxy ranks, and what it costs",
        caption=(
            "Up and to the left is better. Each mark is a training with a schedule of its own; cost is its seconds of "
            "training ÷ the target's. Bars are 90 % intervals over architectures. The dotted line is the τ that is "
            "asked for, the diamond a further training of the target: its τ is the noise ceiling. Proxies are judged "
            "by the mean of the target's trainings, the ceiling by one less, so a mark may lie a little above it."
        ),
        panels=[Panel(traces=traces, layout=layout, height=HEIGHT)],
        wide=True,
    )


def agreement_figure(analysis: Analysis, training: ProxyTraining) -> Figure:
    """A proxy's accuracies against the target's, architecture by architecture."""
    target = analysis.target
    proxy = mean_of(scores_of(analysis.results, training).accuracy)
    both = np.flatnonzero(np.isfinite(proxy) & np.isfinite(target.accuracy))
    best = set(both[np.argsort(-target.rewards[both], kind="stable")][: target.num_best].tolist())
    groups = ((f"the {target.num_best} best by reward", "@accent", True), ("others", "@muted", False))
    traces = [
        _architectures(analysis, [n for n in both.tolist() if (n in best) == is_best], proxy, name, colour)
        for name, colour, is_best in groups
    ]
    layout = {
        "xaxis": axis("accuracy at the target, %", zeroline=False),
        "yaxis": axis(f"accuracy by {training.key}, %", zeroline=False),
        "legend": legend_below(),
    }
    return Figure(
        name="agreement",
        title=f"{training.key} against the target",
        caption=(
            "Each mark is an architecture, means over its trainings. The same order along both axes would be τ 1, "
            "however far the accuracies are apart. Coloured: the best by the target's reward."
        ),
        panels=[Panel(traces=traces, layout=layout, height=HEIGHT)],
    )


def early_stops_figure(analysis: Analysis) -> Figure:
    """How well every training ranks after each of its epochs."""
    target = analysis.results.config.target
    ends = {each.training: (each.cost, each.accuracy) for each in analysis.standings}
    if analysis.ceiling is not None:
        ends[target] = (1.0, analysis.ceiling.accuracy)
    traces = [_learning(analysis, training, training == target) for training in dict.fromkeys((target, *ends))]
    layout = {
        "xaxis": _cost_axis("cost up to there"),
        "yaxis": axis("Kendall's τ", zeroline=False),
        "showlegend": False,
    }
    return Figure(
        name="early-stops",
        title="Looking before the end",
        caption=(
            "What a rung sees: every training after each of its epochs, its last one (○) included; the target is "
            "drawn in colour, and held against its own other trainings. A training that is cut short lacks the end of "
            "its schedule, so a short one that is planned as such may rank better at the same cost."
        ),
        panels=[Panel(traces=[trace for trace in traces if trace["x"]], layout=layout, height=HEIGHT)],
    )


def _cost_axis(title: str = "cost") -> dict[str, Any]:
    return axis(f"{title}, beside the target's", type="log", zeroline=False, dtick="D2", tickformat="~g")


def _proxies(standings: Sequence[Standing], name: str, colour: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [each.cost for each in standings],
        "y": [each.accuracy.tau for each in standings],
        "error_y": {
            "array": [each.accuracy.high - each.accuracy.tau for each in standings],
            "arrayminus": [each.accuracy.tau - each.accuracy.low for each in standings],
            "thickness": 1,
            "width": 0,
            "color": colour,
        },
        "marker": {"color": colour, "size": 10, "line": {"color": "@panel", "width": 1}},
        "text": [_describe(each) for each in standings],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _describe(each: Standing) -> str:
    lines = [
        f"<b>{each.training.key}</b>" + ("" if each.is_settled else " (unfinished)"),
        describe(each.training),
        f"τ {tau_text(each.accuracy)}, {each.num_architectures} architectures",
        f"τ of the reward {tau_text(each.reward)}",
        f"cost {cost_text(each.cost)}, images {each.images:.3g}",
        f"best found: {found_text(each.by_reward)}",
    ]
    return "<br>".join(lines)


def _star(chosen: Standing) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": "recommended",
        "x": [chosen.cost],
        "y": [chosen.accuracy.tau],
        "marker": {"symbol": "star", "size": 15, "color": "@warm", "line": {"color": "@panel", "width": 1}},
        "text": [chosen.training.key],
        "textposition": "bottom right",
        "textfont": {"color": "@warm", "size": 12},
        "hovertext": [_describe(chosen)],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": False,
    }


def _border(front: Sequence[Standing]) -> Trace:
    """The best τ at or below each cost."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "border",
        "x": [each.cost for each in front],
        "y": [each.accuracy.tau for each in front],
        "line": {"color": "@accent", "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _ceiling(analysis: Analysis) -> list[Trace]:
    ceiling = analysis.ceiling
    if ceiling is None:
        return []
    tau = ceiling.accuracy
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "noise ceiling",
            "x": [1.0],
            "y": [tau.tau],
            "error_y": {"array": [tau.high - tau.tau], "arrayminus": [tau.tau - tau.low], "color": "@ink", "width": 0},
            "marker": {"symbol": "diamond", "size": 12, "color": "@ink"},
            "text": [f"<b>noise ceiling</b><br>τ {tau_text(tau)}<br>{ceiling.num_trainings} trainings of the target"],
            "hovertemplate": "%{text}<extra></extra>",
        }
    ]


def _line(height: float, colour: str, dash: str) -> dict[str, Any]:
    style = {"color": colour, "width": 1, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": style}


def _architectures(analysis: Analysis, numbers: Sequence[int], proxy: np.ndarray, name: str, colour: str) -> Trace:
    target, audited = analysis.target, analysis.results.architectures
    texts = [
        "<br>".join(
            [
                f"<b>architecture {n}</b>",
                f"target {percent(target.accuracy[n])}, proxy {percent(proxy[n])}",
                f"reward {target.rewards[n]:.4f}, proxy {proxy[n] * target.factors[n]:.4f}",
                f"P {count(audited[n].costs.params)}, MACs {count(audited[n].costs.macs)}",
                *fold_hover(audited[n].architecture),
            ]
        )
        for n in numbers
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [100 * float(target.accuracy[n]) for n in numbers],
        "y": [100 * float(proxy[n]) for n in numbers],
        "marker": {"color": colour, "size": 10, "line": {"color": "@panel", "width": 1}},
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _learning(analysis: Analysis, training: ProxyTraining, is_target: bool) -> Trace:
    """The course of τ over one training's epochs, its end included where it is known."""
    points = [(each.cost, each.accuracy, each.epoch) for each in analysis.stops if each.training == training]
    end = next(((e.cost, e.accuracy, training.epochs) for e in analysis.standings if e.training == training), None)
    if is_target and analysis.ceiling is not None:
        end = (1.0, analysis.ceiling.accuracy, training.epochs)
    points += [end] if end else []
    symbols = ["circle-open" if epoch == training.epochs else "circle" for _, _, epoch in points]
    colour = "@accent" if is_target else "@muted"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": training.key,
        "x": [cost for cost, _, _ in points],
        "y": [tau.tau for _, tau, _ in points],
        "opacity": 1.0 if is_target else 0.6,
        "line": {"color": colour, "width": 2 if is_target else 1},
        "marker": {"color": colour, "symbol": symbols, "size": [9 if s == "circle-open" else 4 for s in symbols]},
        "text": [
            f"<b>{training.key}</b>, epoch {epoch} of {training.epochs}<br>τ {tau_text(tau)}<br>cost {cost_text(cost)}"
            for cost, tau, epoch in points
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
