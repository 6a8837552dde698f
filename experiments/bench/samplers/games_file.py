"""Games that were played, kept in a file: none of them is played again."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from .games import Match, Row


class GamesFile:
    """Games that were played, as rows of a CSV file; a game is written when it is over."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> pd.DataFrame:
        """Every whole game, of equal games the longest; a cut one, as a kill may leave it, is passed over.

        Raises:
            ValueError: If the file has other columns.
        """
        columns = list(Row.__dataclass_fields__)
        if not self.path.exists():
            return pd.DataFrame(columns=columns)
        frame = pd.read_csv(self.path, dtype={"places": str}, on_bad_lines="skip")
        if list(frame.columns) != columns:
            raise ValueError(f"{self.path} must have the columns {', '.join(columns)}; move it away to start anew")
        # Equal rows come from two runs side by side.
        frame = frame.dropna(subset=["seconds"]).drop_duplicates([*GAME, "training"])
        counted = frame.groupby(GAME)["training"].transform("size")
        frame = frame[counted == frame["trainings"]]
        longest = frame.groupby(list(Match.__dataclass_fields__))["budget"].transform("max")
        return frame[frame["budget"] == longest]

    def append(self, rows: Sequence[Row]) -> None:
        """Add one game."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
        if not self.path.exists() or not self.path.stat().st_size:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
        with self.path.open("a", encoding="utf-8") as file:
            if self._ends_in_a_line:
                file.write("\n")
            file.write(text.getvalue())

    @property
    def _ends_in_a_line(self) -> bool:
        """Whether a kill has cut the last line."""
        content = self.path.read_bytes()
        return bool(content) and not content.endswith(b"\n")

    def missing(self, matches: Sequence[Match], budget: int) -> list[Match]:
        """The games that were not played yet, or not for so long."""
        frame = self.read()
        enough = frame[(frame["budget"] >= budget) | (frame["trainings"] < frame["budget"])]
        known = set(enough[list(Match.__dataclass_fields__)].itertuples(index=False, name=None))
        return [match for match in matches if tuple(asdict(match).values()) not in known]


GAME = [*Match.__dataclass_fields__, "budget"]
"""Columns that tell games apart."""
