"""Ours beside another: ratios with their spread, and what two copies of ours differ by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from proxies.step_time import StepTime

Quantity = Literal["training, images/s", "inference, images/s", "memory of training, MiB"]
TRAINING: Quantity = "training, images/s"
INFERENCE: Quantity = "inference, images/s"
MEMORY: Quantity = "memory of training, MiB"
MIB = 2**20

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ours ÷ another's, of one quantity of one network."""

    ours: float
    other: float
    ratio: float
    """Of speeds: by steps that alternate, so not quite the quotient of the two."""
    interval: Interval
    """95 % interval of the ratio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison, as it is shown and written."""

    network: str
    resolution: int
    batch_size: int
    device: str
    """Hardware and software, as one text."""
    quantity: Quantity
    other: str
    """What ours is compared with: a library, or "ours", in a mode."""
    mode: str
    """How ours is executed."""
    other_mode: str
    ours: float
    theirs: float
    ratio: float
    """Ours ÷ theirs."""
    low: float
    high: float
    null_low: float
    """Of ours ÷ a second copy of ours, in the same run."""
    null_high: float
    verdict: str


def speed_ratio(measured: StepTime) -> Ratio:
    """Of a step of ours that was timed in alternation with another's."""
    ratio, half = 1 / measured.ratio, measured.relative_half_width
    return Ratio(
        ours=measured.images_per_s,
        other=measured.batch_size / measured.reference_s,
        ratio=ratio,
        interval=(ratio / (1 + half), ratio * (1 + half)),
    )


def memory_ratio(peaks: Sequence[tuple[int, int]]) -> Ratio:
    """Of peaks in bytes, ours and another's, counted once or several times: the first, and what was seen at all."""
    ratios = [ours / other for ours, other in peaks]
    ours, other = peaks[0]
    return Ratio(ours=ours / MIB, other=other / MIB, ratio=ratios[0], interval=(min(ratios), max(ratios)))


def speed_verdict(found: Ratio, null: Interval) -> str:
    """Slower only if by more than two copies of ours differ."""
    return "below 1" if found.ratio < min(1.0, null[0]) else "not below 1"


def memory_verdict(found: Ratio, null: Interval) -> str:
    """More memory only if by more than two copies of ours differ."""
    return "above 1" if found.ratio > max(1.0, *null) else "not above 1"


def is_worse(row: Row) -> bool:
    return row.verdict in ("below 1", "above 1")


def verdict_of_all(rows: Sequence[Row]) -> str:
    """In one line."""
    worse = [f"{row.network}, {row.quantity}: {row.ratio:.3f} of {row.other}" for row in rows if is_worse(row)]
    judged = sum(row.verdict.startswith("not ") for row in rows) + len(worse)
    if not worse:
        return f"none of {judged} ratios is worse than 1 beyond the A/A interval"
    return f"{len(worse)} of {judged} ratios worse than 1 beyond the A/A interval: {'; '.join(worse)}"
