"""Devices by name, and what failing allocators look like."""

import gc
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import proxies.device
from proxies.device import find_device, flush_denormals, is_out_of_memory
from proxies.infeasible import InfeasibleError, MemoryInfeasibleError

TOO_MUCH = 2**50
"""Bytes no machine gives to one tensor."""


def test_the_cpu_is_always_there() -> None:
    device = find_device("cpu")
    assert (device.kind, device.spec) == ("cpu", "cpu")
    device.synchronize()
    device.release_memory()
    assert device.canary_batch_size >= 2


def test_its_stopwatch_counts_the_work_in_seconds() -> None:
    done: list[float] = []

    def work() -> None:
        start = time.perf_counter()
        time.sleep(0.02)
        done.append(time.perf_counter() - start)

    assert find_device("cpu").stopwatch(work) >= done[0]
    assert len(done) == 1


def test_a_device_that_is_found_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(proxies.device, "keep_freed_memory", lambda: asked.append("keep"))
    find_device("cpu")
    assert asked == ["keep"]


def test_auto_takes_an_accelerator_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert find_device("auto").kind == expected


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU", "tpu", "cuda:1:2"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="device must be auto, cpu, cuda, cuda:N or mps, got"):
        find_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "mps" if not torch.backends.mps.is_available() else "cuda"])
def test_a_device_that_is_not_here_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="is not available here") as refusal:
        find_device(name)
    assert "\n" not in str(refusal.value)


def test_identity_says_hardware_software_and_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        identity = find_device("cpu").identity()
    finally:
        torch.set_num_threads(before)
    assert identity.torch == torch.__version__
    assert identity.cuda is None
    assert identity.threads == 1
    assert identity.name
    assert "1 thread" in str(identity)


def test_a_seeded_block_repeats_itself_and_leaves_the_generator_as_it_was() -> None:
    device = find_device("cpu")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with device.seeded(1):
        first = torch.rand(3)
    with device.seeded(1):
        second = torch.rand(3)
    assert torch.equal(first, second)
    assert torch.equal(torch.rand(3), expected)


def test_a_seeded_block_seeds_this_device_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own manual_seed seeds every GPU, and only one is restored."""
    all_gpus: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", all_gpus.append)
    torch.manual_seed(0)
    assert all_gpus == [0], "PyTorch does it as ever"
    this_device: list[int] = []
    with replace(find_device("cpu"), seed_generator=this_device.append).seeded(7):
        pass
    assert (this_device, all_gpus) == ([7], [0])


class FakeGpus:
    """As many GPUs as there are UUIDs visible to this process; None for a PyTorch that tells no UUID."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.visible: list[str | None] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.visible))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        monkeypatch.setattr(torch.cuda, "get_device_properties", self.properties)

    def properties(self, device: torch.device) -> SimpleNamespace:
        uuid = self.visible[device.index]
        return SimpleNamespace() if uuid is None else SimpleNamespace(uuid=uuid)


def test_a_gpu_has_the_same_lease_name_whatever_else_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = FakeGpus(monkeypatch)
    gpus.visible = ["aaaa", "bbbb"]
    first, second = (find_device(f"cuda:{index}").lease_name for index in (0, 1))
    gpus.visible = ["bbbb"]  # as under CUDA_VISIBLE_DEVICES=1
    assert find_device("cuda:0").lease_name == second != first


def test_without_a_uuid_the_lease_is_named_as_the_device_is(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpus(monkeypatch).visible = [None, None]
    assert find_device("cuda:1").lease_name == "cuda:1"
    assert find_device("cpu").lease_name == "cpu"


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    ],
)
def test_allocators_of_cudas_libraries_count_as_well(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError(text))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"))


def test_a_real_failure_of_the_cpu_allocator_is_infeasible() -> None:
    verdict = pytest.raises(MemoryInfeasibleError, match="out of memory on cpu")
    with verdict, find_device("cpu").out_of_memory_is_infeasible():
        torch.empty(TOO_MUCH, dtype=torch.uint8)


def test_memory_is_released_before_the_verdict() -> None:
    released: list[bool] = []
    alive: list[weakref.ref[torch.Tensor]] = []
    device = replace(find_device("cpu"), release_memory=lambda: released.append(alive[0]() is None))

    def train() -> None:
        tensor = torch.zeros(1000)
        alive.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    gc.disable()
    try:
        with pytest.raises(InfeasibleError, match="CUDA out of memory"), device.out_of_memory_is_infeasible():
            train()
    finally:
        gc.enable()
    assert released == [True]


def test_other_errors_pass_through_unchanged() -> None:
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError) as raised, find_device("cpu").out_of_memory_is_infeasible():
        raise error
    assert raised.value is error
    assert not is_out_of_memory(error)


def test_denormal_numbers_are_flushed() -> None:
    def is_flushed() -> bool:
        return bool((torch.full((64,), 1e-30) * 1e-10 == 0).all())

    try:
        torch.set_flush_denormal(False)
        assert not is_flushed()
        flush_denormals()
        assert is_flushed()
    finally:
        torch.set_flush_denormal(False)


def test_every_thread_flushes_where_the_device_is_found_first() -> None:
    script = (
        "import torch; from proxies.device import find_device; torch.set_num_threads(2); find_device('cpu');"
        "product = torch.full((4_000_000,), 1e-30) * 1e-10; assert (product == 0).all(), (product == 0).float().mean()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.gpu
def test_on_cuda_synchronize_waits_for_the_work_queued() -> None:
    device = find_device("cuda")
    matrix = torch.randn(8192, 8192, device=device.torch_device)
    matrix @ matrix
    device.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        matrix = (matrix @ matrix).clamp(-1, 1)
    queued = time.perf_counter() - start
    device.synchronize()
    assert time.perf_counter() - start > 3 * queued


@pytest.mark.gpu
def test_on_cuda_a_real_failure_of_the_allocator_is_infeasible_and_gives_memory_back() -> None:
    device = find_device("cuda")
    before = torch.cuda.memory_reserved(device.torch_device)

    def train() -> None:
        kept = torch.zeros(2**28, dtype=torch.uint8, device=device.torch_device)
        torch.empty(TOO_MUCH, dtype=torch.uint8, device=kept.device)

    with pytest.raises(InfeasibleError, match="out of memory on cuda"), device.out_of_memory_is_infeasible():
        train()
    assert torch.cuda.memory_reserved(device.torch_device) <= before


@pytest.mark.gpu
def test_on_cuda_a_seeded_block_seeds_the_device_too() -> None:
    device = find_device("cuda")
    draws = []
    for _ in range(2):
        with device.seeded(3):
            draws.append(torch.rand(4, device=device.torch_device).cpu())
    assert torch.equal(*draws)


@pytest.mark.gpu
def test_on_cuda_a_seeded_block_leaves_every_generator_as_it_was() -> None:
    device = find_device("cuda:0")
    before = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    with device.seeded(3):
        torch.rand(4)
        torch.rand(4, device=device.torch_device)
    after = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    assert all(map(torch.equal, before, after))


@pytest.mark.gpu
def test_on_cuda_the_lease_is_named_by_the_uuid() -> None:
    assert str(torch.cuda.get_device_properties(0).uuid) in find_device("cuda:0").lease_name


@pytest.mark.gpu
def test_on_cuda_the_fastest_convolutions_are_looked_for() -> None:
    find_device("cuda")
    assert torch.backends.cudnn.benchmark
