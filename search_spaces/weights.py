"""Weights trained elsewhere, in a network built from an architecture."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .architecture import Architecture
from .network_settings import NetworkSettings
from .tensor_files import read_tensors, write_tensors

__all__ = ["Pretrained", "load_pretrained", "read_tensors", "write_tensors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A network with its weights, and what was done to them on the way."""

    network: nn.Module
    settings: NetworkSettings
    notes: tuple[str, ...]
    """What a user should know, a sentence each: the head was left untrained, averaged weights were taken, …"""


def load_pretrained(
    architecture: Architecture,
    source: nn.Module | str | Path,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    padding: str | None = None,
    norm_eps: float | None = None,
    act: str | None = None,
    allow_partial: bool = False,
) -> Pretrained:
    """Build the network and give it the weights of a file or of a network in memory."""
    raise NotImplementedError
