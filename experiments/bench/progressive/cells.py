"""A cell: one training of one variant with one seed, and what it came to."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A finished training."""

    setting: str
    """What all cells of a table have in common."""
    variant: str
    seed: int
    num_correct: int
    """Of the test images, by the averaged weights after the last epoch."""
    num_judged: int
    train_seconds: float
    """Spent in training steps, by the clock on the wall."""
    cpu_seconds: float | None
    """CPU time of the same steps, and of checkpoints; None of a training that was interrupted."""
    num_trained: int
    """Images, repeats counted."""

    @property
    def accuracy(self) -> float:
        return self.num_correct / self.num_judged


def read_cells(path: Path, *, setting: str) -> list[Cell]:
    """Those finished earlier.

    Raises:
        ValueError: If the file is damaged, or its cells are of another setting.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            cells = [_cell(row) for row in csv.DictReader(file)]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"cannot read the cells of {path}: {error}") from None
    for cell in cells:
        if cell.setting != setting:
            raise ValueError(f"{path} must hold cells of {setting!r}, got {cell.setting!r}; take another --out")
    return cells


def write_cells(path: Path, cells: Iterable[Cell]) -> None:
    """All of them, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Cell)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(cell) for cell in cells)
    partial.replace(path)


def _cell(row: dict[str, str]) -> Cell:
    return Cell(
        setting=row["setting"],
        variant=row["variant"],
        seed=int(row["seed"]),
        num_correct=int(row["num_correct"]),
        num_judged=int(row["num_judged"]),
        train_seconds=float(row["train_seconds"]),
        cpu_seconds=float(row["cpu_seconds"]) if row["cpu_seconds"] else None,
        num_trained=int(row["num_trained"]),
    )
