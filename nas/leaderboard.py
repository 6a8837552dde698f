"""Who leads, by how much, and whether that is more than noise."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from proxies.binomial import binomial_error

from .evaluation_tasks import AccuracyRecord, Measurement
from .reward import Reward
from .trials import TrialRecord

Verdict = Literal["yes", "no", "undecided"]

Z95 = 1.96
"""Deviations of a two-sided interval of 95 %."""
SURPRISING = 0.1
"""A finalist whose measured step time is off by more than this is reported as such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A judged architecture with its figures and their errors."""

    rank: int
    number: int
    """Of its trial."""
    architecture: str
    is_backbone: bool
    """Whether it is the space's backbone: the first proposal, and trial 0 unless that attempt died."""
    accuracy: float
    """A, a fraction: the mean over `num_trainings`."""
    accuracy_se: float
    """Standard error of A."""
    num_trainings: int
    step_time_s: float
    step_time_se: float
    """Standard error of S, seconds: of the measurement, or of the prediction."""
    predicted_step_time_s: float | None
    """S as the search saw it, where it was predicted."""
    predicted_step_time_rse: float = 0.0
    """Relative standard error of that prediction."""
    measurement: Measurement | None
    """Visits in isolation, of finalists."""
    peak_memory_bytes: int
    """Of a step of the target training, predicted."""
    micro_batches: int
    """Parts of a batch in that step."""
    params: int
    macs: int
    reward: float
    reward_se: float
    tied: bool
    """Not distinguishable from the leader at 95 %."""
    better_than_backbone: Verdict | None
    """None for the backbone itself, and where the backbone was not judged."""

    @property
    def is_step_time_measured(self) -> bool:
        return self.predicted_step_time_s is None or self.measurement is not None

    @property
    def surprise(self) -> float | None:
        """Measured ÷ predicted step time − 1; None where either is missing."""
        if self.measurement is None or self.predicted_step_time_s is None:
            return None
        return self.step_time_s / self.predicted_step_time_s - 1


def leaderboard(
    records: Sequence[TrialRecord],
    reward: Reward,
    replicates: Mapping[int, Mapping[int, AccuracyRecord]],
    measurements: Mapping[int, Measurement] | None = None,
) -> list[Entry]:
    """Rank the judged architectures by reward, best first.

    Retrained architectures count with the mean of their trainings, and finalists with their measured step time; the
    retrained stand above all others, because the best of many single trainings is partly the luckiest.

    Args:
        records: Trials of one run; those without an outcome of their own are passed over.
        reward: How A, S and P become one number.
        replicates: Further trainings by trial number.
        measurements: Step times measured in isolation, by trial number.
    """
    judged = [record for record in records if record.is_judged and record.outcome is not None]
    trainings = {
        record.number: (record.outcome.accuracy, *replicates.get(record.number, {}).values())
        for record in judged
        if record.outcome is not None
    }
    between = variance_between_trainings(trainings.values())
    first = next((record.candidate for record in records if record.candidate and record.candidate.proposal == 0), None)
    entries = [
        _entry(
            record,
            reward,
            trainings[record.number],
            between,
            measurement=(measurements or {}).get(record.number),
            backbone=first.architecture if first else None,
        )
        for record in judged
    ]
    backbone = next((entry for entry in entries if entry.is_backbone), None)
    retrained = [entry for entry in entries if entry.num_trainings > 1]
    # The backbone is retrained as a yardstick, not for being a leader.
    weakest = min((entry.reward for entry in retrained if entry is not backbone), default=math.inf)
    leads = {entry.number for entry in retrained if entry.reward >= weakest}
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
    if abs(difference) <= Z95 * math.hypot(entry.reward_se, other.reward_se):
        return "undecided"
    return "yes" if difference > 0 else "no"


def mean_accuracy(trainings: Sequence[AccuracyRecord], between: float = 0.0) -> tuple[float, float]:
    """Mean accuracy of trainings of one architecture on the same images, and its standard error.

    Two errors add: that of a finite set of images, which further trainings do not lower, and that of the training seed,
    which they do.

    Args:
        trainings: Of one architecture, at least one.
        between: Variance between trainings that differ in their seed only; see `variance_between_trainings`.
    """
    mean, images = statistics.mean(training.accuracy for training in trainings), trainings[0].num_images
    return mean, math.hypot(binomial_error(mean * images, images), math.sqrt(between / len(trainings)))


def variance_between_trainings(groups: Iterable[Sequence[AccuracyRecord]]) -> float:
    """Variance of accuracy between seeds, pooled over architectures; 0 where none was trained twice.

    Pooled, because two or three trainings of one architecture say little, and because it is all that is known of those
    that were trained once.

    Args:
        groups: Trainings of one architecture each.
    """
    several = [[training.accuracy for training in group] for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in several)
    return sum((len(group) - 1) * statistics.variance(group) for group in several) / degrees if degrees else 0.0


def _entry(
    record: TrialRecord,
    reward: Reward,
    trainings: Sequence[AccuracyRecord],
    between: float,
    *,
    measurement: Measurement | None,
    backbone: str | None,
) -> Entry:
    outcome = record.outcome
    if outcome is None or record.candidate is None:
        raise ValueError(f"a complete trial must have an outcome, trial {record.number} has none")
    accuracy, accuracy_se = mean_accuracy(trainings, between)
    step_time_s, step_time_rse = outcome.step_time_s, outcome.step_time_rse
    if measurement is not None:
        step_time_s = measurement.step_time.median_s
        step_time_rse = measurement.step_time.relative_standard_error
    factor = reward.cost_factor(step_time_s=step_time_s, params=outcome.params)
    return Entry(
        rank=0,
        number=record.number,
        architecture=record.candidate.architecture,
        is_backbone=record.candidate.architecture == backbone,
        accuracy=accuracy,
        accuracy_se=accuracy_se,
        num_trainings=len(trainings),
        step_time_s=step_time_s,
        step_time_se=step_time_s * step_time_rse,
        predicted_step_time_s=None if outcome.step_time else outcome.step_time_s,
        predicted_step_time_rse=0.0 if outcome.step_time else outcome.step_time_rse,
        measurement=measurement,
        peak_memory_bytes=outcome.peak_memory_bytes,
        micro_batches=outcome.micro_batches,
        params=outcome.params,
        macs=outcome.macs,
        reward=accuracy * factor,
        reward_se=factor * math.hypot(accuracy_se, accuracy * reward.w * step_time_rse),
        tied=False,
        better_than_backbone=None,
    )
