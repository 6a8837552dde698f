"""What a network's layers, or the name of one of timm's networks, say about padding, epsilon and activation."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import timm
import torch
from timm.layers import Conv2dSame, get_act_layer
from timm.models import is_model_in_modules
from torch import Tensor, nn

Value = TypeVar("Value")

_ACTIVATIONS = (
    "silu", "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu", "mish",
    "hard_swish", "hard_sigmoid", "hard_mish", "prelu", "tanh",
)  # fmt: skip
# What timm's file names carried before its names had a tag behind a dot: the training recipe.
_OLD_TAG = re.compile(r"_(aa|ap|ns|ra|ra2)$")
_FOLDERS_ABOVE = 3
"""As far as a hub's cache puts the name over the file: ``models--timm--NAME/snapshots/HASH/model.safetensors``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSettings:
    """What was found out about a source's layers; None where it cannot be told."""

    padding: str | None = None
    norm_eps: float | None = None
    act: str | None = None
    told_by: str = ""
    """Where it was read, as the end of "taken from …"."""
    doubt: str = ""
    """Why something cannot be told, where there is more to say than that."""
    traits: tuple[str, ...] | None = None
    """What else the source computes that its tensors do not show, for `unlike` to compare."""

    def unlike(self, network: nn.Module) -> str:
        """How the source is another network than one with tensors of its names and shapes; "" where it is not known."""
        if self.traits is None:
            return ""
        ours = _traits(network)
        differing = [(self.told_by, trait) for trait in self.traits if trait not in ours]
        differing += [("the architecture", trait) for trait in ours if trait not in self.traits]
        if not differing:
            return ""
        whose, trait = differing[0]
        return f"the layers are those of {self.told_by}, which is another network: {whose} alone has {trait}"


def read_layers(network: nn.Module, told_by: str = "the layers of the network") -> LayerSettings:
    """Look at the layers; what differs among them, or is unknown here, stays None."""
    modules = list(network.modules())
    return LayerSettings(
        padding=_single({_padding(layer) for layer in modules if isinstance(layer, nn.Conv2d)} - {"either"}),
        norm_eps=_single({eps for layer in modules if isinstance(eps := getattr(layer, "eps", None), float)}),
        act=_single({name for layer in modules for name in _activation(layer)}),
        told_by=told_by,
    )


def named_in_timm(path: Path, texts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> LayerSettings:
    """What a timm network says that a checkpoint names: in its ``arch``, in a ``config.json`` beside it, in its path.

    A name counts only if that network has the file's tensors (classifier and image channels aside). Where two names
    are given whose networks differ in a setting, nothing is known of it.
    """
    # Without the tag, which names the training.
    candidates = dict.fromkeys(_OLD_TAG.sub("", name.partition(".")[0]) for name in _timm_names(path, texts))
    found = [settings for name in candidates if (settings := _of_timm(name, tensors))]
    names = " and ".join(each.told_by for each in found)
    return LayerSettings(
        padding=_single({each.padding for each in found}),
        norm_eps=_single({each.norm_eps for each in found}),
        act=_single({each.act for each in found}),
        traits=_single({each.traits for each in found}),
        told_by=names,
        doubt=f"names {names}, which differ" if len(found) > 1 else "",
    )


def _single(found: set[Value]) -> Value | None:
    return found.pop() if len(found) == 1 else None


def _padding(layer: nn.Conv2d) -> str | None:
    """How a convolution pads; "either" where both ways are the same."""
    if isinstance(layer, Conv2dSame):
        return "same"
    stride, kernel, dilation = layer.stride[0], layer.kernel_size[0], layer.dilation[0]
    if layer.padding == "same":
        return "either"
    if layer.padding[0] != (stride - 1 + dilation * (kernel - 1)) // 2:
        return None
    return "either" if stride == 1 else ""


def _activation(layer: nn.Module) -> Iterator[str]:
    yield from (name for name in _ACTIVATIONS if type(layer) is get_act_layer(name))


def _timm_names(path: Path, texts: Mapping[str, str]) -> Iterator[str]:
    """Texts that may be timm's names, the surest first."""
    if "arch" in texts:
        yield texts["arch"]
    yield from _beside(path)
    for part in [path, *path.absolute().parents][: _FOLDERS_ABOVE + 1]:
        # "tf_efficientnet_b0_ns-c0e6a31c.pth", "tf_efficientnet_b0.in1k", "models--timm--tf_efficientnet_b0.in1k"
        yield part.name.rpartition("--")[2].partition("-")[0]


def _beside(path: Path) -> Iterator[str]:
    """The name in the ``config.json`` that timm puts beside a file of weights."""
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(config, dict) and isinstance(config.get("architecture"), str):
        yield config["architecture"]


def _of_timm(name: str, tensors: Mapping[str, Tensor]) -> LayerSettings | None:
    if not is_model_in_modules(name, ("efficientnet",)):
        return None
    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    shapes = _body_shapes(network.state_dict())
    if shapes != _body_shapes(tensors):
        return None
    return replace(read_layers(network, f"timm's {name}"), traits=_traits(network))


def _traits(network: nn.Module) -> tuple[str, ...]:
    """Strides, dilations and blocks without a residual, by the names of timm's layers."""
    found = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            found += [f"stride {layer.stride[0]} in {name}"] * (layer.stride[0] > 1)
            found += [f"dilation {layer.dilation[0]} in {name}"] * (layer.dilation[0] > 1)
        found += [f"no residual in {name}"] * (getattr(layer, "has_skip", True) is False)
    return tuple(found)


def _body_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Of all that does not depend on the classes and the channels of the images."""
    return {
        name: tuple(tensor.shape)
        for name, tensor in tensors.items()
        if not name.startswith(("classifier.", "conv_stem.")) and not name.endswith("num_batches_tracked")
    }
