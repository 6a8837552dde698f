"""The stages of a training as rows of texts, for the terminal and for reports. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from proxies.training.progressive import ProgressiveStage

SCHEDULE_HEADS = (
    "stage", "epochs", "from–to", "size", "batch", "lr", "RandAugment", "mixup", "CutMix", "cutout", "dropout",
)  # fmt: skip
_NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpan:
    """A stage and its place in the training."""

    number: int
    """1…"""
    stage: ProgressiveStage
    first_epoch: int
    """1…"""

    @property
    def last_epoch(self) -> int:
        return self.first_epoch + self.stage.epochs - 1


def stage_spans(stages: Sequence[ProgressiveStage]) -> list[StageSpan]:
    """The stages with their first and last epochs."""
    ends = accumulate(stage.epochs for stage in stages)
    return [
        StageSpan(number=number, stage=stage, first_epoch=end - stage.epochs + 1)
        for number, (stage, end) in enumerate(zip(stages, ends, strict=True), 1)
    ]


def schedule_rows(stages: Sequence[ProgressiveStage]) -> list[tuple[str, ...]]:
    """A row of texts for each stage, as `SCHEDULE_HEADS` names them."""
    return [_row(span) for span in stage_spans(stages)]


def _row(span: StageSpan) -> tuple[str, ...]:
    stage = span.stage
    epochs = f"{span.first_epoch}–{span.last_epoch}" if stage.epochs > 1 else str(span.first_epoch)
    parts = f" in {stage.micro_batches}" if stage.micro_batches > 1 else ""
    strengths = (stage.randaugment, stage.mixup, stage.cutmix, stage.cutout, stage.drop_rate)
    return (
        str(span.number),
        str(stage.epochs),
        epochs,
        f"{stage.resolution} px",
        f"{stage.batch_size}{parts}",
        f"× {stage.lr_scale:.3g}",
        *(f"{strength:.3g}" if strength else _NONE for strength in strengths),
    )
