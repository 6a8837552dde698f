"""The same network in torchvision's words: which architectures it can build, and how it names their tensors."""

from collections.abc import Mapping

from torch import Tensor, nn

from .architecture import Architecture
from .network_settings import NetworkSettings


def require_torchvision(settings: NetworkSettings) -> None:
    """Raise where torchvision's EfficientNet cannot be this network.

    Raises:
        ValueError: That names the stage or setting, the rule and the value.
    """
    raise NotImplementedError


def build_torchvision(settings: NetworkSettings) -> nn.Module:
    """Build the same network from torchvision's blocks, randomly initialised.

    Raises:
        ValueError: If torchvision cannot build it.
    """
    raise NotImplementedError


def to_torchvision_names(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our network's state dict to torchvision's names, in torchvision's order; the tensors are the same."""
    raise NotImplementedError
