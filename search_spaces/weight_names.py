"""How timm (so we) and torchvision name the parts of the same network, in the order of the forward pass."""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from torch import Tensor

from .architecture import FUSED_MBCONV, Architecture, Stage

_CONVOLUTION = ("weight",)
_AFFINE = ("weight", "bias")
_NORM = ("weight", "bias", "running_mean", "running_var")
BATCHES_SEEN = "num_batches_tracked"
"""Of a batch norm; it changes nothing here (our momentum is fixed), and old checkpoints lack it."""

STEM_KERNEL = "conv_stem.weight"
CLASSIFIER = ("classifier.weight", "classifier.bias")


class Dialect(Enum):
    """Whose names a state dict speaks."""

    TIMM = "timm's"
    TORCHVISION = "torchvision's"
    UNKNOWN = "neither timm's nor torchvision's"


_STEMS = {Dialect.TIMM: STEM_KERNEL, Dialect.TORCHVISION: "features.0.0.weight"}


def find_network(names: Sequence[str]) -> tuple[Dialect, str]:
    """Whose names these are, and the prefix (``module.``, ``model.``, …) under which the network lies.

    Raises:
        ValueError: If there are several networks.
    """
    found = [
        (dialect, match[1])
        for dialect, stem in _STEMS.items()
        for name in names
        if (match := re.fullmatch(rf"((?:.*\.)?){re.escape(stem)}", name))
    ]
    if len(found) > 1:
        prefixes = ", ".join(repr(prefix) for _, prefix in found)
        raise ValueError(f"weights must be of one network, got {len(found)}, under {prefixes}")
    return found[0] if found else (Dialect.UNKNOWN, "")


def tensor_names(architecture: Architecture) -> list[tuple[str, str]]:
    """Every tensor of a network but `BATCHES_SEEN`: our name and torchvision's, in the order of the forward pass."""
    return [
        (f"{ours}.{tensor}", f"{theirs}.{tensor}")
        for ours, theirs, tensors in _parts(architecture)
        for tensor in tensors
    ]


def from_torchvision(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give torchvision's tensors our names; those the architecture has no place for keep theirs."""
    ours = {theirs: name for name, theirs in tensor_names(architecture)}
    return {ours.get(name, name): tensor for name, tensor in tensors.items() if not name.endswith(BATCHES_SEEN)}


def by_order(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of unknown names ours, the first the first: both must lie in the order of the forward pass.

    The last part of each name must agree, so that no mean is taken for a bias.

    Raises:
        ValueError: If there are more or fewer tensors than the architecture has, or another kind stands in a place.
    """
    expected = [name for name, _ in tensor_names(architecture)]
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith(BATCHES_SEEN)}
    rule = "weights whose names are neither timm's nor torchvision's must follow the order of the architecture"
    if len(given) != len(expected):
        raise ValueError(f"{rule}: it has {len(expected)} tensors, got {len(given)}, first {next(iter(given), None)!r}")
    for ours, theirs in zip(expected, given, strict=True):
        if ours.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise ValueError(f"{rule}: {ours} is due, got {theirs!r}")
    return dict(zip(expected, given.values(), strict=True))


def _parts(architecture: Architecture) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Our name of a layer, torchvision's, and its tensors."""
    yield from _normed(("conv_stem", "bn1"), "features.0")
    for number, stage in enumerate(architecture.stages):
        for repeat in range(stage.num_repeats):
            yield from _block_parts(stage, f"blocks.{number}.{repeat}", f"features.{number + 1}.{repeat}.block")
    yield from _normed(("conv_head", "bn2"), f"features.{len(architecture.stages) + 1}")
    yield "classifier", "classifier.1", _AFFINE


def _block_parts(stage: Stage, ours: str, theirs: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The layers of a block: torchvision numbers them, timm names them after their part."""
    for index, layers in enumerate(_block_layers(stage)):
        if layers[0] == "se":
            yield f"{ours}.se.conv_reduce", f"{theirs}.{index}.fc1", _AFFINE
            yield f"{ours}.se.conv_expand", f"{theirs}.{index}.fc2", _AFFINE
        else:
            yield from _normed((f"{ours}.{layers[0]}", f"{ours}.{layers[1]}"), f"{theirs}.{index}")


def _normed(ours: tuple[str, str], theirs: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    yield ours[0], f"{theirs}.0", _CONVOLUTION
    yield ours[1], f"{theirs}.1", _NORM


def _block_layers(stage: Stage) -> list[tuple[str, str]]:
    """Convolutions with their norms as timm calls them in its four kinds of block, and ("se", "")."""
    excitation = [("se", "")] if stage.se_ratio else []
    if stage.block == FUSED_MBCONV:
        if stage.expand_ratio == 1:
            return [("conv", "bn1")]
        return [("conv_exp", "bn1"), *excitation, ("conv_pwl", "bn2")]
    if stage.expand_ratio == 1:
        return [("conv_dw", "bn1"), *excitation, ("conv_pw", "bn2")]
    return [("conv_pw", "bn1"), ("conv_dw", "bn2"), *excitation, ("conv_pwl", "bn3")]
