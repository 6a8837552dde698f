"""The same network from three libraries, and the proof that it is the same."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from search_spaces import catalog
from search_spaces.network import build

if TYPE_CHECKING:
    from search_spaces.architecture import Architecture

SIZES = ("s", "m")
OURS, TIMM, TORCHVISION = "ours", "timm", "torchvision"
_LARGEST_ERROR = 1e-4
"""Of logits in training mode, relative to the largest: equal networks differ by rounding, if at all."""
_CHECKED_AT = 64
"""Pixels per side of the images that networks are compared on."""


class DifferentNetworkError(ValueError):
    """What was to be compared is not the same network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Builds one network of one library."""

    name: str
    """Of the library, or "ours"."""
    make: Callable[[], nn.Module]
    network: str
    """As the library calls it, with the settings that make it the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SameNetwork:
    """One architecture and everybody's way to build it, ours first."""

    name: str
    architecture: "Architecture"
    ours: Maker
    peers: tuple[Maker, ...]


def network_of(size: str) -> SameNetwork:
    """EfficientNetV2-S or -M with 1,000 classes, without dropout and stochastic depth.

    The peers' networks are those that pad symmetrically, as ours do by default, with the released epsilon: timm's
    ``efficientnetv2_*`` (its ``tf_`` networks pad as TensorFlow does, its ``_rw_`` ones have other widths).

    Raises:
        ValueError: If the size is unknown.
    """
    if size not in SIZES:
        raise ValueError(f"networks must be among {', '.join(SIZES)}, got {size!r}")
    architecture = catalog.get(f"efficientnetv2-{size}").architecture
    theirs: Callable[..., nn.Module] = getattr(torchvision.models, f"efficientnet_v2_{size}")
    return SameNetwork(
        name=f"efficientnetv2-{size}",
        architecture=architecture,
        ours=Maker(name=OURS, make=lambda: build(architecture), network=f"build(efficientnetv2-{size})"),
        peers=(
            Maker(
                name=TIMM,
                make=lambda: timm.create_model(f"efficientnetv2_{size}", bn_eps=1e-3),
                network=f"efficientnetv2_{size}(bn_eps=1e-3), timm {timm.__version__}",
            ),
            Maker(
                name=TORCHVISION,
                make=lambda: theirs(weights=None, dropout=0.0, stochastic_depth_prob=0.0),
                network=f"efficientnet_v2_{size}(dropout=0, stochastic_depth_prob=0), "
                f"torchvision {torchvision.__version__}",
            ),
        ),
    )


def require_same(ours: Maker, peer: Maker, in_channels: int = 3) -> float:
    """With the peer's weights ours gives the peer's logits, in training mode, where dropout would show itself too.

    Tensors are taken over in order: all libraries register them in the order of the forward pass.

    Returns:
        The largest difference of two logits ÷ the largest logit.

    Raises:
        DifferentNetworkError: If parameters or logits differ, with both.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        mine, theirs = ours.make(), peer.make()
    counts = _num_parameters(mine), _num_parameters(theirs)
    if counts[0] != counts[1]:
        raise DifferentNetworkError(f"{peer.network} must have {counts[0]:,} parameters as ours has, got {counts[1]:,}")
    _take_over(mine, theirs, peer)
    images = torch.randn(4, in_channels, _CHECKED_AT, _CHECKED_AT, generator=torch.Generator().manual_seed(1))
    expected, found = _training_logits(theirs, images), _training_logits(mine, images)
    error = ((found - expected).abs().max() / expected.abs().max()).item()
    if not error <= _LARGEST_ERROR:  # so that NaN is refused too
        raise DifferentNetworkError(
            f"{peer.network} must give the logits of ours within {_LARGEST_ERROR:g}, got a difference of {error:.2g}"
        )
    return error


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _take_over(mine: nn.Module, theirs: nn.Module, peer: Maker) -> None:
    names, tensors = list(mine.state_dict()), list(theirs.state_dict().values())
    shapes: list[Any] = [tensor.shape for tensor in mine.state_dict().values()]
    if shapes != [tensor.shape for tensor in tensors]:
        raise DifferentNetworkError(f"{peer.network} must have the tensors of ours in the same order, got others")
    mine.load_state_dict(dict(zip(names, tensors, strict=True)))


@torch.no_grad()
def _training_logits(network: nn.Module, images: Tensor) -> Tensor:
    return network.train()(images)
