"""What the command line prints of runs and architectures, as Rich tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from search_spaces.architecture import Architecture
from search_spaces.stage_table import stage_rows

from ..comparison import Comparison, Side
from ..leaderboard import Entry, Verdict
from ..quantities import count, percent, reward_text, step_time_text

_VERDICT_STYLES: dict[Verdict | None, str] = {"yes": "green", "no": "red", "undecided": "yellow", None: "dim"}
_LONGEST_STAGE = 28
# Columns of a terminal from which the architectures fit beside their figures.
_WIDE = 120


class FoldedArchitecture:
    """An architecture's text, folded between its stages; each line but the last ends with its hyphen."""

    def __init__(self, text: str, style: str = "") -> None:
        self.text = text
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in fold(self.text, options.max_width):
            yield Text(line, style=self.style, overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_LONGEST_STAGE, len(self.text)), len(self.text)).clamp(max_width=options.max_width)


def fold(architecture: str, width: int) -> list[str]:
    """Break an architecture's text between stages into lines of at most this width, where its stages allow that.

    >>> fold("stem8-er_r1_k3_s1_e1_c8-head32@32", 24)
    ['stem8-er_r1_k3_s1_e1_c8-', 'head32@32']
    """
    *parts, last = architecture.split("-")
    lines = [""]
    for part in [*(f"{part}-" for part in parts), last]:
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append("")
        lines[-1] += part
    return lines


@dataclass(frozen=True, slots=True)
class LeaderboardTable:
    """A leaderboard that puts the architectures beside their figures where the terminal is wide, else beneath."""

    entries: Sequence[Entry]
    total: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        is_wide = options.max_width >= _WIDE
        yield _figures_table(self.entries, with_architectures=is_wide)
        if not is_wide:
            yield Text()
            yield _architectures_table(self.entries)
        yield Text(_legend(self.entries, self.total), style="dim")


def leaderboard_table(entries: Sequence[Entry], limit: int | None = 10) -> LeaderboardTable:
    """The best architectures of a run, with the errors of their figures.

    Args:
        entries: A leaderboard, best first.
        limit: Rows to show; None shows all.
    """
    return LeaderboardTable(entries[:limit], len(entries))


def stage_table(architecture: Architecture) -> Table:
    """The stages of an architecture, from the input to the head."""
    table = plain_table()
    for name in ("stage", "block"):
        table.add_column(name)
    for name in ("layers", "channels", "stride", "SE", "output"):
        table.add_column(name, justify="right")
    for row in stage_rows(architecture):
        se = f"{row.se_ratio:g}" if row.se_ratio else "–"
        table.add_row(row.stage, row.block, str(row.layers), str(row.channels), str(row.stride), se, f"{row.size}²")
    return table


def comparison_table(comparison: Comparison) -> RenderableType:
    """Two runs side by side, and in plain words whether their rewards may be compared."""
    left, right = comparison.left, comparison.right
    table = plain_table()
    table.add_column("")
    for side in (left, right):
        table.add_column(Text(str(side.path)), overflow="fold")
    for name, ours, theirs in zip(_SIDE_ROWS, _side_cells(left), _side_cells(right), strict=True):
        table.add_row(name, ours, theirs)
    for difference in comparison.differences:
        table.add_row(Text(difference.key, style="cyan"), _value(difference.left), _value(difference.right))
    return Group(table, *map(Text, _conclusions(comparison)))


_SIDE_ROWS = ("judged", "pruned", "infeasible", "device", "best", "A", "S", "P", "reward", "> backbone")


def _side_cells(side: Side) -> list[RenderableType]:
    judged = f"{side.num_judged} of {side.num_planned}"
    cells: list[RenderableType] = [judged, str(side.num_pruned), str(side.num_infeasible), Text(side.device)]
    best = side.best
    if best is None:
        return [*cells, *["–"] * (len(_SIDE_ROWS) - len(cells))]
    return [
        *cells,
        FoldedArchitecture(best.architecture),
        percent(best.accuracy, best.accuracy_se),
        step_time_text(best),
        count(best.params),
        reward_text(best.reward, best.reward_se),
        _verdict(best.better_than_backbone),
    ]


def _conclusions(comparison: Comparison) -> list[str]:
    lines = [f"{len(comparison.shared)} architectures were judged by both runs."]
    if not comparison.rewards_comparable:
        return [*lines, f"The rewards are NOT comparable: {'; '.join(comparison.obstacles)}."]
    words: dict[Verdict | None, str] = {
        "yes": "the left run's best is better",
        "no": "the right run's best is better",
        "undecided": "which best is better is undecided at 95 %",
        None: "one of the runs has no result yet",
    }
    return [*lines, f"The rewards are comparable: {words[comparison.verdict]}."]


def _figures_table(entries: Sequence[Entry], *, with_architectures: bool) -> Table:
    table = plain_table()
    table.add_column("", justify="right")
    if with_architectures:
        table.add_column("architecture")
    for name in ("A", "S", "P", "MACs", "reward"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("better than backbone" if with_architectures else "> backbone")
    for entry in entries:
        rank, architecture = _rank(entry), _architecture(entry)
        table.add_row(rank, *([architecture] if with_architectures else []), *_figures(entry))
    return table


def _architectures_table(entries: Sequence[Entry]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column()
    for entry in entries:
        table.add_row(_rank(entry), _architecture(entry))
    return table


def _rank(entry: Entry) -> Text:
    return Text(f"{'=' if entry.tied else ''}{entry.rank}", style="bold" if entry.rank == 1 else "")


def _architecture(entry: Entry) -> FoldedArchitecture:
    return FoldedArchitecture(entry.architecture, style="bold" if entry.rank == 1 else "")


def _figures(entry: Entry) -> list[RenderableType]:
    again = f" ×{entry.num_trainings}" if entry.num_trainings > 1 else ""
    return [
        percent(entry.accuracy, entry.accuracy_se) + again,
        step_time_text(entry),
        count(entry.params),
        count(entry.macs),
        f"{entry.reward:.4f}",
        _verdict(entry.better_than_backbone, is_backbone=entry.is_backbone),
    ]


def _verdict(verdict: Verdict | None, *, is_backbone: bool = False) -> Text:
    return Text("backbone" if is_backbone else verdict or "–", style=_VERDICT_STYLES[verdict])


def _legend(shown: Sequence[Entry], total: int) -> str:
    notes = ["A, S ± standard error"]
    if not all(entry.is_step_time_measured for entry in shown):
        notes.append("≈: predicted")
    if any(entry.num_trainings > 1 for entry in shown):
        notes.append("×n: mean of n trainings")
    if any(entry.tied for entry in shown):
        notes.append("=: not distinguishable from the first at 95 %")
    if len(shown) < total:
        notes.append(f"{len(shown)} of {total} shown")
    return " · ".join(notes)


def _value(value: object) -> Text:
    return Text("–" if value is None else str(value))


def plain_table() -> Table:
    """The house's table: a rule under the heads, nothing else."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
