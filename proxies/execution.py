"""How a step is executed on a device: number format, memory layout, compilation. Reading a mode needs no torch."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]
_LAYOUTS = {"contiguous": False, "channels_last": True}
_COMPILED = "compile"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionMode:
    """A way to execute the same training; it changes speed and rounding, nothing else.

    >>> str(ExecutionMode(dtype="bfloat16", channels_last=True))
    'bfloat16-channels_last'

    Raises:
        ValueError: If the dtype is none of float32, bfloat16, float16.
    """

    dtype: Dtype = "float32"
    """Of convolutions and matrix products; weights stay float32 (autocast)."""
    channels_last: bool = False
    """Keep tensors of shape (N, C, H, W) in the order NHWC."""
    compile: bool = False
    """Compile the network; pays after many thousand steps only."""

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}")

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        return "-".join([self.dtype, layout, *([_COMPILED] if self.compile else [])])

    @property
    def memory_format(self) -> "torch.memory_format":
        """The layout of images and weights, as PyTorch names it."""
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: "torch.nn.Module", torch_device: "torch.device") -> "torch.nn.Module":
        """Move the network to the device, in this mode's layout; in place, like ``Module.to``."""
        return network.to(device=torch_device).to(memory_format=self.memory_format)

    def autocast(self, torch_device: "torch.device") -> "contextlib.AbstractContextManager[object]":
        """The context in which the network and the loss are computed."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        import torch

        return torch.autocast(torch_device.type, dtype=getattr(torch, self.dtype))


PLAIN = ExecutionMode()
"""What a loop does that asks for nothing: float32, contiguous, not compiled."""


def parse_mode(text: str) -> ExecutionMode:
    """Read a mode such as ``bfloat16-channels_last-compile``; the exact inverse of ``str(mode)``.

    Raises:
        ValueError: If the text is malformed, in one line.
    """
    dtype, _, rest = text.partition("-")
    layout, _, compiled = rest.partition("-")
    if dtype not in get_args(Dtype) or layout not in _LAYOUTS or compiled not in ("", _COMPILED):
        raise ValueError(f"an execution mode reads like 'float32-channels_last', got {text!r}")
    mode = ExecutionMode(dtype=dtype, channels_last=_LAYOUTS[layout], compile=bool(compiled))  # type: ignore[arg-type]
    if str(mode) != text:
        raise ValueError(f"an execution mode reads like 'float32-channels_last', got {text!r}")
    return mode
