"""What is exported: a network, and all that is said about it."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces.network_settings import NetworkSettings

from ..reference import Reference
from .probe import Probe, make_probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the weights come from."""

    text: str
    """For people, e.g. "weights.safetensors", or how untrained ones were drawn."""
    is_trained: bool
    notes: tuple[str, ...] = ()
    """What was done to the weights on the way, a sentence each."""

    def __str__(self) -> str:
        return f"weights from {self.text}" if self.is_trained else f"untrained weights ({self.text})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """A network as it is taken away: on the CPU, in float32 and evaluation mode."""

    network: nn.Module
    settings: NetworkSettings
    resolution: int
    """Pixels per side of its images, at inference; the architecture's own is the training size."""
    origin: Origin
    reference: Reference
    """What is known of the architecture."""
    probe: Probe

    def metadata(self, format_name: str) -> dict[str, str]:
        """The texts that every export carries, whatever its format."""
        about = {"export_format": format_name, "resolution": str(self.resolution), "weights": str(self.origin)}
        return self.settings.to_metadata() | about | self.probe.to_metadata()


def make_subject(
    network: nn.Module,
    settings: NetworkSettings,
    *,
    origin: Origin,
    resolution: int | None = None,
    reference: Reference | None = None,
) -> Subject:
    """Take a copy of a network; the given one stays as it is, in its mode and on its device.

    Args:
        network: What `settings` describes, with its weights.
        settings: What its logits depend on beside its weights.
        origin: Of the weights.
        resolution: Pixels per side; by default the inference size that the reference knows.
        reference: What is known of the architecture, by default nothing more.

    Raises:
        ValueError: If the size is below the total stride, or the network's logits are not finite.
    """
    known = reference or Reference(architecture=settings.architecture)
    size = known.inference_size if resolution is None else resolution
    if size < settings.architecture.total_stride:
        raise ValueError(
            f"resolution must be at least the total stride {settings.architecture.total_stride}, got {size}"
        )
    taken = copy.deepcopy(network).to("cpu", torch.float32).to(memory_format=torch.contiguous_format).eval()
    return Subject(
        network=taken,
        settings=settings,
        resolution=size,
        origin=origin,
        reference=known,
        probe=make_probe(taken, in_channels=settings.in_channels, resolution=size),
    )
