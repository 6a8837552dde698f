"""How fast trials end, and what the driver spends on each."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.observer import Observer
from nas.trials import TrialRecord


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the driver's life."""

    wall_s: float
    cpu_s: float
    """CPU time of all threads of the driver's process so far."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a trial."""

    wall_s: float
    cpu_s: float
    """Of the driver."""


def now() -> Mark:
    return Mark(time.perf_counter(), time.process_time())


def pace(marks: Sequence[Mark]) -> Pace:
    """Between the first mark and the last; each is the end of a trial."""
    first, last, trials = marks[0], marks[-1], len(marks) - 1
    return Pace((last.wall_s - first.wall_s) / trials, (last.cpu_s - first.cpu_s) / trials)


def chunk_paces(marks: Sequence[Mark], num_chunks: int) -> list[Pace]:
    """Of equally many trials each, one after another; what is left over counts nowhere."""
    length = (len(marks) - 1) // num_chunks
    if length == 0:
        raise ValueError(f"{num_chunks} chunks need as many trials, got {len(marks) - 1}")
    return [pace(marks[chunk * length : (chunk + 1) * length + 1]) for chunk in range(num_chunks)]


def quartiles_text(values: Sequence[float], scale: float = 1.0, digits: int = 2) -> str:
    low, _, high = statistics.quantiles(values, n=4)
    return f"{scale * low:.{digits}f}–{scale * high:.{digits}f}"


@dataclass(slots=True)
class Recorder(Observer):
    """Notes when each attempt of a search ended, and what was started."""

    marks: list[Mark] = field(default_factory=list)
    architectures: list[str] = field(default_factory=list)

    def started(self, number: int, architecture: str) -> None:
        self.architectures.append(architecture)

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        self.marks.append(now())
