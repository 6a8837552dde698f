"""Loops that train in turns, in one process, so that the machine's drift meets all of them."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from proxies.device import Device

VISIT_S = 0.4
"""A loop trains about this long before the next has its turn."""

Steps = Iterator[int]
"""An endless training; each item is the number of images of the step just done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Images per second of two copies of our loop and of two of a peer's; one entry per round."""

    ours: tuple[float, ...]
    ours_again: tuple[float, ...]
    peer: tuple[float, ...]
    peer_again: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours ÷ the peer's, each beside the other."""
        return quotients(self.ours, self.peer) + quotients(self.ours_again, self.peer_again)

    @property
    def null_ratios(self) -> tuple[float, ...]:
        """What two copies of one loop differ by."""
        return quotients(self.ours, self.ours_again) + quotients(self.peer, self.peer_again)

    @property
    def is_below_one(self) -> bool:
        """Whether ours is slower than the peer's by more than two copies of one loop differ."""
        low, _ = interval(self.null_ratios)
        return statistics.median(self.ratios) < min(low, 1.0)


def take_turns(
    loops: list[Steps], *, rounds: int, device: Device, clock: Callable[[], float] = time.perf_counter
) -> list[tuple[float, ...]]:
    """Images per second of each loop in each round; every second round runs backwards, which cancels a trend."""
    lengths = [_steps_of_a_visit(loop, device, clock) for loop in loops]
    speeds: list[list[float]] = [[] for _ in loops]
    for number in range(rounds):
        order = range(len(loops)) if number % 2 == 0 else reversed(range(len(loops)))
        for which in order:
            speeds[which].append(_visit(loops[which], lengths[which], device, clock))
    return list(map(tuple, speeds))


def quotients(numerators: tuple[float, ...], denominators: tuple[float, ...]) -> tuple[float, ...]:
    """Round by round."""
    return tuple(above / below for above, below in zip(numerators, denominators, strict=True))


def interval(ratios: tuple[float, ...]) -> tuple[float, float]:
    """First and third quartile."""
    low, _, high = statistics.quantiles(ratios, n=4)
    return low, high


def interval_text(ratios: tuple[float, ...]) -> str:
    low, high = interval(ratios)
    return f"{low:.2f}–{high:.2f}"


def _steps_of_a_visit(loop: Steps, device: Device, clock: Callable[[], float]) -> int:
    """Steps in a visit's time, after a warm-up."""
    for _ in range(3):
        num_images = next(loop)
    images_per_s = _visit(loop, 2, device, clock)
    return max(1, round(VISIT_S * images_per_s / num_images))


def _visit(loop: Steps, length: int, device: Device, clock: Callable[[], float]) -> float:
    """Images per second of so many steps."""
    device.synchronize()
    start = clock()
    images = sum(next(loop) for _ in range(length))
    device.synchronize()
    return images / (clock() - start)
