"""Weights trained elsewhere, in a network built from an architecture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .architecture import Architecture
from .network_settings import NetworkSettings, same_network
from .same_logits import computes_the_same, logit_difference
from .tensor_files import read_tensors, write_tensors
from .weight_fit import Fit, fit_tensors, with_in_channels, without_classifier
from .weight_names import CLASSIFIER
from .weight_source import Weights, read_source

__all__ = ["Pretrained", "load_pretrained", "read_tensors", "write_tensors"]

_IMAGE_CHANNELS = 3
_ACT = "silu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """A network with its weights, and what was done to them on the way."""

    network: nn.Module
    """On the CPU, in single precision and training mode, as `build` gives it."""
    settings: NetworkSettings
    notes: tuple[str, ...]
    """What a user should know, a sentence each: where the padding was read, that the classifier is untrained, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A caller's own settings; None leaves one to the source."""

    num_classes: int | None
    in_channels: int | None
    padding: str | None
    norm_eps: float | None
    act: str | None


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
    """Build the network and give it the weights of a file or of a network in memory.

    Tensors are matched by timm's names (they are ours) or torchvision's, behind any prefix; others by their order and
    shape. Padding, epsilon and activation come from the source: from the layers of a network in memory, from the
    header of a file that this package wrote, from the timm network that a checkpoint, a ``config.json`` beside it or
    its path names, from torchvision's own networks. The same tensors may stand for another network, so a network in
    memory is run beside the built one, and a timm network that is named must have its strides and residuals. No file
    can run code.

    Args:
        architecture: What to build.
        source: A network of timm, torchvision or ours, or a ``.safetensors`` file or a checkpoint of torch.
        num_classes: Of the classifier; where the source has another number, it is freshly initialised.
        in_channels: Of the images; where the source takes another number, the first kernel is adapted.
        padding: "" or "same"; needed where the source does not tell.
        norm_eps: Epsilon of every batch norm; needed where the source does not tell.
        act: Activation by timm's name; "silu" where the source does not tell.
        allow_partial: Take what fits, and note what does not.

    Raises:
        ValueError: If the file cannot be read, its weights do not fit or are not finite, padding or epsilon is unknown,
            or the network in memory or the timm network named computes something else; one line.
    """
    weights = read_source(architecture, source)
    asked = _Asked(num_classes=num_classes, in_channels=in_channels, padding=padding, norm_eps=norm_eps, act=act)
    settings = _settings(architecture, weights, asked)
    network = settings.build()
    fit = _fit(weights, settings, network)
    misfits = _misfits(settings, weights, fit, network) or _other_logits(weights, settings, asked)
    if misfits and not (allow_partial and fit.tensors):
        hint = "; allow_partial=True takes what fits" if fit.tensors else ""
        raise ValueError(f"weights must fit the architecture, but of {weights.label} {'; '.join(misfits)}{hint}")
    network.load_state_dict(fit.tensors, strict=False)
    notes = (*weights.notes, *_told_notes(weights, settings, asked), *_adapted_notes(weights, settings))
    return Pretrained(network=network, settings=settings, notes=(*notes, *misfits))


def _settings(architecture: Architecture, weights: Weights, asked: _Asked) -> NetworkSettings:
    told = weights.told
    classes = weights.num_classes if asked.num_classes is None else asked.num_classes
    in_channels = weights.in_channels if asked.in_channels is None else asked.in_channels
    if classes is None:
        raise ValueError(f"num_classes must be given, since {weights.label} has no classifier")
    padding = told.padding if asked.padding is None else asked.padding
    norm_eps = told.norm_eps if asked.norm_eps is None else asked.norm_eps
    if padding is None or norm_eps is None:
        unknown = [name for name, value in (("padding", padding), ("norm_eps", norm_eps)) if value is None]
        raise ValueError(
            f"{' and '.join(unknown)} must be given, since {weights.label} {told.doubt or 'does not tell'}: networks "
            f"built here have '' and 1e-3 by default, timm's efficientnet_* '' and 1e-5, its tf_* 'same' and 1e-3"
        )
    return NetworkSettings(
        architecture=architecture,
        num_classes=classes,
        in_channels=_IMAGE_CHANNELS if in_channels is None else in_channels,
        padding=padding,
        norm_eps=norm_eps,
        act=(told.act or _ACT) if asked.act is None else asked.act,
    )


