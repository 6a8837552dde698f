"""Cells as a table: accuracy by variant, and time beside the fixed size's, paired by seed."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from .cells import Cell

FIXED, PROGRESSIVE, ADAPTIVE = "fixed", "progressive", "adaptive"
TIME_TARGET = 0.65
"""Training time ÷ the fixed size's: the least saving of the paper's Table 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A mean over seeds, and their standard deviation; None of a single one."""

    mean: float
    std: float | None

    def text(self, pattern: str) -> str:
        return pattern.format(self.mean) + ("" if self.std is None else f" ± {pattern.format(self.std).lstrip('+')}")


def spread(values: Sequence[float]) -> Spread:
    return Spread(mean=statistics.mean(values), std=statistics.stdev(values) if len(values) > 1 else None)


def paired(cells: Sequence[Cell], variant: str, other: str) -> list[tuple[Cell, Cell]]:
    """Cells of two variants with the same seed."""
    by_key = {(cell.variant, cell.seed): cell for cell in cells}
    seeds = sorted(cell.seed for cell in cells if cell.variant == variant and (other, cell.seed) in by_key)
    return [(by_key[variant, seed], by_key[other, seed]) for seed in seeds]


def accuracy_gain(cells: Sequence[Cell], variant: str, other: str) -> Spread | None:
    """Accuracy of one variant minus another's, percentage points; None where no seed has both."""
    pairs = paired(cells, variant, other)
    return spread([100 * (first.accuracy - second.accuracy) for first, second in pairs]) if pairs else None


def time_ratios(cells: Sequence[Cell], variant: str, other: str = FIXED) -> list[float]:
    """Seconds of training steps ÷ another's, seed by seed."""
    return [first.train_seconds / second.train_seconds for first, second in paired(cells, variant, other)]


def cpu_ratios(cells: Sequence[Cell], variant: str, other: str = FIXED) -> list[float]:
    """CPU time ÷ another's, seed by seed, where neither was interrupted: on a shared machine the steadier measure."""
    return [
        first.cpu_seconds / second.cpu_seconds
        for first, second in paired(cells, variant, other)
        if first.cpu_seconds and second.cpu_seconds
    ]


def table(cells: Sequence[Cell]) -> Table:
    """One row per variant."""
    result = Table(title=cells[0].setting if cells else None, box=None, padding=(0, 2, 0, 0))
    for name in ("variant", "seeds", "accuracy, %", "to fixed, points", "training, s", "÷ fixed", "CPU ÷ fixed"):
        result.add_column(name, justify="left" if name == "variant" else "right", no_wrap=True)
    for variant in dict.fromkeys(cell.variant for cell in cells):
        own = [cell for cell in cells if cell.variant == variant]
        gain = accuracy_gain(cells, variant, FIXED)
        result.add_row(
            variant,
            str(len(own)),
            spread([100 * cell.accuracy for cell in own]).text("{:.2f}"),
            gain.text("{:+.2f}") if gain and variant != FIXED else "",
            spread([cell.train_seconds for cell in own]).text("{:.0f}"),
            ratio_text(time_ratios(cells, variant)),
            ratio_text(cpu_ratios(cells, variant)),
        )
    return result


def ratio_text(ratios: Sequence[float]) -> str:
    """Geometric mean and range; empty where there are none."""
    if not ratios:
        return ""
    return f"{statistics.geometric_mean(ratios):.2f} [{min(ratios):.2f}–{max(ratios):.2f}]"


def verdicts(cells: Sequence[Cell]) -> list[str]:
    """The paper's two claims, beside what was found."""
    lines = []
    gain = accuracy_gain(cells, ADAPTIVE, PROGRESSIVE)
    if gain is not None:
        lines.append(
            f"adaptive − progressive: {gain.text('{:+.2f}')} points over {len(paired(cells, ADAPTIVE, PROGRESSIVE))} "
            f"seeds (expected: at least 0; Table 13: +0.8)"
        )
    ratios = time_ratios(cells, ADAPTIVE)
    if ratios:
        in_cpu_time = ratio_text(cpu_ratios(cells, ADAPTIVE))
        lines.append(
            f"training time, adaptive ÷ fixed: {ratio_text(ratios)}, in CPU time {in_cpu_time or 'unknown'} "
            f"(expected: at most {TIME_TARGET}; Table 12: 0.35–0.71)"
        )
    return lines
