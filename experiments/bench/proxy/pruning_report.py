"""Searches with and without the pruner as a table, and what follows from it."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from scipy.stats import t as student_t

from .pruning_cells import WITH, WITHOUT, Cell, Completed

TARGET = 0.3
"""Share of training cost that is to be saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its interval of 95 % by Student's t; of a single seed the ends are missing."""

    mean: float
    half_width: float | None

    def text(self, pattern: str) -> str:
        if self.half_width is None:
            return pattern.format(self.mean)
        low, high = self.mean - self.half_width, self.mean + self.half_width
        return f"{pattern.format(self.mean)} [{pattern.format(low)}, {pattern.format(high)}]"


def interval(values: Sequence[float]) -> Interval:
    """Over seeds, at least one."""
    if len(values) < 2:
        return Interval(mean=values[0], half_width=None)
    error = statistics.stdev(values) / len(values) ** 0.5
    return Interval(mean=statistics.mean(values), half_width=float(student_t.ppf(0.975, len(values) - 1)) * error)


def pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Searches with and without the pruner, of the same seed."""
    known = {cell.key: cell for cell in cells}
    return [
        (cell, known[WITHOUT, cell.seed]) for cell in cells if cell.variant == WITH and (WITHOUT, cell.seed) in known
    ]


def cells_table(cells: Sequence[Cell], completed: Sequence[Completed]) -> Table:
    """One row per seed."""
    result = Table(title=cells[0].setting if cells else None, box=None, padding=(0, 2, 0, 0))
    names = (
        "seed", "never trained", "stopped", "complete", "epochs", "without", "training, s", "without", "saved, %",
        "of the same, %", "wrongly", "best reward", "without", "difference, %",
    )  # fmt: skip
    for name in names:
        result.add_column(name, justify="right", no_wrap=True)
    for pruned, plain in pairs(cells):
        own = [each for each in completed if each.seed == pruned.seed]
        result.add_row(
            str(pruned.seed),
            str(pruned.num_untrained),
            str(pruned.num_stopped),
            str(pruned.num_complete),
            str(pruned.epochs),
            str(plain.epochs),
            f"{pruned.train_seconds:.0f}",
            f"{plain.train_seconds:.0f}",
            f"{100 * (1 - pruned.cost / plain.cost):.0f}",
            f"{100 * (1 - pruned.cost / pruned.full_cost):.0f}",
            f"{sum(each.is_wrong for each in own)} of {len(own)}",
            f"{pruned.best_reward:.4f}",
            f"{plain.best_reward:.4f}",
            f"{_difference(pruned, plain):+.2f}",
        )
    return result


def verdicts(cells: Sequence[Cell], completed: Sequence[Completed]) -> Iterator[str]:
    """What was asked for, beside what was found."""
    found = pairs(cells)
    if not found:
        return
    count = f"{len(found)} seed{'s' * (len(found) > 1)}"
    cost, epochs = _saved(found, lambda cell: cell.cost), _saved(found, lambda cell: cell.epochs)
    yield (
        f"training saved against searches without: {cost} of epochs × predicted step time, {epochs} of the epochs, "
        f"over {count} (asked for: {100 * TARGET:g} %)"
    )
    everything = _saved(found, lambda cell: cell.cost + cell.final_cost)
    yield f"with the leaders' further trainings, of which nothing is saved: {everything}"
    same = interval([100 * (1 - pruned.cost / pruned.full_cost) for pruned, _ in found]).text("{:.0f}")
    yield f"training saved on the very candidates that were proposed: {same} %"
    difference = interval([_difference(*pair) for pair in found]).text("{:+.2f}")
    yield f"final best, retrained, against searches without: {difference} % of its reward (asked for: no loss)"
    if completed:
        yield from _wrong(completed)


def _wrong(completed: Sequence[Completed]) -> Iterator[str]:
    wrong = [each for each in completed if each.is_wrong]
    yield f"pruned wrongly: {len(wrong)} of {len(completed)}, trained to the end, would have led" + "".join(
        f"; seed {each.seed}, trial {each.number}: by {100 * (each.reward / each.best_then - 1):.2f} %"
        for each in wrong
    )
    if differing := sum(not each.is_same for each in completed):
        yield f"{differing} of them did not repeat the epochs that they had been trained in the search"


def _saved(found: Sequence[tuple[Cell, Cell]], cost: Callable[[Cell], float]) -> str:
    shares = [100 * (1 - cost(pruned) / cost(plain)) for pruned, plain in found]
    return f"{interval(shares).text('{:.0f}')} %"


def _difference(pruned: Cell, plain: Cell) -> float:
    """Of the rewards of what both searches would hand over, %."""
    return 100 * (pruned.best_reward / plain.best_reward - 1)
