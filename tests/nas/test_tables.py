"""What the command line prints."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from nas.cli.tables import comparison_table, fold, leaderboard_table, stage_table
from nas.comparison import compare_runs
from nas.quantities import count, duration, milliseconds, percent
from nas.run import Run
from search_spaces import catalog


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_leaderboard_shows_whole_architectures_at_every_width(finished_run: Run, width: int) -> None:
    board = finished_run.leaderboard()
    text = printed(leaderboard_table(board, limit=3), width)
    joined = "".join(text.split())
    for entry in board[:3]:
        assert all(f"{part}-" in joined for part in entry.architecture.split("-")[:-1])
        assert f"{entry.reward:.4f}" in text
        assert percent(entry.accuracy, entry.accuracy_se) in text
        assert milliseconds(entry.step_time_s, entry.step_time_se) in text
    assert max(map(len, text.splitlines())) <= width
    assert f"3of{len(board)}shown" in joined


def test_narrow_lines_join_to_the_architecture(finished_run: Run) -> None:
    text = finished_run.leaderboard()[0].architecture
    assert "".join(fold(text, 40)) == text
    assert max(map(len, fold(text, 40))) <= 40


def test_ties_backbone_and_retraining_are_marked(finished_run: Run) -> None:
    board = finished_run.leaderboard()
    lines = printed(leaderboard_table(board, limit=None), 80).splitlines()[2 : 2 + len(board)]
    for entry, line in zip(board, lines, strict=True):
        assert line.lstrip().startswith("=") == entry.tied
        assert ("×3" in line) == (entry.num_trainings == 3)
        assert line.split()[-1] == (entry.better_than_backbone or "backbone")


@pytest.mark.parametrize("width", [80, 140])
def test_predicted_step_times_are_marked(finished_run: Run, make_run: Callable[..., Run], width: int) -> None:
    text = printed(leaderboard_table(finished_run.leaderboard(), limit=None), width)
    for entry in finished_run.leaderboard():
        shown = milliseconds(entry.step_time_s, entry.step_time_se)
        assert (f"≈ {shown}" in text) == (entry.number not in finished_run.measurements)
    assert "≈: predicted" in text
    measured = make_run(trials=3, retrain=False, overrides={"step_time": "measured"})
    assert "≈" not in printed(leaderboard_table(measured.leaderboard()), width)


def test_stage_table_of_a_published_network() -> None:
    text = printed(stage_table(catalog.get("efficientnetv2-s").architecture), 80)
    assert "Fused-MBConv4 k3        4         48        2      –      75²" in text


def test_comparison_says_plainly_whether_rewards_compare(finished_run: Run, make_run: Callable[..., Run]) -> None:
    assert "The rewards are comparable" in printed(comparison_table(compare_runs(finished_run, finished_run)), 100)
    other = make_run(trials=0, planned=5, retrain=False, overrides={"v": -0.2}, source="imagefolder:/data/[red]cats")
    text = printed(comparison_table(compare_runs(finished_run, other)), 100)
    assert "NOT comparable" in text
    assert "[red]cats" in text, "a path is no markup"


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1.00 k"), (999_999, "1.00 M"), (54_139_356, "54.1 M")]
)
def test_counts(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "error", "text"),
    [
        (0.02218, 0.00016, "22.18 ± 0.16 ms"),
        (1.5, 0.0123, "1500 ± 12 ms"),
        (1.5, 0.5, "1500 ± 500 ms"),
        (0.001, 0.0, "1.000 ms"),
        (0.0001, 1e-9, "0.1000 ± 0.0000 ms"),
    ],
)
def test_milliseconds(seconds: float, error: float, text: str) -> None:
    assert milliseconds(seconds, error) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.99, "1 min 0 s"), (3599.9, "1 h 0 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
