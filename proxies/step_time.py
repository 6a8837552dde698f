"""Training step time: what one whole step of the target training costs on a device.

A step is forward, loss, backward, optimizer and zero_grad, by the very object that trains; inputs lie on the device
already, warm-up is left out, and the device is drained around each step. A network is timed in strict alternation with
a reference network, so that a drift of clocks or neighbours moves both and cancels in their ratio.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from .training.config import SETTINGS

Step = Callable[[], object]
Clock = Callable[[], float]

NUM_WARMUP = 3
NUM_PAIRS = 15


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
    num_pairs: int = Field(default=NUM_PAIRS, ge=3, le=10_000, description="Timed steps of a candidate.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Timed steps of one network, alternating with a reference network's, with their circumstances."""

    samples_s: tuple[float, ...]
    """Seconds of each step, in run order."""
    reference_samples_s: tuple[float, ...]
    """Seconds of the reference's steps: one before the first sample, and one after each."""
    batch_size: int
    resolution: int
    mode: str
    """Number format, memory layout and compilation, e.g. "float32-channels_last"."""
    device: str
    """Hardware and software, as one text."""

    def __post_init__(self) -> None:
        if len(self.samples_s) < 2 or len(self.reference_samples_s) != len(self.samples_s) + 1:
            raise ValueError(
                "there must be at least 2 samples and a reference step around each, "
                f"got {len(self.samples_s)} samples and {len(self.reference_samples_s)} reference steps"
            )

    @property
    def median_s(self) -> float:
        return statistics.median(self.samples_s)

    @property
    def samples_quartiles_s(self) -> tuple[float, float]:
        """First and third quartile of the samples, seconds."""
        low, _, high = statistics.quantiles(self.samples_s, n=4)
        return low, high

    @property
    def images_per_s(self) -> float:
        return self.batch_size / self.median_s

    @property
    def ratios(self) -> tuple[float, ...]:
        """Each sample ÷ the mean of the reference steps that flank it."""
        before, after = self.reference_samples_s[:-1], self.reference_samples_s[1:]
        return tuple(2 * s / (a + b) for s, a, b in zip(self.samples_s, before, after, strict=True))

    @property
    def ratio(self) -> float:
        """The step time as a multiple of the reference's: what repeats when seconds do not."""
        return statistics.median(self.ratios)

    @property
    def relative_standard_error(self) -> float:
        """Standard error of `ratio` ÷ `ratio`, from the spread inside this one visit.

        The median of n normal samples has the standard error 1.2533 σ/√n, and σ is the interquartile range ÷ 1.349.
        Visits at other times differ by more than this says.
        """
        ratios = self.ratios
        low, middle, high = statistics.quantiles(ratios, n=4)
        return 1.2533 * (high - low) / 1.349 / len(ratios) ** 0.5 / middle


def time_alternating(
    reference: Step,
    candidate: Step,
    *,
    num_pairs: int,
    num_warmup: int = NUM_WARMUP,
    synchronize: Callable[[], None],
    clock: Clock = time.perf_counter,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time two steps in strict alternation, the reference first and last.

    Args:
        reference: Runs one step of the reference network.
        candidate: Runs one step of the candidate.
        num_pairs: Timed steps of the candidate.
        num_warmup: Steps of each that run first and are not timed.
        synchronize: Waits until the device has finished everything queued.
        clock: Monotonic seconds.

    Returns:
        Seconds of the candidate's steps (num_pairs) and of the reference's (num_pairs + 1).
    """
    for _ in range(num_warmup):
        reference()
        candidate()
    references = [_time(reference, synchronize, clock)]
    samples = []
    for _ in range(num_pairs):
        samples.append(_time(candidate, synchronize, clock))
        references.append(_time(reference, synchronize, clock))
    return tuple(samples), tuple(references)


def _time(step: Step, synchronize: Callable[[], None], clock: Clock) -> float:
    synchronize()
    start = clock()
    step()
    synchronize()
    return clock() - start