def _fit(weights: Weights, settings: NetworkSettings, network: nn.Module) -> Fit:
    """Compare the tensors with the network's, those that depend on classes and channels once they are adapted."""
    tensors: Mapping[str, Tensor] = weights.tensors
    keeps_classifier = weights.num_classes == settings.num_classes
    if not keeps_classifier:
        tensors = without_classifier(tensors)
    if weights.in_channels not in (None, settings.in_channels):
        tensors = with_in_channels(tensors, settings.in_channels)
    return fit_tensors(tensors, network.state_dict(), ready=() if keeps_classifier else CLASSIFIER)


def _misfits(settings: NetworkSettings, weights: Weights, fit: Fit, network: nn.Module) -> list[str]:
    misfits = [] if fit.is_whole else [str(fit)]
    # Strides and the like leave no trace in shapes, so a file that says what it is must say the same.
    if weights.architecture and not same_network(weights.architecture, settings.architecture):
        misfits.append(f"the architecture is {weights.architecture}")
    # Where tensors differ, so do layers, and the tensors say it.
    if fit.is_whole and (difference := weights.told.unlike(network)):
        misfits.append(difference)
    return misfits


def _other_logits(weights: Weights, settings: NetworkSettings, asked: _Asked) -> list[str]:
    """Run a source in memory beside a network with its weights, and say so if they compute something else."""
    in_channels = weights.in_channels
    if weights.network is None or in_channels is None or _overridden(weights, asked):
        return []
    twin: Any = replace(settings, num_classes=weights.num_classes or 1, in_channels=in_channels).build()
    fit = fit_tensors(weights.tensors, twin.state_dict(), ready=() if weights.num_classes else CLASSIFIER)
    if not fit.is_whole:
        return [str(fit)]
    twin.load_state_dict(fit.tensors, strict=False)
    if weights.num_classes is None:
        twin.reset_classifier(0)
    size = 2 * settings.architecture.total_stride
    difference = logit_difference(weights.network, twin, in_channels=in_channels, size=size)
    if difference is None:
        return ["the output cannot be compared with ours: it has another shape, or is not finite"]
    if computes_the_same(difference):
        return []
    return [
        f"the logits differ from ours by {difference:.2g} of the largest: "
        "a stride, a dilation or another layer is not the architecture's"
    ]


def _overridden(weights: Weights, asked: _Asked) -> list[str]:
    """Settings that the caller wants otherwise than the source has them."""
    names = ("padding", "norm_eps", "act")
    pairs = [(name, getattr(asked, name), getattr(weights.told, name)) for name in names]
    return [
        f"{name} {value!r} for {told!r}" for name, value, told in pairs if None not in (value, told) and value != told
    ]


def _told_notes(weights: Weights, settings: NetworkSettings, asked: _Asked) -> list[str]:
    told = weights.told
    names = ("padding", "norm_eps", "act")
    taken = [name for name in names if getattr(asked, name) is None and getattr(told, name) is not None]
    notes = []
    if taken:
        values = ", ".join(f"{name} {getattr(settings, name)!r}" for name in taken)
        notes.append(f"{values} taken from {told.told_by}")
    if asked.act is None and told.act is None:
        notes.append(f"act {_ACT!r} was assumed")
    if overridden := _overridden(weights, asked):
        notes.append(f"another network than the source, as asked: {', '.join(overridden)}")
    return notes


def _adapted_notes(weights: Weights, settings: NetworkSettings) -> list[str]:
    notes = []
    if weights.num_classes != settings.num_classes:
        has = f"{weights.num_classes} classes" if weights.num_classes else "no classifier"
        notes.append(f"the classifier is untrained: the source has {has}, got num_classes {settings.num_classes}")
    if weights.in_channels not in (None, settings.in_channels):
        notes.append(
            f"the first kernel was adapted from {weights.in_channels} to {settings.in_channels} image channels"
        )
    return notes
