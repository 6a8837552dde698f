"""Visits in processes of their own: by our protocol, and as others time steps."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from proxies import device as device_module
from proxies.device import Device, find_device
from proxies.step_time import StepTimeSetting, Visit
from proxies.step_time_measurement import Timing, held_alone
from search_spaces.architecture import parse

from .networks import beds, operator_mixes

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Estimators:
    """What different protocols make of the same network at the same time."""

    mean: float
    median: float
    minimum: float
    ratio: float
    """Median of ratios to the canary."""
    is_clean: bool


def estimate(visit: Visit, num_pairs: int) -> Estimators:
    """Of the first pairs of a visit."""
    samples = visit.samples_s[:num_pairs]
    cut = Visit(
        samples_s=samples,
        reference_samples_s=visit.reference_samples_s[: num_pairs + 1],
        disturbances=visit.disturbances[:num_pairs],
    )
    return Estimators(
        mean=statistics.mean(samples),
        median=statistics.median(samples),
        minimum=min(samples),
        ratio=statistics.median(cut.ratios),
        is_clean=cut.is_clean,
    )


def in_fresh_process(work: Callable[..., Result], *arguments: object) -> Result:
    """What repeats in one process need not repeat in the next: memory lies elsewhere."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def visit_mixes(keep_memory: bool, num_pairs: int, core: int | None) -> dict[str, Visit]:
    """One visit to each operator mix, in this process.

    Args:
        keep_memory: Whether freed memory is kept, as we do; or the C library's own way, as everybody does.
        num_pairs: Of each visit.
        core: To stay on; None leaves it to the system.
    """
    bed = beds()[0]
    device = make_device(keep_memory, core)
    timing = Timing(device=device, workload=bed.workload, setting=StepTimeSetting(num_pairs=num_pairs))
    visits = {}
    for name, network in operator_mixes(bed.space).items():
        with held_alone(device):
            visits[name] = timing.visit(network).visits[0]
    return visits


def make_device(keep_memory: bool, core: int | None = None) -> Device:
    """The CPU with one thread."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    if not keep_memory:
        device_module.keep_freed_memory = lambda: False  # type: ignore[assignment]
    torch.set_num_threads(1)
    return find_device("cpu")


@contextmanager
def neighbour(core: int | None) -> Iterator[None]:
    """A process that computes without pause.

    Args:
        core: The one it shares with the measurement; None: a training wherever the system puts it.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_compute if core is not None else _train, args=(core,), daemon=True)
    process.start()
    time.sleep(15.0)  # until it has imported what it needs
    try:
        yield
    finally:
        process.kill()
        process.join()


def _compute(core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        sum(range(10_000))


def _train(core: None) -> None:
    from proxies.timed_step import make_timed_step

    bed = beds()[0]
    step = make_timed_step(bed.space.backbone, bed.workload, make_device(keep_memory=True))
    while True:
        step()


def label_all(networks: list[str], bed: int, num_pairs: int) -> tuple[list[float], float]:
    """Ratios of many networks in one visit each, and the seconds that a visit took on average."""
    device = make_device(keep_memory=True)
    timing = Timing(device=device, workload=beds()[bed].workload, setting=StepTimeSetting(num_pairs=num_pairs))
    start, ratios = time.perf_counter(), []
    for text in networks:
        with held_alone(device):
            ratios.append(timing.visit(parse(text)).ratio)
    return ratios, (time.perf_counter() - start) / len(networks)
