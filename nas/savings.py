"""What pruning saved of a run's training: epochs as they were counted, and about how many seconds they would take."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .trials import Partial, TrialRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What pruning saved of the candidates that have a verdict."""

    num_pruned: int
    num_untrained: int
    """Of these, not trained at all."""
    num_promoted: int
    """Candidates that were pruned and went on later, as far as they came."""
    saved_epochs: int
    whole_epochs: int
    """That all candidates would have taken, the infeasible left out."""
    saved_s: float | None
    """Seconds of training, about; None where too little was trained to tell."""
    whole_s: float | None

    @property
    def text(self) -> str:
        """One line."""
        share = self.saved_epochs / self.whole_epochs if self.whole_epochs else 0.0
        untrained = f", {self.num_untrained} of them untrained" if self.num_untrained else ""
        promoted = f"; {self.num_promoted} went on later" if self.num_promoted else ""
        epochs = f"{self.saved_epochs} of {self.whole_epochs} epochs ({share:.0%})"
        return f"{self.num_pruned} pruned{untrained}{promoted}: {epochs} of training saved"


def savings(records: Sequence[TrialRecord], num_epochs: int) -> Savings | None:
    """What pruning saved; None where nothing was pruned.

    Args:
        records: Trials of one run.
        num_epochs: Of a whole short training.
    """
    judged = [record for record in records if record.is_judged]
    partials = [record.partial for record in judged if record.partial is not None]
    promoted = sum(record.candidate is not None and record.candidate.continues is not None for record in judged)
    if not partials and not promoted:
        return None
    complete = [record.outcome.accuracy.train_seconds for record in judged if record.outcome is not None]
    left = [num_epochs - partial.epochs for partial in partials]
    each_s = _seconds_of_an_epoch(partials, complete, num_epochs)
    saved_s = None if each_s is None else sum(epochs * s for epochs, s in zip(left, each_s, strict=True))
    spent_s = sum(complete) + sum(partial.accuracy.train_seconds for partial in partials if partial.accuracy)
    return Savings(
        num_pruned=len(partials),
        num_untrained=sum(partial.epochs == 0 for partial in partials),
        num_promoted=promoted,
        saved_epochs=sum(left),
        whole_epochs=num_epochs * (len(partials) + len(complete)),
        saved_s=saved_s,
        whole_s=None if saved_s is None else saved_s + spent_s,
    )


def _seconds_of_an_epoch(partials: Sequence[Partial], complete: Sequence[float], num_epochs: int) -> list[float] | None:
    """Of each pruned candidate, its own; where it was not trained, the mean of all that were; None where none was."""
    own = [p.accuracy.train_seconds / p.epochs if p.accuracy and p.epochs else None for p in partials]
    known = [*(seconds / num_epochs for seconds in complete), *(seconds for seconds in own if seconds is not None)]
    if not known:
        return None
    mean = statistics.mean(known)
    return [mean if seconds is None else seconds for seconds in own]
