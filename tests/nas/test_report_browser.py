"""The report in a real browser: Debian's Chromium, headless, without network."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fake_audit
import pytest
from fake_training import training_record

from nas.audit.analysis import analyse
from nas.full_training.record import Event
from nas.report.audit_page import render_audit
from nas.report.belief_section import belief_figures
from nas.report.findings import Findings
from nas.report.page import draw, render
from nas.report.training_figures import training_figures
from nas.report.training_page import Training, render_training
from nas.run import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=20000",
    "--dump-dom",
)  # fmt: skip
DARK, LIGHT = 0, 1

# Stands at the end of a copy of the report, waits for the figures, and tells the page around it what it sees.
PROBE = """
<script>
const panels = () => Object.fromEntries([...document.querySelectorAll(".panel")].map((panel) => [panel.id, {
  svgs: panel.querySelectorAll("svg.main-svg").length,
  marks: panel.querySelectorAll(".points path, .point path, .bars path, .heatmaplayer image, .errorbar path").length,
  width: panel.getBoundingClientRect().width,
  drawn: Math.max(0, ...[...panel.querySelectorAll("svg.main-svg")].map((svg) => svg.getBoundingClientRect().width)),
  ink: getComputedStyle(panel.querySelector(".xtick text")).fill,
}]));
const report = () => parent.postMessage(JSON.stringify({
  width: innerWidth,
  scrolls: document.documentElement.scrollWidth,
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  muted: getComputedStyle(document.querySelector(".meta")).color,
  panels: panels(),
}), "*");
const wait = setInterval(() => {
  if (document.documentElement.dataset.drawn === undefined) return;
  clearInterval(wait);
  setTimeout(report, 500);
}, 50);
</script>
"""
# A window cannot be narrower than 500 pixels, a frame can.
FRAME = """<body><iframe src="report.html" style="border:0;width:{width}px;height:3000px"></iframe>
<pre id="seen"></pre>
<script>
addEventListener("message", (event) => {{ document.getElementById("seen").textContent = event.data; }});
</script>
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the browser shows and what it complained of."""

    page: dict[str, Any]
    console: list[str]


def look(page: str, folder: Path, *, width: int, scheme: int) -> Seen:
    (folder / "report.html").write_text(page.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [
        str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={max(width, 500)},3000",
        f"--blink-settings=preferredColorScheme={scheme}", (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert found is not None, done.stderr
    assert found[1], f"the figures were never drawn: {console}"
    return Seen(page=json.loads(found[1]), console=console)


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)" by WCAG 2.2."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_report_is_drawn(finished_run: Run, tmp_path: Path, width: int, scheme: int) -> None:
    seen = look(render(finished_run), tmp_path, width=width, scheme=scheme)
    assert seen.console == []
    page = seen.page
    assert page["width"] == width
    assert page["scrolls"] <= width, "the page must not scroll sideways"
    findings = Findings(finished_run)
    figures = [*draw(findings), *belief_figures(findings)]
    expected = {f"{figure.name}-{i}" for figure in figures for i in range(len(figure.panels))}
    assert set(page["panels"]) == expected
    for name, panel in page["panels"].items():
        assert panel["svgs"] > 0, f"{name} is not drawn"
        assert panel["marks"] > 0, f"{name} is empty"
        assert panel["drawn"] <= panel["width"] + 1, f"{name} is wider than its box"
    assert (luminance(page["background"]) < 0.1) == (scheme == DARK)
    for ink in (page["ink"], page["muted"], *(panel["ink"] for panel in page["panels"].values())):
        assert contrast(ink, page["background"]) >= 4.5, ink


@pytest.mark.parametrize("run_name", ["young_run", "front_run"])
def test_other_runs_are_drawn_without_complaint(request: pytest.FixtureRequest, tmp_path: Path, run_name: str) -> None:
    run: Run = request.getfixturevalue(run_name)
    seen = look(render(run), tmp_path, width=375, scheme=LIGHT)
    assert seen.console == []
    assert seen.page["scrolls"] <= 375
    assert all(panel["svgs"] > 0 for panel in seen.page["panels"].values())


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("epochs", [0, 1, 7])
def test_trainings_are_drawn(tmp_path: Path, width: int, scheme: int, epochs: int) -> None:
    record = training_record(epochs=epochs, events=(Event(epoch=1, kind="resumed", text="from step 3"),))
    training = Training(record=record, config="seed: 0\n", environment={"command": ["nas", "train", "x" * 300]})
    seen = look(render_training(training), tmp_path, width=width, scheme=scheme)
    assert seen.console == []
    page = seen.page
    assert page["scrolls"] <= width, "the page must not scroll sideways"
    figures = training_figures(record)
    assert set(page["panels"]) == {f"{figure.name}-{i}" for figure in figures for i in range(len(figure.panels))}
    for name, panel in page["panels"].items():
        assert panel["svgs"] > 0, f"{name} is not drawn"
        assert panel["drawn"] <= panel["width"] + 1, f"{name} is wider than its box"
    for ink in (page["ink"], page["muted"], *(panel["ink"] for panel in page["panels"].values())):
        assert contrast(ink, page["background"]) >= 4.5, ink


@pytest.mark.parametrize("width", [1280, 375])
def test_audits_are_drawn(tmp_path: Path, width: int) -> None:
    analysis = analyse(fake_audit.audit(fake_audit.config()))
    seen = look(render_audit(analysis), tmp_path, width=width, scheme=LIGHT)
    assert seen.console == []
    assert seen.page["scrolls"] <= width, "the page must not scroll sideways"
    assert set(seen.page["panels"]) == {"tau-0", "agreement-0", "early-stops-0"}
    for name, panel in seen.page["panels"].items():
        assert panel["marks"] > 0, f"{name} is empty"
        assert panel["drawn"] <= panel["width"] + 1, f"{name} is wider than its box"


def test_the_probe_notices_a_broken_page(young_run: Run, tmp_path: Path) -> None:
    """The same look at a report that asks for a network and is too wide must complain."""
    broken = render(young_run).replace(
        "<main>", '<main><div style="width:900px">wide</div><img src="http://localhost:9/x.png">'
    )
    (tmp_path / "broken.html").write_text(broken.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    frame = FRAME.format(width=375).replace("report.html", "broken.html")
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    command = [
        str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "Content Security Policy" in done.stderr
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["scrolls"] > 375
