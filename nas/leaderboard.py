"""Who leads, by how much, and whether that is more than noise."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .reward import Reward
from .trials import AccuracyRecord, State, TrialRecord

Verdict = Literal["yes", "no", "undecided"]

# Two-sided 95 %.
_Z95 = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A judged architecture with its figures and their errors."""

    rank: int
    number: int
    """Of its trial; 0 is the backbone."""
    architecture: str
    accuracy: float
    """A, a fraction: the mean over `num_trainings`."""
    accuracy_se: float
    """Standard error of A."""
    num_trainings: int
    step_time_s: float
    step_time_se: float
    """Standard error of S from the spread inside its measurement, seconds."""
    params: int
    macs: int
    reward: float
    reward_se: float
    tied: bool
    """Not distinguishable from the leader at 95 %."""
    better_than_backbone: Verdict | None
    """None for the backbone itself, and where the backbone was not judged."""


def leaderboard(
    records: Sequence[TrialRecord], reward: Reward, replicates: Mapping[int, Mapping[int, AccuracyRecord]]
) -> list[Entry]:
    """Rank the judged architectures by reward, best first.

    Retrained architectures count with the mean of their trainings; they stand above all others, because the best of
    many single trainings is partly the luckiest.

    Args:
        records: Trials of one run; those without an outcome of their own are passed over.
        reward: How A, S and P become one number.
        replicates: Further trainings by trial number.
    """
    judged = [record for record in records if record.state is State.COMPLETE and record.is_judged]
    entries = [_entry(record, reward, tuple(replicates.get(record.number, {}).values())) for record in judged]
    backbone = next((entry for entry in entries if entry.number == 0), None)
    weakest = min((entry.reward for entry in entries if entry.num_trainings > 1 and entry is not backbone), default=0.0)
    # The backbone is retrained as a yardstick, not for being a leader.
    leads = {entry.number for entry in entries if entry.num_trainings > 1 and entry.reward >= weakest}
    entries.sort(key=lambda entry: (entry.number not in leads, -entry.reward, entry.number))
    return [
        replace(
            entry,
            rank=rank,
            tied=rank > 1 and compare(entry, entries[0]) == "undecided",
            better_than_backbone=None if backbone in (None, entry) else compare(entry, backbone),
        )
        for rank, entry in enumerate(entries, start=1)
    ]


def compare(entry: Entry, other: Entry) -> Verdict:
    """Whether the entry's reward is higher than the other's at 95 %.

    Both are judged on the same minival images, whose luck they share; taking the errors as independent errs on the side
    of "undecided".
    """
    difference = entry.reward - other.reward
    if abs(difference) <= _Z95 * math.hypot(entry.reward_se, other.reward_se):
        return "undecided"
    return "yes" if difference > 0 else "no"


def mean_accuracy(trainings: Sequence[AccuracyRecord]) -> tuple[float, float]:
    """Mean accuracy of trainings of one architecture on the same images, and its standard error.

    Two errors add: that of a finite set of images, A(1 - A)/n, which further trainings do not lower, and that of the
    training seed, the variance between trainings ÷ their number. A single training shows only the first. With no image
    right or wrong the first would be 0; it is taken at half an image, so that an accuracy of 100 % is not called exact.
    """
    accuracies = [training.accuracy for training in trainings]
    mean, images = statistics.mean(accuracies), trainings[0].num_images
    bounded = min(max(mean, 0.5 / images), 1 - 0.5 / images)
    between = statistics.variance(accuracies) / len(accuracies) if len(accuracies) > 1 else 0.0
    return mean, math.sqrt(bounded * (1 - bounded) / images + between)


def _entry(record: TrialRecord, reward: Reward, further: tuple[AccuracyRecord, ...]) -> Entry:
    outcome = record.outcome
    if outcome is None or record.candidate is None:
        raise ValueError(f"a complete trial must have an outcome, trial {record.number} has none")
    accuracy, accuracy_se = mean_accuracy((outcome.accuracy, *further))
    step_time_rse = outcome.step_time.relative_standard_error
    factor = reward.cost_factor(step_time_s=outcome.step_time_s, params=outcome.params)
    return Entry(
        rank=0,
        number=record.number,
        architecture=record.candidate.architecture,
        accuracy=accuracy,
        accuracy_se=accuracy_se,
        num_trainings=1 + len(further),
        step_time_s=outcome.step_time_s,
        step_time_se=outcome.step_time_s * step_time_rse,
        params=outcome.params,
        macs=outcome.macs,
        reward=accuracy * factor,
        reward_se=factor * math.hypot(accuracy_se, accuracy * reward.w * step_time_rse),
        tied=False,
        better_than_backbone=None,
    )
