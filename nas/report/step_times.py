"""How S came about, and how far what was measured of the finalists lies from what was predicted."""

from collections.abc import Sequence

from proxies.step_time import STABLE_WITHIN, StepTime
from proxies.step_time_table import StepTimeTable

from ..leaderboard import SURPRISING, Z95, Entry
from ..quantities import duration, gibibytes, milliseconds
from .figure import Figure, Panel, Trace, axis, describe, legend_below
from .findings import Findings
from .markup import Markup, element, table

_MIN_NETWORKS = 3


def step_time_origin(findings: Findings) -> str:
    """How S came about, in a few words."""
    timing, tables = findings.run.config.step_time, findings.run.tables
    if timing.method == "measured":
        return "measured, candidate by candidate"
    if timing.method == "macs":
        return f"multiply-adds as a stand-in{_and_finalists(findings)}"
    if not tables:
        return "predicted, once the blocks of the space are calibrated"
    of = tables[0].device if len(tables) == 1 else f"{len(tables)} devices"
    return f"predicted from blocks measured on {of}{_and_finalists(findings)}"


def step_time_paragraphs(findings: Findings) -> list[Markup]:
    """How S came about, with the circumstances of each calibration and of the finalists' measurements."""
    method, tables = findings.run.config.step_time.method, findings.run.tables
    if method == "measured":
        lines = ["S was measured candidate by candidate, each beside the canary in one visit."]
    elif method == "macs":
        lines = ["S is no measurement but multiply-adds, scaled so that the backbone's is right."]
    else:
        lines = [f"S was predicted. {_calibration(findings, each)}" for each in tables]
        if len(tables) > 1:
            timing = findings.run.config.step_time
            weighted = timing.tables or timing.targets
            weights = ", ".join(f"{target.weight:g}" for target in weighted)
            lines.append(f"S is the geometric mean over these devices, weighted {weights}.")
    unmeasured = _why_unmeasured(findings)
    return [element("p", line) for line in [*lines, *([unmeasured] if unmeasured else [])]]


def surprises(findings: Findings) -> list[str]:
    """Finalists whose measured step time is off by more than a tenth, in plain words."""
    found = [(entry, entry.surprise) for entry in findings.board if entry.surprise is not None]
    return [
        f"{'The backbone' if entry.is_backbone else f'Trial {entry.number}'} takes {100 * abs(off):.0f} % "
        f"{'longer' if off > 0 else 'less'} than predicted."
        for entry, off in found
        if abs(off) > SURPRISING
    ]


def step_times_figure(findings: Findings) -> Figure:
    """Of the finalists, S as predicted against S as measured."""
    shown = _compared(findings)
    title = "Predicted and measured step time"
    if not shown:
        why = _why_unmeasured(findings) or "None of the finalists could be measured."
        return Figure(name="step-times", title=title, caption=why, panels=[])
    usual = [entry for entry in shown if not _is_surprising(entry)]
    surprising = [entry for entry in shown if _is_surprising(entry)]
    traces = [
        *_lines(shown),
        *([_points(usual, "within 10 %", "@accent", "circle")] if usual else []),
        *([_points(surprising, "off by more than 10 %", "@warm", "diamond")] if surprising else []),
    ]
    layout = {
        "xaxis": axis("predicted S, ms", zeroline=False),
        "yaxis": axis("measured S, ms", zeroline=False),
        "legend": legend_below(),
    }
    caption = (
        "The finalists: on the line, a measurement is what was predicted; the dotted lines are 10 % off. Bars are "
        "intervals of 95 %. Ranks follow what was measured."
    )
    panel = Panel(traces=traces, layout=layout)
    return Figure(name="step-times", title=title, caption=caption, panels=[panel], wide=True)


def finalists_section(findings: Findings) -> Markup:
    """What was measured of the finalists beside what was predicted; nothing where nothing was."""
    shown = [entry for entry in findings.board if entry.measurement is not None]
    failed = [
        element("p", f"Trial {number} could not be measured, so that its S stays predicted: {reason}.")
        for number, reason in sorted(findings.run.failed_measurements.items())
    ]
    if not shown and not failed:
        return Markup("")
    note = (
        "Each was timed alone, in visits beside the canary. Stable: S is known within "
        f"{100 * STABLE_WITHIN:.0f} % at 95 %; unstable: not within the time allowed; contaminated: something else "
        "used the device all the time."
    )
    content = [element("p", note), _finalists_table(shown)] if shown else []
    return element("section", element("h2", "The finalists, measured"), *content, *failed, id="finalists")


def _calibration(findings: Findings, found: StepTimeTable) -> str:
    work, residual = found.workload, f"{100 * found.residual:.1f} %"
    spread = (
        f"whole networks lie within {residual} of the sums of their blocks"
        if len(found.networks) >= _MIN_NETWORKS
        else f"too few whole networks were timed to tell how far they lie from their sums, {residual} is assumed"
    )
    return (
        f"{len(found.blocks)} blocks were measured on {found.device} in {duration(found.seconds)}, at batch "
        f"{work.batch_size}, {work.resolution_of(findings.space.backbone)} pixels, in {work.mode}; {spread} (one "
        "standard deviation)."
    )


