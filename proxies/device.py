"""The device a candidate is judged on: one record of functions per kind, so that nothing else asks which kind it is."""

import functools
import gc
import platform
import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from search_spaces.messages import first_line

from .allocator import keep_freed_memory
from .device_identity import DeviceIdentity
from .device_load import Reading, read_cpu_meters
from .execution import Dtype
from .infeasible import MemoryInfeasibleError
from .nvml import gpu_here
from .peak_memory import Prepare, measure_cpu_peak, measure_cuda_peak, measure_mps_peak

_NAME = re.compile(r"auto|cpu|mps|cuda(:(?P<index>[0-9]{1,3}))?")
_OUT_OF_MEMORY = (
    # the CPU's allocator and oneDNN
    "can't allocate memory",
    "not enough memory",
    "could not create a memory object",
    # CUDA's driver, cuBLAS and cuDNN, which allocate beside PyTorch
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
    "_ALLOCATION_FAILED",
)
"""Texts by which a plain RuntimeError is known to be an allocator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What training and measuring need to know of a device."""

    kind: str
    """ "cpu", "cuda" or "mps"."""
    torch_device: torch.device
    name: str
    """The hardware, as its driver names it."""
    lease_name: str
    """Means the same hardware in every process of this machine, whichever devices the process sees."""
    seed_generator: Callable[[int], None]
    """Seed the device's own random generator; no other device's, nor the CPU's."""
    synchronize: Callable[[], None]
    """Wait until everything queued on the device is done; call it before a clock is read."""
    stopwatch: Callable[[Callable[[], object]], float]
    """Seconds that a piece of work takes on the device, which is drained before it and after it."""
    release_memory: Callable[[], None]
    """Give cached memory back to the device."""
    free_memory: Callable[[], int]
    """Bytes that nobody uses now, as the device's driver or the system counts."""
    limit_memory: Callable[[float], None]
    """Let this process have that share of the device's memory and no more, whatever is free; ignored on the CPU."""
    measure_peak: Callable[[Prepare], int]
    """Most bytes that prepared work and what was prepared for it hold, see :mod:`proxies.peak_memory`."""
    read_meters: Callable[[], Reading]
    """What the meters of the device and its machine show now; two readings tell what else happened between them."""
    canary_batch_size: int
    """Images in a step of the reference networks that alternate with what is timed: enough to keep the device busy."""
    mixed_dtypes: tuple[Dtype, ...]
    """Dtypes worth trying under autocast besides float32."""
    slow_on_small_maps: bool
    """Whether convolutions on maps of a few pixels are worth computing in another way."""

    @property
    def spec(self) -> str:
        """The name that :func:`find_device` takes, e.g. "cuda:1"."""
        return str(self.torch_device)

    def identity(self) -> DeviceIdentity:
        """Hardware and software as they are now."""
        return DeviceIdentity(
            kind=self.kind,
            name=self.name,
            torch=torch.__version__,
            cuda=torch.version.cuda if self.kind == "cuda" else None,
            threads=torch.get_num_threads(),
        )

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed PyTorch's global generators of the CPU and of this device inside the block and restore them after it.

        Only for what takes no generator of its own: initial weights and dropout.
        """
        accelerators = [] if self.kind == "cpu" else [self.torch_device]
        with torch.random.fork_rng(accelerators, device_type=self.kind if accelerators else "cuda"):
            self.seed(seed)
            yield

    def seed(self, seed: int) -> None:
        """Seed PyTorch's global generators of the CPU and of this device; only inside :meth:`seeded`."""
        # torch.manual_seed would seed every other accelerator too, which nobody restores.
        torch.default_generator.manual_seed(seed)
        self.seed_generator(seed)

    @contextmanager
    def out_of_memory_is_infeasible(self) -> Iterator[None]:
        """Turn memory that does not suffice into a verdict on the candidate, its memory released.

        What is allocated must be held by functions called inside the block, not by the function the block stands in.

        Raises:
            MemoryInfeasibleError: In place of the allocator's error, CPU or accelerator.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # The frames that failed would hold the candidate's tensors as long as the error lives.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
            self.release_memory()
            raise MemoryInfeasibleError(f"out of memory on {self.spec}: {first_line(error)}") from None


def find_device(name: str = "auto") -> Device:
    """The device of this name.

    Denormal numbers are flushed and freed memory is kept from here on: PyTorch's threads inherit the first setting when
    they start, not later, and the second changes nothing that lies in memory already.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps", or "auto": CUDA where there is one, else MPS, else the CPU.

    Raises:
        ValueError: If there is no such device here.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"device must be auto, cpu, cuda, cuda:N or mps, got {name!r}")
    kind = _best_kind() if name == "auto" else name.split(":")[0]
    if kind not in available_kinds():
        raise ValueError(f"device {name!r} is not available here (available: {', '.join(available_kinds())})")
    flush_denormals()
    keep_freed_memory()
    if kind == "cuda":
        return _cuda(int(match["index"] or torch.cuda.current_device()))
    return _mps() if kind == "mps" else _cpu()


