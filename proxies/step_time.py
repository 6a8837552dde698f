"""Training step time: what one whole step of the target training costs on a device.

A step is forward, loss, backward, optimizer and zero_grad, by the very object that trains; inputs lie on the device
already, warm-up is left out, and the device is drained around each step. A network is timed in strict alternation with
a reference, so that a drift of clocks or neighbours moves both and cancels in their ratio, and in several visits, since
no number of steps averages what changes from one minute to the next.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from .device_load import Load, Reading, load_between
from .student import student_t95
from .training.config import SETTINGS

Step = Callable[[], object]
Stopwatch = Callable[[Step], float]
Verdict = Literal["stable", "unstable", "contaminated"]

NUM_WARMUP = 3
NUM_PAIRS = 30
NUM_VISITS = 3
STABLE_WITHIN = 0.02
"""Half of the 95 % interval, relative: at 80 % accuracy, 2 % of step time weigh as much as 0.1 point."""
VISITS_DIFFER_BY = 0.01
"""What is expected before it is measured: the relative deviation between visits that no number of pairs averages.

Measured on a shared CPU: 12 visits of 32 pairs in fresh processes scatter by 1.5 to 2.5 %, their own errors included.
"""
_WEIGHT_OF_EXPECTATION = 2
MAX_DISTURBED_SHARE = 0.2
"""A visit with more disturbed pairs than this tells nothing: what disturbs it does not wait for the pairs' ends."""


