"""The rows as a table, and as a file."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from rich.table import Table

from .networks import SameNetwork
from .pairs import Bench
from .rows import MEMORY, Row

SUFFIXES = (".csv", ".json")


def table(network: SameNetwork, bench: Bench, rows: Sequence[Row], errors: Sequence[float]) -> Table:
    """One row per comparison of one network."""
    setting = bench.setting
    result = Table(
        title=f"{network.name}, {bench.resolution_of(network)} px, batch {setting.batch_size}: "
        f"{setting.visits} × {setting.num_pairs} pairs",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for name in ("quantity", "compared", "first", "second", "ratio", "95 %", "A/A, 95 %", "verdict"):
        is_text = name in ("quantity", "compared", "verdict")
        result.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        digits = 0 if row.quantity == MEMORY else 1
        result.add_row(
            row.quantity,
            f"{'ours' if row.mode == row.other_mode else 'our mode'} ÷ {row.other}",
            f"{row.ours:.{digits}f}",
            f"{row.theirs:.{digits}f}",
            f"{row.ratio:.3f}",
            "" if row.quantity == MEMORY else f"{row.low:.3f}–{row.high:.3f}",
            f"{row.null_low:.3f}–{row.null_high:.3f}",
            row.verdict,
        )
    same = (f"{peer.network}: logits equal to {error:.0e}" for peer, error in zip(network.peers, errors, strict=True))
    modes = dict.fromkeys(row.mode for row in rows)
    ours = [mode for mode in modes if mode != str(bench.mode)]
    said = f"all in {bench.mode}; our mode: {ours[0] if ours else 'the same'}"
    result.caption = "\n".join(["the same network:", *same, said])
    return result


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """As CSV or JSON, by the suffix."""
    records = [asdict(row) for row in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(records)
