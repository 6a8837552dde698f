"""What a device is, as a value that outlives it: figures compare only where it is the same. Needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """Hardware and software a figure was taken with; figures compare only where these are equal."""

    kind: str
    """ "cpu", "cuda" or "mps"."""
    name: str
    """The hardware, as its driver names it."""
    torch: str
    cuda: str | None
    """CUDA version PyTorch was built with; None where the device is not CUDA."""
    threads: int
    """Threads of one operator on the CPU."""

    def __str__(self) -> str:
        cuda = f", CUDA {self.cuda}" if self.cuda else ""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.name} ({self.kind}, {threads}), torch {self.torch}{cuda}"