def available_kinds() -> tuple[str, ...]:
    """Kinds of device that PyTorch can use here, the CPU last."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(kind for kind, is_present in present.items() if is_present)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed; the CPU's and those of CUDA's libraries are known by their texts only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def flush_denormals() -> None:
    """Let the CPU treat denormal numbers as zero: gradients that small would slow a step down more than twentyfold."""
    torch.set_flush_denormal(True)


def time_work(
    work: Callable[[], object],
    *,
    synchronize: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Wall seconds of a piece of work.

    Args:
        work: What is timed.
        synchronize: Waits until everything queued on the device is done.
        clock: Monotonic seconds.
    """
    synchronize()
    start = clock()
    work()
    synchronize()
    return clock() - start


def _time_cuda_work(torch_device: torch.device, work: Callable[[], object]) -> float:
    """By the GPU's own clock, so that the host's waking up after the last kernel is not counted."""
    with torch.cuda.device(torch_device):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def _best_kind() -> str:
    return available_kinds()[0]


def _cpu() -> Device:
    return Device(
        kind="cpu",
        torch_device=torch.device("cpu"),
        name=_cpu_name(),
        lease_name="cpu",
        seed_generator=_nothing_to_seed,
        synchronize=_nothing_to_do,
        stopwatch=time_work,
        release_memory=_nothing_to_do,
        free_memory=lambda: psutil.virtual_memory().available,
        limit_memory=_no_limit,
        measure_peak=measure_cpu_peak,
        read_meters=read_cpu_meters,
        canary_batch_size=32,
        mixed_dtypes=("bfloat16",),
        slow_on_small_maps=True,
    )


def _cuda(index: int) -> Device:
    if index >= torch.cuda.device_count():
        raise ValueError(f"device 'cuda:{index}' is not available here (CUDA devices: {torch.cuda.device_count()})")
    torch_device = torch.device("cuda", index)
    # The fastest convolution for each size is found in the first steps, which are warm-up wherever something is timed.
    torch.backends.cudnn.benchmark = True
    return Device(
        kind="cuda",
        torch_device=torch_device,
        name=torch.cuda.get_device_name(torch_device),
        lease_name=_cuda_lease_name(torch_device),
        seed_generator=functools.partial(_seed_cuda, torch_device),
        synchronize=functools.partial(torch.cuda.synchronize, torch_device),
        stopwatch=functools.partial(_time_cuda_work, torch_device),
        release_memory=torch.cuda.empty_cache,
        free_memory=lambda: torch.cuda.mem_get_info(torch_device)[0],
        limit_memory=lambda share: torch.cuda.set_per_process_memory_fraction(share, torch_device),
        measure_peak=functools.partial(measure_cuda_peak, torch_device),
        read_meters=functools.partial(_read_cuda_meters, torch_device),
        canary_batch_size=512,
        mixed_dtypes=("bfloat16", "float16"),
        slow_on_small_maps=False,
    )


def _mps() -> Device:
    return Device(
        kind="mps",
        torch_device=torch.device("mps"),
        name=_cpu_name(),
        lease_name="mps",
        seed_generator=torch.mps.manual_seed,
        synchronize=torch.mps.synchronize,
        stopwatch=functools.partial(time_work, synchronize=torch.mps.synchronize),
        release_memory=torch.mps.empty_cache,
        free_memory=lambda: torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(),
        limit_memory=_no_limit,
        measure_peak=measure_mps_peak,
        read_meters=read_cpu_meters,
        canary_batch_size=128,
        mixed_dtypes=("bfloat16",),
        slow_on_small_maps=False,
    )


def _cuda_lease_name(torch_device: torch.device) -> str:
    """By the GPU's UUID: the index depends on CUDA_VISIBLE_DEVICES."""
    uuid = _cuda_uuid(torch_device)
    return str(torch_device) if uuid is None else f"cuda-{uuid}"


def _read_cuda_meters(torch_device: torch.device) -> Reading:
    """The machine's meters too: a host thread that waits for a core starts the GPU's kernels late."""
    uuid = _cuda_uuid(torch_device)
    gpu = None if uuid is None else gpu_here(f"GPU-{uuid}")
    return read_cpu_meters(accelerator=gpu.read() if gpu else None)


def _cuda_uuid(torch_device: torch.device) -> str | None:
    """Without the "GPU-" that NVIDIA's tools put before it; None where PyTorch does not know it."""
    uuid = getattr(torch.cuda.get_device_properties(torch_device), "uuid", None)
    return None if uuid is None else str(uuid)


def _seed_cuda(torch_device: torch.device, seed: int) -> None:
    with torch.cuda.device(torch_device):
        torch.cuda.manual_seed(seed)


def _nothing_to_seed(seed: int) -> None:
    """The CPU's generator is PyTorch's default one."""


def _no_limit(share: float) -> None:
    """Nobody deals out parts of the machine's memory."""


def _nothing_to_do() -> None:
    """The CPU computes at once and caches no memory."""


@functools.cache
def _cpu_name() -> str:
    """The processor's model; Linux tells it in /proc/cpuinfo only."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        if match:
            return match[1].strip()
    return platform.processor() or platform.machine()
