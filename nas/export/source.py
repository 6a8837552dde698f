"""From what a user gives (a reference, perhaps weights) to the network that is exported."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxies.device import find_device
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import load_pretrained

from ..reference import Reference
from .probe import random_images
from .subject import Origin, Subject, make_subject

# Other images than the probe's, of the same kind.
_NOISE_SEED, _NOISE_IMAGES = 1, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the user says of the network; None is as the weights say, or without weights the reference."""

    num_classes: int | None = None
    in_channels: int | None = None
    padding: str | None = None
    norm_eps: float | None = None
    act: str | None = None


def read_subject(
    reference: Reference,
    *,
    weights: Path | None = None,
    overrides: Overrides | None = None,
    resolution: int | None = None,
    seed: int = 0,
) -> Subject:
    """Build the network with the weights of a file, or untrained.

    Args:
        reference: The architecture, with what is known of it.
        weights: A file that `load_pretrained` reads; by default the one that the reference's training kept.
        overrides: What is not to be as the weights or the reference say.
        resolution: Pixels per side; by default the inference size that the reference knows.
        seed: Of what is drawn and not read: untrained weights, or a classifier of another width than the file's.

    Raises:
        ValueError: If the weights do not fit, or a setting breaks its rule.
    """
    given = asdict(overrides or Overrides())
    size = reference.inference_size if resolution is None else resolution
    if weights is None:
        weights = reference.weights
    else:
        # What is known of a training is not known of other weights.
        reference = replace(reference, training=None)
    with find_device("cpu").seeded(seed):
        if weights is None:
            settings = replace(_untrained(reference), **_not_none(given))
            network = _untrained_network(settings, min(size, reference.architecture.resolution))
            origin = Origin(text=f"drawn with seed {seed}, batch norms fitted to noise", is_trained=False)
        else:
            found = load_pretrained(reference.architecture, weights, **given)
            network, settings = found.network, found.settings
            origin = Origin(text=weights.name, is_trained=True, notes=found.notes)
    return make_subject(network, settings, origin=origin, resolution=size, reference=reference)


def _untrained_network(settings: NetworkSettings, resolution: int) -> nn.Module:
    """Drawn from torch's generator, with the statistics of noise in its batch norms.

    Without any, deep networks grow their activations block by block until rounding alone decides on the logits: of
    V2-S up to 18 % of them, so that no two runtimes agree.
    """
    network = settings.build().train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network(random_images(_NOISE_SEED, _NOISE_IMAGES, settings.in_channels, resolution))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network


def _untrained(reference: Reference) -> NetworkSettings:
    return NetworkSettings(
        architecture=reference.architecture, num_classes=reference.num_classes, in_channels=reference.in_channels
    )


def _not_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
