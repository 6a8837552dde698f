"""Whether given tensors fit a network, and how those of another number of classes or channels are made to."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .weight_names import BATCHES_SEEN, CLASSIFIER, STEM_KERNEL

_NAMED = 3
"""Tensors a message names of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What fits a network, and what does not."""

    tensors: Mapping[str, Tensor]
    """Those that can be loaded."""
    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    """Name, shape and the shape due, as a text each."""
    unknown: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return not (self.missing or self.other_shape or self.unknown)

    def __str__(self) -> str:
        """What does not fit: counts and the first names, in one line."""
        kinds = (
            ("missing", self.missing),
            ("of another shape", self.other_shape),
            ("not of this architecture", self.unknown),
        )
        told = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds if names]
        return f"{len(self.tensors)} tensors fit, {', '.join(told) if told else 'all'}"


def fit_tensors(tensors: Mapping[str, Tensor], network: Mapping[str, Tensor], *, ready: Iterable[str] = ()) -> Fit:
    """Compare given tensors with a network's state dict.

    Args:
        tensors: Under the network's names.
        network: Its state dict.
        ready: Names that may be missing, since the network has its own.

    Raises:
        ValueError: If a tensor that fits holds NaN or infinity.
    """
    due = {name: tensor for name, tensor in network.items() if not name.endswith(BATCHES_SEEN)}
    fitting = {name: tensor for name, tensor in tensors.items() if name in due and _is_like(tensor, due[name])}
    _require_finite(fitting)
    return Fit(
        tensors=fitting,
        missing=tuple(name for name in due if name not in tensors and name not in ready),
        other_shape=tuple(
            f"{name} {_kind(tensor)} for {_kind(due[name])}"
            for name, tensor in tensors.items()
            if name in due and name not in fitting
        ),
        unknown=tuple(name for name in tensors if name not in due),
    )


def without_classifier(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All tensors but the classifier's."""
    return {name: tensor for name, tensor in tensors.items() if name not in CLASSIFIER}


def with_in_channels(tensors: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """All tensors, the stem's kernel made to take images of so many channels."""
    return {**tensors, STEM_KERNEL: adapt_kernel(tensors[STEM_KERNEL], in_channels)}


def adapt_kernel(kernel: Tensor, in_channels: int) -> Tensor:
    """Make the first kernel take images of other channels, at about the same strength of signal.

    One channel gets the sum over the given ones: a grey image gives what it gave as three equal channels. More or
    fewer channels repeat or drop the given ones in turn and scale them by given ÷ asked. timm does the same.

    Args:
        kernel: ``(out, given, height, width)``.
        in_channels: Channels asked for.
    """
    given = kernel.shape[1]
    kernel = kernel.float()
    if in_channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeated = kernel.repeat(1, math.ceil(in_channels / given), 1, 1)[:, :in_channels]
    return repeated * (given / in_channels)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds real numbers, dense and in memory: a file may hold others."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta


def _require_finite(tensors: Mapping[str, Tensor]) -> None:
    # In single precision, since not every smaller kind of number can be asked.
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()]
    if broken:
        raise ValueError(f"weights must be finite, got NaN or infinity in {len(broken)} tensors ({_first(broken)})")


def _is_like(tensor: Tensor, due: Tensor) -> bool:
    return tensor.shape == due.shape and is_plain(tensor)


def _kind(tensor: Tensor) -> str:
    shape = "×".join(map(str, tensor.shape)) or "scalar"
    return shape if is_plain(tensor) else f"{shape} of {tensor.dtype}, {tensor.layout} on {tensor.device}"


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
