"""Figure: which choice wins at which stage."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxies.student import student_t95

from ..trials import TrialRecord
from .figure import Figure, Panel, axis
from .findings import Findings

_MIN_TRIALS = 8
# A cell with fewer trials is coloured but never called clear.
_MIN_COUNT = 5
AXIS_TITLES = {
    "block": "block",
    "kernel_size": "kernel size",
    "expand_ratio": "expansion",
    "num_repeats": "layers",
    "se_ratio": "SE ratio",
}
_BLOCKS = {"er": "Fused", "ir": "MBConv"}
# Rewards are shown in hundredths.
_SCALE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceMean:
    """The mean reward of the trials that made one choice at one stage."""

    stage: int
    axis: str
    value: str
    """As people read it."""
    count: int
    deviation: float
    """From the mean of all trials."""
    error: float | None
    """Standard error of the deviation; None for a single trial."""

    @property
    def is_clear(self) -> bool:
        """Whether it is more than noise at 95 %, by Student's t."""
        if self.error is None or self.count < _MIN_COUNT:
            return False
        return abs(self.deviation) > student_t95(self.count - 1) * self.error


def choice_means(findings: Findings) -> list[ChoiceMean]:
    """The mean reward of every choice that was made, in the order of stages, axes and values."""
    records = findings.complete
    overall = statistics.mean(map(findings.first_reward, records))
    means = []
    for name, values in findings.space.choices.items():
        stage, _, kind = name.removeprefix("stage").partition("_")
        for value in values:
            chosen = [record for record in records if record.params.get(name) == value]
            if chosen:
                deviation, error = _deviation(findings, chosen, overall)
                shown = _BLOCKS.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))
                means.append(
                    ChoiceMean(
                        stage=int(stage), axis=kind, value=shown, count=len(chosen), deviation=deviation, error=error
                    )
                )
    return means


def choices_figure(findings: Findings) -> Figure:
    """One map for each kind of choice: stages across, values down."""
    title = "Which choice wins at which stage"
    if len(findings.complete) < _MIN_TRIALS:
        few = f"This needs at least {_MIN_TRIALS} judged architectures; there are {len(findings.complete)} so far."
        return Figure(name="choices", title=title, caption=few, panels=[], wide=True)
    means = choice_means(findings)
    reach = max((abs(mean.deviation) for mean in means), default=0) * _SCALE or 1.0
    kinds = [kind for kind in AXIS_TITLES if any(mean.axis == kind for mean in means)]
    return Figure(
        name="choices",
        title=title,
        caption=(
            "Mean reward of all trials that made a choice, minus the mean of all trials, in hundredths: orange is "
            "better than average, blue is worse. A number is printed only where the difference is more than noise at "
            "95 %, and with this many cells one in twenty is still luck. Samplers repeat what does well, so choices "
            "that usually go together share their merit."
        ),
        panels=[_panel(kind, [mean for mean in means if mean.axis == kind], reach) for kind in kinds],
        wide=True,
    )


def _deviation(findings: Findings, chosen: Sequence[TrialRecord], overall: float) -> tuple[float, float | None]:
    rewards = [findings.first_reward(record) for record in chosen]
    error = statistics.stdev(rewards) / math.sqrt(len(rewards)) if len(rewards) > 1 else None
    return statistics.mean(rewards) - overall, error


def _panel(kind: str, means: Sequence[ChoiceMean], reach: float) -> Panel:
    stages = sorted({mean.stage for mean in means})
    values = _in_order({mean.value for mean in means})
    cells = {(mean.value, mean.stage): mean for mean in means}
    rows = [[cells.get((value, stage)) for stage in stages] for value in values]
    trace = {
        "type": "heatmap",
        "x": [str(stage) for stage in stages],
        "y": values,
        "z": [[None if mean is None else _SCALE * mean.deviation for mean in row] for row in rows],
        "text": [[_printed(mean) for mean in row] for row in rows],
        "texttemplate": "%{text}",
        "textfont": {"size": 12, "color": "@ink"},
        "customdata": [[_hover(mean) for mean in row] for row in rows],
        "hovertemplate": f"stage %{{x}}, {AXIS_TITLES[kind]} %{{y}}<br>%{{customdata}}<extra></extra>",
        "hoverongaps": False,
        "colorscale": [[0, "@worse"], [0.5, "@middle"], [1, "@better"]],
        "zmin": -reach,
        "zmax": reach,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    layout = {
        "title": {"text": AXIS_TITLES[kind], "x": 0, "xanchor": "left", "font": {"size": 14}},
        "xaxis": axis("stage", type="category", showgrid=False),
        "yaxis": {"type": "category", "showgrid": False, "autorange": "reversed", "ticksuffix": " "},
        "margin": {"t": 36, "r": 4},
    }
    return Panel(traces=[trace], layout=layout, height=110 + 34 * len(values))


def _in_order(values: Iterable[str]) -> list[str]:
    return sorted(values, key=lambda value: (float(value), "") if _is_number(value) else (math.inf, value))


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdigit()


def _printed(mean: ChoiceMean | None) -> str:
    return f"{_SCALE * mean.deviation:+.1f}" if mean is not None and mean.is_clear else ""


def _hover(mean: ChoiceMean | None) -> str:
    if mean is None:
        return ""
    error = "" if mean.error is None else f" ± {_SCALE * mean.error:.1f}"
    return f"{_SCALE * mean.deviation:+.1f}{error} hundredths, {mean.count} trials"
