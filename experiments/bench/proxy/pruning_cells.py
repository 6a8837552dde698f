"""A cell of the pruning benchmark, one whole search, and what its pruned candidates came to when trained to the end."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from nas.run_directory import write_whole

WITHOUT, WITH = "without", "known-cost"
"""Variants of a search."""

Row = TypeVar("Row", "Cell", "Completed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A finished search."""

    setting: str
    """What all cells of a table have in common."""
    variant: str
    seed: int
    num_complete: int
    """Candidates trained to the end."""
    num_untrained: int
    """Pruned before their training."""
    num_stopped: int
    """Pruned in it."""
    epochs: int
    """Of all candidates."""
    train_seconds: float
    """Likewise, by the clock on the wall, judging left out."""
    cost: float
    """Likewise, epochs × predicted step time: what other work on the machine does not touch."""
    full_cost: float
    """Of the same candidates, had each been trained to the end."""
    final_cost: float
    """Of the leaders' further trainings."""
    best: str
    """The architecture with the best reward over all its trainings, of those that were trained again."""
    best_reward: float
    """Its mean, with the predicted step time."""
    best_observed: float
    """The highest reward of a single training, with which the search went on."""

    @property
    def key(self) -> tuple[str, int]:
        return self.variant, self.seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A pruned candidate, trained to the end after its search, with the seed that it had there."""

    setting: str
    seed: int
    """Of the search."""
    number: int
    """Of the trial."""
    epochs: int
    """That it had been trained in the search."""
    reward: float
    best_then: float
    """The best complete reward when it was pruned."""
    is_same: bool
    """Whether its first epochs came to what they had come to in the search."""

    @property
    def is_wrong(self) -> bool:
        """Whether it would have led."""
        return self.reward > self.best_then


def read_rows(path: Path, kind: type[Row], *, setting: str) -> list[Row]:
    """Those written earlier; none where there is no file.

    Raises:
        ValueError: If the file is damaged, or its rows are of another setting.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = _parsed(path, kind, list(csv.DictReader(file)))
    for row in rows:
        if row.setting != setting:
            raise ValueError(f"{path} must hold cells of {setting!r}, got {row.setting!r}; take another --out")
    return rows


def _parsed(path: Path, kind: type[Row], found: Sequence[Mapping[str, Any]]) -> list[Row]:
    try:
        return TypeAdapter(list[kind]).validate_python(found)  # type: ignore[valid-type]
    except ValidationError as error:
        raise ValueError(f"cannot read the cells of {path}: {error.errors()[0]['msg']}") from None


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """All of them, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(path, text.getvalue())
