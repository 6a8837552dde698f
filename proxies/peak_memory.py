"""How much memory a piece of work takes on a device, by that device's own allocator."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Work = Callable[[], object]
Prepare = Callable[[], Work]
"""Allocates all that some work needs, runs it until it has settled, and returns it."""

_LOG_LEVEL = "KINETO_LOG_LEVEL"
_SILENT = "99"


def measure_cpu_peak(prepare: Prepare) -> int:
    """Most bytes that PyTorch held at once while work was prepared and done, beyond what there was before.

    Counted is every call of PyTorch's allocator, oneDNN's working memory included; the process takes more from the
    system where the C library's allocator does not find room in what was freed.

    Raises:
        RuntimeError: If PyTorch's profiler is in use already.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    with _silent_profiler(), torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        prepare()()
    results = profile.profiler.kineto_results
    changes = [event for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        peak = max(peak, held)
    return peak


def measure_cuda_peak(torch_device: torch.device, prepare: Prepare) -> int:
    """Most bytes held at once while prepared work was done, beyond what there was before it was prepared.

    Counted is what PyTorch's allocator gave out, cuDNN's working memory included; not what it holds in reserve, nor
    CUDA's own context. What the preparation held at its height is left out: there cuDNN tries algorithms.
    """
    torch.cuda.synchronize(torch_device)
    before = torch.cuda.memory_allocated(torch_device)
    work = prepare()
    torch.cuda.synchronize(torch_device)
    torch.cuda.reset_peak_memory_stats(torch_device)
    work()
    torch.cuda.synchronize(torch_device)
    return torch.cuda.max_memory_allocated(torch_device) - before


def measure_mps_peak(prepare: Prepare) -> int:
    """Bytes that Metal's driver holds after the work, beyond what it held before: freed memory stays in its pool."""
    torch.mps.synchronize()
    torch.mps.empty_cache()
    before = torch.mps.driver_allocated_memory()
    prepare()()
    torch.mps.synchronize()
    return torch.mps.driver_allocated_memory() - before


@contextmanager
def _silent_profiler() -> Iterator[None]:
    """The profiler's library logs straight to the terminal, past Python; it reads its level when it is first used."""
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = before or _SILENT
    try:
        yield
    finally:
        if before is None:
            del os.environ[_LOG_LEVEL]
