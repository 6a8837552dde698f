"""All that a network computes depends on, beside its weights."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .architecture import Architecture, parse

if TYPE_CHECKING:
    from torch import nn

PADDINGS = ("", "same")
_FIELDS = ("architecture", "num_classes", "in_channels", "padding", "norm_eps", "act")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """What must be known to build a network in which given weights compute what they were trained to compute.

    Two networks may have the same tensors and yet be different: another padding, epsilon or activation changes every
    logit, and no shape tells.

    Raises:
        ValueError: If a field breaks its rule; the line names the rule and the value.
    """

    architecture: Architecture
    num_classes: int = 1000
    in_channels: int = 3
    padding: str = ""
    """ "" (symmetric, torch's) or "same" (TensorFlow's; timm's ``tf_`` networks)."""
    norm_eps: float = 1e-3
    """Epsilon of every batch norm."""
    act: str = "silu"
    """Activation by timm's name."""

    def __post_init__(self) -> None:
        for name in ("num_classes", "in_channels"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
        if self.padding not in PADDINGS:
            raise ValueError(f"padding must be one of {PADDINGS}, got {self.padding!r}")
        if not (isinstance(self.norm_eps, float) and math.isfinite(self.norm_eps) and self.norm_eps > 0):
            raise ValueError(f"norm_eps must be a positive finite number, got {self.norm_eps!r}")
        if not isinstance(self.act, str) or not self.act:
            raise ValueError(f"act must be timm's name of an activation, e.g. 'silu', got {self.act!r}")

    def build(self, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> "nn.Module":
        """Build the network, randomly initialised; see `search_spaces.build`."""
        # A report or a model card reads settings where no torch is wanted.
        from .network import build

        return build(
            self.architecture,
            self.num_classes,
            self.in_channels,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            padding=self.padding,
            norm_eps=self.norm_eps,
            act=self.act,
        )

    def to_metadata(self) -> dict[str, str]:
        """The settings as texts, as the header of a ``.safetensors`` file carries them."""
        return {name: str(getattr(self, name)) for name in _FIELDS}

    @staticmethod
    def from_metadata(metadata: Mapping[str, str]) -> "NetworkSettings | None":
        """Read what `to_metadata` wrote; None where a setting is missing, as in files of others.

        Raises:
            ValueError: If a setting is malformed.
        """
        if any(name not in metadata for name in _FIELDS):
            return None
        return NetworkSettings(
            architecture=parse(metadata["architecture"]),
            num_classes=_whole_number("num_classes", metadata),
            in_channels=_whole_number("in_channels", metadata),
            padding=metadata["padding"],
            norm_eps=_number("norm_eps", metadata),
            act=metadata["act"],
        )


def same_network(one: Architecture, other: Architecture) -> bool:
    """Whether two architectures are one network: the size it is trained at is no part of it."""
    return replace(one, resolution=other.resolution) == other


def _number(name: str, metadata: Mapping[str, str]) -> float:
    try:
        return float(metadata[name])
    except ValueError:
        raise ValueError(f"{name} must be written as a number, got {metadata[name][:40]!r}") from None


def _whole_number(name: str, metadata: Mapping[str, str]) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", metadata[name]):
        raise ValueError(f"{name} must be written as a whole number, got {metadata[name][:40]!r}")
    return int(metadata[name])