def _and_finalists(findings: Findings) -> str:
    return "; finalists measured" if findings.run.measurements else ""


def _why_unmeasured(findings: Findings) -> str | None:
    """Why no finalist has been measured; None where some were."""
    run = findings.run
    if run.measurements or run.failed_measurements:
        return None
    if not run.preparation.is_target_here:
        devices = " and ".join(str(each.device) for each in run.tables)
        return (
            f"The finalists were not measured: S is meant for {devices}, the search ran on {run.preparation.device}, "
            "so their S is what was predicted."
        )
    if not run.config.finalists:
        return "No finalist was measured: the configuration asks for none."
    return "The finalists are measured when all candidates are judged."


def _is_surprising(entry: Entry) -> bool:
    return entry.surprise is not None and abs(entry.surprise) > SURPRISING


def _compared(findings: Findings) -> list[Entry]:
    return [entry for entry in findings.board if entry.surprise is not None]


def _lines(shown: Sequence[Entry]) -> list[Trace]:
    """Equality, and 10 % beside it."""
    times = [time for entry in shown for time in (entry.predicted_step_time_s, entry.step_time_s) if time]
    ends = [1000 * 0.95 * min(times), 1000 * 1.05 * max(times)]
    factors = ((1.0, "dash"), (1 + SURPRISING, "dot"), (1 - SURPRISING, "dot"))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": ends,
            "y": [factor * end for end in ends],
            "line": {"color": "@muted", "width": 1, "dash": dash},
            "hoverinfo": "skip",
            "showlegend": False,
        }
        for factor, dash in factors
    ]


def _points(entries: Sequence[Entry], name: str, colour: str, symbol: str) -> Trace:
    measured = [entry.measurement.step_time for entry in entries if entry.measurement]
    predicted = [1000 * (entry.predicted_step_time_s or 0.0) for entry in entries]
    bars = {"color": colour, "thickness": 1.5, "width": 0}
    errors = [Z95 * entry.predicted_step_time_rse * time for entry, time in zip(entries, predicted, strict=True)]
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": predicted,
        "y": [1000 * each.median_s for each in measured],
        "error_x": {"array": errors, **bars},
        "error_y": _intervals(measured) | bars,
        "marker": {"size": 10, "color": colour, "symbol": symbol, "line": {"color": "@panel", "width": 1}},
        "text": ["backbone" if entry.is_backbone else f"trial {entry.number}" for entry in entries],
        "textposition": "top left",
        "textfont": {"size": 12, "color": "@ink"},
        "hovertext": [f"{describe(entry)}<br>measured {_difference(entry)} than predicted" for entry in entries],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "cliponaxis": False,
    }


def _intervals(measured: Sequence[StepTime]) -> Trace:
    return {
        "symmetric": False,
        "array": [1000 * (each.interval_s[1] - each.median_s) for each in measured],
        "arrayminus": [1000 * (each.median_s - each.interval_s[0]) for each in measured],
    }


def _finalists_table(shown: Sequence[Entry]) -> Markup:
    has_inference = any(entry.measurement and entry.measurement.inference for entry in shown)
    headers = ["rank", "trial", "predicted", "measured", "difference", "verdict", "memory predicted", "memory measured"]
    if has_inference:
        headers.append("inference")
    rows = [_finalist_row(entry)[: len(headers)] for entry in shown]
    return table(headers, rows, numeric=(0, 1, 2, 3, 4, 6, 7, 8))


def _finalist_row(entry: Entry) -> tuple[str, ...]:
    measurement = entry.measurement
    if measurement is None:
        raise ValueError(f"only measured finalists have a row, trial {entry.number} is not measured")
    step, predicted, peak = measurement.step_time, entry.predicted_step_time_s, measurement.peak_memory_bytes
    parts = f" in {step.micro_batches} parts" if step.micro_batches > 1 else ""
    return (
        str(entry.rank),
        f"{entry.number}{' (backbone)' if entry.is_backbone else ''}",
        "–" if predicted is None else milliseconds(predicted, predicted * entry.predicted_step_time_rse),
        milliseconds(step.median_s, entry.step_time_se) + parts,
        _difference(entry),
        step.verdict + (f": {step.disturbance}" if step.verdict == "contaminated" else ""),
        gibibytes(entry.peak_memory_bytes),
        "–" if peak is None else gibibytes(peak),
        milliseconds(measurement.inference.median_s) if measurement.inference else "–",
    )


def _difference(entry: Entry) -> str:
    return "–" if entry.surprise is None else f"{100 * entry.surprise:+.1f} %".replace("-", "\N{MINUS SIGN}")
