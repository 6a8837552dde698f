"""The report of a run: one HTML file that holds its style, its script and Plotly, and asks no network."""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from ..run import Run
from ..run_directory import write_whole
from .belief_section import belief_figures, belief_section
from .choices import choices_figure
from .family_section import family_section
from .figure import Figure, frame, panel_id
from .findings import Findings
from .headline import headline, state_text
from .importance import importance_figure
from .leaders import leaders_figure
from .machines import machines_section
from .markup import Markup, element, join
from .progress import progress_figure
from .sensitivity import sensitivity_figure
from .step_times import finalists_section, step_times_figure
from .tables import (
    architectures_section,
    circumstances_section,
    leaderboard_section,
    pruned_section,
    reading_section,
    unjudged_section,
)
from .trade_off import trade_off_figure


def write_report(run: Run, path: Path) -> None:
    """Write the report of a run, finished or not; whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    write_whole(path, render(run))


def render(run: Run) -> str:
    """The report as HTML."""
    findings = Findings(run)
    figures, believed, family = draw(findings), belief_figures(findings), run.family
    body = join(
        [
            headline(findings),
            figures_section(figures),
            belief_section(findings, believed),
            reading_section(findings),
            leaderboard_section(findings),
            finalists_section(findings),
            *([family_section(family)] if family is not None else []),
            architectures_section(findings),
            pruned_section(findings),
            unjudged_section(findings),
            machines_section(findings),
            circumstances_section(findings),
        ]
    )
    title = f"{run.preparation.data.source}: architecture search ({state_text(findings)})"
    return assemble(title, body, [*figures, *believed])


def assemble(title: str, body: Markup, figures: Sequence[Figure]) -> str:
    """A page that needs no network.

    Args:
        title: Of the window.
        body: With a frame for every figure, see `figures_section`.
        figures: What is drawn in the frames.
    """
    return Template(_asset("report.html")).substitute(
        title=element("title", title),
        style=_asset("report.css"),
        body=body,
        figures=figures_json(figures),
        plotly=get_plotlyjs(),
        script=_asset("report.js"),
    )


def figures_section(figures: Sequence[Figure], heading: str = "Figures") -> Markup:
    """The frames that figures are drawn in."""
    return element("section", element("h2", heading), *map(frame, figures), id="figures", class_="figures")


def draw(findings: Findings) -> list[Figure]:
    """The figures of what was found, in their order."""
    drawn = [progress_figure(findings), trade_off_figure(findings)] if findings.board else []
    is_predicted = findings.board and findings.run.config.step_time.method != "measured"
    return [
        *drawn,
        choices_figure(findings),
        *([leaders_figure(findings)] if findings.board else []),
        *([step_times_figure(findings)] if is_predicted else []),
        importance_figure(findings),
        sensitivity_figure(findings),
    ]


def figures_json(figures: Sequence[Figure]) -> str:
    """Every panel by the name of its element; nothing in it can end the script element that holds it."""
    panels = {
        panel_id(figure, place): {"data": list(panel.traces), "layout": panel.layout}
        for figure in figures
        for place, panel in enumerate(figure.panels)
    }
    text = json.dumps(panels, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