class StepTimeSetting(BaseModel):
    """The target training whose step is timed; never the accuracy proxy's fidelity."""

    model_config = SETTINGS

    device: str | None = Field(
        default=None, min_length=1, description="auto, cpu, cuda, cuda:N or mps; by default the device that trains."
    )
    resolution: int | None = Field(
        default=None, ge=1, description="Input size, pixels per side; by default the architecture's own."
    )
    batch_size: int = Field(default=32, ge=2, le=65_536, description="Images in a step.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="Number format under autocast; auto: the fastest correct one on the device."
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads; by default those of the worker.")
    num_pairs: int = Field(default=NUM_PAIRS, ge=3, le=10_000, description="Timed steps of a visit.")
    visits: int = Field(default=NUM_VISITS, ge=1, le=1_000, description="Visits of a measurement, at least.")
    budget_s: float = Field(
        default=60.0, ge=0, description=f"Seconds in which visits go on until S is known within {STABLE_WITHIN:.0%}."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Timed steps of one network in a row, each between two steps of the reference."""

    samples_s: tuple[float, ...]
    """Seconds of each step, in run order."""
    reference_samples_s: tuple[float, ...]
    """Seconds of the reference's steps: one before the first sample, and one after each."""
    disturbances: tuple[str | None, ...] = ()
    """For each sample, what else used the device during it or its flanks; empty: nobody looked."""
    load: Load | None = None
    """What the device's meters showed over the whole visit."""

    def __post_init__(self) -> None:
        if len(self.samples_s) < 2 or len(self.reference_samples_s) != len(self.samples_s) + 1:
            raise ValueError(
                "there must be at least 2 samples and a reference step around each, "
                f"got {len(self.samples_s)} samples and {len(self.reference_samples_s)} reference steps"
            )
        if self.disturbances and len(self.disturbances) != len(self.samples_s):
            raise ValueError(f"each of {len(self.samples_s)} samples is disturbed or not, got {self.disturbances}")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Each undisturbed sample ÷ the mean of the reference steps that flank it; all of them where none is clean."""
        before, after = self.reference_samples_s[:-1], self.reference_samples_s[1:]
        ratios = [2 * s / (a + b) for s, a, b in zip(self.samples_s, before, after, strict=True)]
        clean = [r for r, found in zip(ratios, self.disturbances or [None] * len(ratios), strict=True) if not found]
        return tuple(clean if len(clean) > 1 else ratios)

    @property
    def disturbed_share(self) -> float:
        return sum(found is not None for found in self.disturbances) / len(self.samples_s)

    @property
    def is_clean(self) -> bool:
        """Whether so little disturbed it that its undisturbed samples can be believed."""
        return self.disturbed_share <= MAX_DISTURBED_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """A network's step time, measured in visits, with its circumstances."""

    visits: tuple[Visit, ...]
    reference: str
    """What it alternated with: the canary's name, or an architecture text."""
    reference_s: float
    """Seconds that a step of the reference stands for: of these visits, or a constant of the device."""
    batch_size: int
    resolution: int
    mode: str
    """Number format, memory layout and compilation, e.g. "float32-channels_last"."""
    device: str
    """Hardware and software, as one text."""
    micro_batches: int = 1
    """Parts that a batch was split into."""

    def __post_init__(self) -> None:
        if not self.visits:
            raise ValueError("there must be at least one visit, got none")
        if not (math.isfinite(self.reference_s) and self.reference_s > 0):
            raise ValueError(f"reference_s must be finite and positive, got {self.reference_s}")

    @property
    def ratio(self) -> float:
        """Median over the undisturbed samples of all visits, each ÷ the mean of the reference steps around it."""
        return statistics.median(self._ratios())

    @property
    def median_s(self) -> float:
        """S: the ratio × the reference's seconds."""
        return self.ratio * self.reference_s

    @property
    def quartiles_s(self) -> tuple[float, float]:
        """First and third quartile of the samples' ratios × the reference's seconds."""
        low, _, high = statistics.quantiles(self._ratios(), n=4)
        return low * self.reference_s, high * self.reference_s

    @property
    def interval_s(self) -> tuple[float, float]:
        """95 % interval of S, seconds."""
        half = self.relative_half_width
        return self.median_s / (1 + half), self.median_s * (1 + half)

    @property
    def images_per_s(self) -> float:
        return self.batch_size / self.median_s

    @property
    def relative_standard_error(self) -> float:
        return math.sqrt(sum(_variances_of_median(self._used())))

    @property
    def relative_half_width(self) -> float:
        """Half of the 95 % interval ÷ S, by Student's t with Satterthwaite's degrees of freedom."""
        visits = self._used()
        within, between = _variances_of_median(visits)
        freedom = len(visits) - 1 + _WEIGHT_OF_EXPECTATION
        parts = [(within, sum(len(visit.ratios) - 1 for visit in visits)), (between, freedom)]
        weights = sum(variance**2 / freedom for variance, freedom in parts if variance)
        return student_t95((within + between) ** 2 / weights) * math.sqrt(within + between) if weights else 0.0

    @property
    def verdict(self) -> Verdict:
        """Whether S is known within 2 %; contaminated where something disturbed every visit."""
        if not any(visit.is_clean for visit in self.visits):
            return "contaminated"
        return "stable" if self.relative_half_width <= STABLE_WITHIN else "unstable"

    @property
    def disturbance(self) -> str | None:
        """One of the things that disturbed, in one line; None where nothing did."""
        return next((text for visit in self.visits for text in visit.disturbances if text), None)

    @property
    def num_clean_visits(self) -> int:
        return sum(visit.is_clean for visit in self.visits)

    def _used(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.is_clean] or list(self.visits)

    def _ratios(self) -> list[float]:
        return [ratio for visit in self._used() for ratio in visit.ratios]


def time_visit(
    reference: Step,
    candidate: Step,
    *,
    num_pairs: int,
    num_warmup: int = NUM_WARMUP,
    stopwatch: Stopwatch,
    read_meters: Callable[[], Reading] | None = None,
    threads: int = 1,
) -> Visit:
    """Time two steps in strict alternation, the reference first and last.

    Args:
        reference: Runs one step of the reference; the canary's networks take turns by themselves.
        candidate: Runs one step of the candidate.
        num_pairs: Timed steps of the candidate.
        num_warmup: Steps of each that run first and are not timed.
        stopwatch: Seconds of one step, the device drained around it.
        read_meters: Read before and after each step, outside the timed part; None: nobody looks.
        threads: That a step runs on.
    """
    for _ in range(num_warmup):
        reference()
        candidate()
    readings = [read_meters()] if read_meters else []
    seconds = []
    for step in (reference, *(candidate, reference) * num_pairs):
        seconds.append(stopwatch(step))
        if read_meters:
            readings.append(read_meters())
    return Visit(
        samples_s=tuple(seconds[1::2]),
        reference_samples_s=tuple(seconds[::2]),
        disturbances=tuple(_disturbances(readings, threads)),
        load=load_between(readings[0], readings[-1], threads=threads) if readings else None,
    )


def _disturbances(readings: Sequence[Reading], threads: int) -> Iterator[str | None]:
    """Of each sample with the reference steps around it: three steps, from the reading before to the one after."""
    for before, after in zip(readings[:-3:2], readings[3::2], strict=True):
        yield load_between(before, after, threads=threads).disturbance


def _variances_of_median(visits: Sequence[Visit]) -> tuple[float, float]:
    """Relative variance of the median over all visits: from the samples' spread, and from the visits' own differences.

    A median of n normal samples has the standard error 1.2533 σ/√n, and σ is the median absolute deviation × 1.4826.
    """
    logs = [[math.log(ratio) for ratio in visit.ratios] for visit in visits]
    middles = [statistics.median(ratios) for ratios in logs]
    deviations = [abs(ratio - middle) for ratios, middle in zip(logs, middles, strict=True) for ratio in ratios]
    spread = (1.2533 * 1.4826 * statistics.median(deviations)) ** 2
    within = spread / len(deviations)
    expected = statistics.mean(spread / len(ratios) for ratios in logs)
    found = max(0.0, statistics.variance(middles) - expected) if len(visits) > 1 else 0.0
    # Few visits say little about how much visits differ, one says nothing.
    weight, seen = _WEIGHT_OF_EXPECTATION, len(visits) - 1
    between = (weight * VISITS_DIFFER_BY**2 + seen * found) / (weight + seen)
    return within, between / len(visits)
