"""Whether something else used a device while a step was timed: what its meters showed before and after, compared.

On the CPU the sign is time that threads stood ready to run while something else had their core. With one thread that
is the difference of wall and CPU time; with several, CPU time tells nothing, since threads that wait for one another
sleep or spin, while the system's count of waiting holds for any number of them.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil

WAITING_LIMIT = 0.02
"""Share of the time that threads may wait for a core.

Steps of 35 ms on a machine of 2 cores: undisturbed ones waited 0.2 % (median; 0.9 % at most), one time slice that
another process got in between makes 5 to 12 %, an always busy process on the same core 48 to 59 %; between 1 and 5 %
the limit makes no difference to which steps are flagged.
"""
CROWDING_LIMIT = 0.1
"""Share of the wanted cores that others may keep busy, judged only where the system does not tell who waited.

The machine's busy time advances in ticks of 10 ms, which makes this coarse for windows below a tenth of a second.
"""

HARMFUL_SLOWDOWNS = frozenset({"HwSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown", "SwThermalSlowdown"})
"""Reasons for lower clocks that come and go with heat and power supply: the same step takes another time an hour later.

NVIDIA (NVML API Reference, clocks event reasons): a HW slowdown at least halves the core clock, for heat, a power brake
or a too high draw; the software's thermal slowdown lowers the clocks to keep GPU and memory under their highest
operating temperature. The others are only recorded: the power cap (SwPowerCap), board and voltage limits are how many
GPUs work under any full load, and set clocks, display and sync boost belong to how the machine is set up.
"""

_OWN_THREADS = Path("/proc/self/task")
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorReading:
    """What an accelerator's own meters show at one moment; None where its driver does not tell."""

    sm_clock_mhz: int | None = None
    """Clock of the streaming multiprocessors."""
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    temperature_c: int | None = None
    utilisation: float | None = None
    """Share of the driver's last sampling period in which any kernel ran, ours included."""
    slowdowns: tuple[str, ...] | None = None
    """NVIDIA's names of the reasons for which the clocks are lower than they could be, sorted."""
    thermal_slowdown_ns: int | None = None
    """Counts up while heat keeps the clocks down."""
    foreign_pids: tuple[int, ...] | None = None
    """Other processes that computed on it during the last second, ascending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the meters of a device and its machine show at one moment; seconds count up from an arbitrary zero."""

    wall_s: float
    cpu_s: float
    """CPU time of this process, all threads."""
    waiting_s: float | None
    """Time this process's living threads stood ready to run without a core; None where the system does not tell."""
    machine_busy_s: float
    """Time the machine's cores were not idle, summed over them."""
    cores: int
    """Logical cores of the machine."""
    accelerator: AcceleratorReading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What else happened on a device between two readings."""

    threads: int
    """Threads the step ran on."""
    cores: int
    wall_s: float
    waiting_share: float | None
    """Waiting time over wall time times threads; above 1 where more threads than these waited."""
    foreign_share: float
    """Share of the machine's cores that other processes kept busy; coarse below a second, as systems count in ticks."""
    sm_clock_mhz: int | None = None
    """The lower of the two readings; so is the memory's."""
    memory_clock_mhz: int | None = None
    power_w: float | None = None
    """The higher of the two readings; so are temperature and utilisation."""
    temperature_c: int | None = None
    utilisation: float | None = None
    slowdowns: tuple[str, ...] | None = None
    """Reasons for lower clocks at either reading, harmful or not."""
    thermal_slowdown_ns: int | None = None
    """How long heat kept the clocks down meanwhile."""
    foreign_pids: tuple[int, ...] | None = None
    """Processes that computed on the accelerator besides this one."""

    @property
    def foreign_cores(self) -> float:
        """Cores that other processes kept busy."""
        return self.foreign_share * self.cores

    @property
    def disturbance(self) -> str | None:
        """What makes a time taken meanwhile worthless, in one line; None where nothing did."""
        found = (self._neighbours(), self._slowdown(), self._contention())
        return "; ".join(filter(None, found)) or None

    def _neighbours(self) -> str | None:
        if not self.foreign_pids:
            return None
        return f"pid {', '.join(map(str, self.foreign_pids))} computed on the accelerator too"

    def _slowdown(self) -> str | None:
        """The counter sees what happened between the readings; not every GPU has it."""
        harmful = sorted(HARMFUL_SLOWDOWNS.intersection(self.slowdowns or ()))
        if harmful:
            return f"the accelerator slowed down for {', '.join(harmful)}"
        return "the accelerator slowed down for heat" if self.thermal_slowdown_ns else None

    def _contention(self) -> str | None:
        """A busy neighbour on another core is none: it is contention for the step's own cores that falsifies."""
        busy = f"other processes kept {self.foreign_cores:.1f} of {self.cores} cores busy"
        if self.waiting_share is None:
            crowding = (self.foreign_cores + self.threads - self.cores) / self.threads
            return f"{busy}, the step wants {self.threads}" if crowding > CROWDING_LIMIT else None
        if self.waiting_share <= WAITING_LIMIT:
            return None
        return f"the step waited {self.waiting_share:.0%} of its time for a core, {busy}"


