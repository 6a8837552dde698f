"""Figure: which parameters of the space matter for the reward."""

import optuna
from optuna.importance import PedAnovaImportanceEvaluator

from ..storage import load_study
from .choices import AXIS_TITLES
from .figure import Figure, Panel, axis
from .findings import Findings

_MIN_TRIALS = 15
# PED-ANOVA compares the best trials with all; with fewer than this many best ones it is mostly noise.
_MIN_BEST = 5
_BEST_SHARE = 0.1
_NUM_ROWS = 12


def importance_figure(findings: Findings) -> Figure:
    """Importances by PED-ANOVA, largest first."""
    title, complete = "Which choices matter most", len(findings.complete)
    if complete < _MIN_TRIALS:
        few = f"Parameter importance needs at least {_MIN_TRIALS} judged architectures; there are {complete} so far."
        return Figure(name="importance", title=title, caption=few, panels=[])
    share = max(_BEST_SHARE, _MIN_BEST / complete)
    importances = optuna.importance.get_param_importances(
        load_study(findings.run.directory), evaluator=PedAnovaImportanceEvaluator(target_quantile=share)
    )
    rows = list(importances.items())[:_NUM_ROWS]
    goal = "on the Pareto front" if findings.run.config.objectives else "in reward"
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [value for _, value in rows],
        "y": [_readable(name) for name, _ in rows],
        "marker": {"color": "@accent", "opacity": 0.85},
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    layout = {
        "xaxis": axis("share of importance", tickformat=".0%", rangemode="tozero"),
        "yaxis": {"autorange": "reversed", "showgrid": False, "ticksuffix": " "},
        "bargap": 0.35,
    }
    return Figure(
        name="importance",
        title=title,
        caption=(
            f"PED-ANOVA: how much the best {share:.0%} {goal} differ from all trials in one choice taken alone. "
            f"It ranks choices and does not say which value is good. From {complete} trials, so read it roughly."
        ),
        panels=[Panel(traces=[trace], layout=layout, height=100 + 28 * len(rows))],
    )


def _readable(parameter: str) -> str:
    """
    >>> _readable("stage2_kernel_size")
    'stage 2 kernel size'
    """
    stage, _, kind = parameter.partition("_")
    return f"stage {stage.removeprefix('stage')} {AXIS_TITLES.get(kind, kind)}"
