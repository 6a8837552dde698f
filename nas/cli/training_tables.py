"""What ``nas train`` prints: the schedule before it begins, and a line for each epoch."""

from collections.abc import Sequence

from rich.table import Table

from proxies.binomial import binomial_error
from proxies.training.progressive import ProgressiveStage

from ..full_training.record import EpochRecord
from ..full_training.schedule_text import SCHEDULE_HEADS, schedule_rows
from ..quantities import duration, percent
from .tables import plain_table


def schedule_table(stages: Sequence[ProgressiveStage]) -> Table:
    """The stages of a training; columns that no stage uses are left out."""
    rows = schedule_rows(stages)
    used = [place for place in range(len(SCHEDULE_HEADS)) if any(row[place] != "–" for row in rows)]
    table = plain_table()
    for place in used:
        table.add_column(SCHEDULE_HEADS[place], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[place] for place in used))
    return table


def epoch_line(record: EpochRecord, stage: ProgressiveStage, *, num_epochs: int) -> str:
    """An epoch in a line, its accuracy with its standard error.

    Args:
        record: What is known of it.
        stage: It belongs to.
        num_epochs: Planned, over all stages.
    """
    width = len(str(num_epochs))
    error = binomial_error(record.num_correct, record.num_judged)
    parts = [
        f"epoch {record.epoch:>{width}}/{num_epochs}",
        f"stage {record.stage}, {stage.resolution} px",
        f"loss {record.train_loss:.4f}",
        f"A {percent(record.accuracy, error)}",
        *([] if record.ema_accuracy is None else [f"averaged {percent(record.ema_accuracy)}"]),
        f"{record.images_per_s:.0f} images/s",
        duration(record.train_seconds + record.eval_seconds),
    ]
    return " · ".join(parts)