def read_cpu_meters(
    *, clock: Callable[[], float] = time.perf_counter, accelerator: AcceleratorReading | None = None
) -> Reading:
    """What the meters of this process and machine show now; takes some 45 µs, and 7 more for each further thread.

    Args:
        clock: Monotonic seconds.
        accelerator: What an accelerator's meters showed just now.
    """
    return Reading(
        wall_s=clock(),
        cpu_s=time.process_time(),
        waiting_s=_waiting_s(),
        machine_busy_s=_machine_busy_s(),
        cores=psutil.cpu_count() or 1,
        accelerator=accelerator,
    )


def load_between(before: Reading, after: Reading, *, threads: int) -> Load:
    """What else happened between two readings of one device.

    Args:
        before: The earlier reading.
        after: The later one.
        threads: Threads that the timed step ran on.

    Raises:
        ValueError: If the readings are not in order or threads is not positive.
    """
    wall_s = after.wall_s - before.wall_s
    if wall_s <= 0:
        raise ValueError(f"the second reading must be later than the first, got {wall_s:g} s between them")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    load = Load(
        threads=threads,
        cores=after.cores,
        wall_s=wall_s,
        waiting_share=_waiting_share(before, after, wall_s * threads),
        foreign_share=_foreign_s(before, after) / (wall_s * after.cores),
    )
    if before.accelerator is None or after.accelerator is None:
        return load
    return _with_accelerator(load, before.accelerator, after.accelerator)


def _foreign_s(before: Reading, after: Reading) -> float:
    """The machine counts in coarser ticks than a process: a difference below zero is rounding."""
    return max(0.0, after.machine_busy_s - before.machine_busy_s - (after.cpu_s - before.cpu_s))


def _with_accelerator(load: Load, before: AcceleratorReading, after: AcceleratorReading) -> Load:
    """What computed there before the first reading may have ended; so the processes are the second reading's."""
    slowdowns = [names for names in (before.slowdowns, after.slowdowns) if names is not None]
    counts = before.thermal_slowdown_ns, after.thermal_slowdown_ns
    return replace(
        load,
        sm_clock_mhz=_known(min, before.sm_clock_mhz, after.sm_clock_mhz),
        memory_clock_mhz=_known(min, before.memory_clock_mhz, after.memory_clock_mhz),
        power_w=_known(max, before.power_w, after.power_w),
        temperature_c=_known(max, before.temperature_c, after.temperature_c),
        utilisation=_known(max, before.utilisation, after.utilisation),
        slowdowns=tuple(sorted({name for names in slowdowns for name in names})) if slowdowns else None,
        thermal_slowdown_ns=None if counts[0] is None or counts[1] is None else max(0, counts[1] - counts[0]),
        foreign_pids=after.foreign_pids,
    )


def _known(pick: Callable[[list[_Number]], _Number], *values: _Number | None) -> _Number | None:
    known = [value for value in values if value is not None]
    return pick(known) if known else None


def _waiting_share(before: Reading, after: Reading, thread_s: float) -> float | None:
    """A thread that ended took its waiting time with it; the sum must not become negative for that."""
    if before.waiting_s is None or after.waiting_s is None:
        return None
    return max(0.0, after.waiting_s - before.waiting_s) / thread_s


def _waiting_s() -> float | None:
    """Linux keeps for each thread: time on a core (ns), time ready without one (ns), times it was given one."""
    if not _OWN_THREADS.is_dir():
        return None
    waiting_ns, times_run = 0, 0
    for thread in os.listdir(_OWN_THREADS):
        try:
            _, delay, runs = _contents(f"{_OWN_THREADS}/{thread}/schedstat").split()
        except (FileNotFoundError, ProcessLookupError):  # this thread has just ended
            continue
        waiting_ns += int(delay)
        times_run += int(runs)
    # No files, or nothing but zeros: this kernel keeps no statistics.
    return waiting_ns / 1e9 if times_run else None


def _contents(path: str) -> bytes:
    """Of one short line; two to four times as fast as open(), and a process may have a hundred threads."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 100)
    finally:
        os.close(file)


def _machine_busy_s() -> float:
    """Virtual machines' time (guest) is counted in user time already."""
    times = psutil.cpu_times()
    unused = ("idle", "iowait", "guest", "guest_nice")
    return sum(times) - sum(getattr(times, name, 0.0) for name in unused)
