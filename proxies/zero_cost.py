"""Scores of untrained networks: what one batch, or none, tells about a candidate before it is trained."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.messages import did_you_mean
from search_spaces.network import build

from .complexity import count_macs, count_params
from .device import Device
from .infeasible import InfeasibleError
from .saliency import grad_norm, snip
from .seeds import derived_seed
from .separation import jacob_cov, naswot
from .synflow import synflow
from .zen_score import zen_score


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """What candidates are looked at with: one batch, the same for all of them."""

    images: Tensor
    """(N, C, H, W), normalised."""
    labels: Tensor
    """(N,), class numbers."""
    num_classes: int
    seed: int
    """Of initial weights, and of what a score draws itself."""
    device: Device

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) < 2:
            raise ValueError(f"images must be (N, C, H, W) with N of at least 2, got {tuple(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(f"labels must be one for each image, got {tuple(self.labels.shape)}")

    @classmethod
    def of_noise(
        cls, *, num_images: int, resolution: int, num_classes: int, seed: int, device: Device, in_channels: int = 3
    ) -> "Probe":
        """Normal noise with random labels, for want of images."""
        generator = torch.Generator().manual_seed(derived_seed(seed, "probe"))
        images = torch.randn(num_images, in_channels, resolution, resolution, generator=generator)
        labels = torch.randint(num_classes, (num_images,), generator=generator)
        return cls(images=images, labels=labels, num_classes=num_classes, seed=seed, device=device)

    def network(self, architecture: Architecture) -> nn.Module:
        """A fresh network on the device; the same seed gives the same weights."""
        with self.device.seeded(self.seed):
            network = build(architecture, num_classes=self.num_classes, in_channels=self.images.shape[1])
        # Twice as fast on a CPU as maps one after the other, the same up to rounding.
        return network.to(self.device.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels on the device."""
        images = self.images.to(self.device.torch_device, memory_format=torch.channels_last)
        return images, self.labels.to(self.device.torch_device)

    def generator(self) -> torch.Generator:
        """Of what a score draws itself; on the CPU, so that every device gets the same."""
        return torch.Generator().manual_seed(derived_seed(self.seed, "score"))


Score = Callable[[Architecture, Probe], float]
"""A number of one architecture, the higher the better; not finite where there is none."""


def _without_labels(function: Callable[[nn.Module, Tensor], float]) -> Score:
    return lambda architecture, probe: function(probe.network(architecture), probe.batch()[0])


def _with_labels(function: Callable[[nn.Module, Tensor, Tensor], float]) -> Score:
    return lambda architecture, probe: function(probe.network(architecture), *probe.batch())


def _params(architecture: Architecture, probe: Probe) -> float:
    return float(count_params(architecture, probe.num_classes, probe.images.shape[1]))


def _macs(architecture: Architecture, probe: Probe) -> float:
    """At the architecture's own size."""
    return float(count_macs(architecture, None, probe.num_classes, probe.images.shape[1]))


def _zen(architecture: Architecture, probe: Probe) -> float:
    return zen_score(probe.network(architecture), probe.batch()[0], probe.generator())


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "params": _params,
        "macs": _macs,
        "synflow": _without_labels(synflow),
        "naswot": _without_labels(naswot),
        "jacob_cov": _without_labels(jacob_cov),
        "grad_norm": _with_labels(grad_norm),
        "snip": _with_labels(snip),
        "zen": _zen,
    }
)
"""By name. The first two need no network: what all others have to beat."""


def zero_cost_scores(
    architecture: Architecture, probe: Probe, names: Iterable[str] = tuple(SCORES)
) -> Mapping[str, float]:
    """Scores of one architecture by name, the higher the better.

    Every score gets a fresh network with the same weights. No global state is changed.

    Args:
        architecture: Whose.
        probe: The batch and the seed, the same for all that are to be compared.
        names: Which; all by default.

    Raises:
        ValueError: If a name is unknown.
        InfeasibleError: If a score is not finite.
    """
    return MappingProxyType({name: _finite_score(name, architecture, probe) for name in map(require_score, names)})


def require_score(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: If no score has this name.
    """
    if name not in SCORES:
        raise ValueError(f"unknown score {name!r}; {did_you_mean(name, list(SCORES))}")
    return name


def _finite_score(name: str, architecture: Architecture, probe: Probe) -> float:
    with probe.device.out_of_memory_is_infeasible():
        value = SCORES[name](architecture, probe)
    if not math.isfinite(value):
        raise InfeasibleError(f"score {name} must be finite, got {value}")
    return value
