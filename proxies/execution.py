"""How a step is executed on a device: number format, memory layout, compilation. Reading a mode needs no torch."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]
_EXAMPLE = "float32-channels_last-small_maps"


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
    small_maps: bool = False
    """Compute convolutions on maps of a few pixels as matrix products, see :mod:`proxies.small_maps`."""
    compile: bool = False
    """Compile the network; pays after many thousand steps only."""

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise ValueError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {self.dtype!r}")

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        extras = [name for name in ("small_maps", "compile") if getattr(self, name)]
        return "-".join([self.dtype, layout, *extras])

    @property
    def memory_format(self) -> "torch.memory_format":
        """The layout of images and weights, as PyTorch names it."""
        import torch

        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: "torch.nn.Module", torch_device: "torch.device") -> "torch.nn.Module":
        """Move the network to the device, laid out for this mode; in place, like ``Module.to``."""
        from .small_maps import use_small_maps

        use_small_maps(network, self.small_maps)
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
    """Read a mode such as ``float32-channels_last-small_maps``; the exact inverse of ``str(mode)``.

    Raises:
        ValueError: If the text is malformed, in one line.
    """
    dtype, *words = text.split("-")
    if dtype in get_args(Dtype):
        mode = ExecutionMode(
            dtype=dtype,  # type: ignore[arg-type]
            channels_last="channels_last" in words,
            small_maps="small_maps" in words,
            compile="compile" in words,
        )
        if str(mode) == text:
            return mode
    raise ValueError(f"an execution mode reads like {_EXAMPLE!r}, got {text!r}")
