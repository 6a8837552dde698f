"""Where weights come from, told apart by what can be known of it: a network in memory, or a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .architecture import Architecture
from .layer_settings import LayerSettings, named_in_timm, read_layers
from .network_settings import NetworkSettings
from .tensor_files import ENTRY, is_averaged, read_tensors
from .torchvision_names import own_norm_eps
from .weight_fit import is_plain
from .weight_names import BATCHES_SEEN, CLASSIFIER, STEM_KERNEL, Dialect, by_order, find_network, from_torchvision


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Tensors under our names, and what their source says about the network they belong to."""

    tensors: Mapping[str, Tensor]
    label: str
    """What to call the source in a message."""
    told: LayerSettings
    architecture: Architecture | None = None
    """The one the source names, which files of ours do."""
    notes: tuple[str, ...] = ()
    network: nn.Module | None = None
    """The source itself, where it is in memory."""

    @property
    def num_classes(self) -> int | None:
        """Outputs of the source's classifier; None if it has none."""
        return self._extent(CLASSIFIER[0], 0, dimensions=2)

    @property
    def in_channels(self) -> int | None:
        """Channels of the images that the source takes; None if its first kernel is missing."""
        return self._extent(STEM_KERNEL, 1, dimensions=4)

    def _extent(self, name: str, dimension: int, *, dimensions: int) -> int | None:
        tensor = self.tensors.get(name)
        if tensor is None or tensor.dim() != dimensions or not is_plain(tensor):
            return None
        return tensor.shape[dimension] or None


def read_source(architecture: Architecture, source: nn.Module | str | Path) -> Weights:
    """Name the source's tensors as ours are named and find out what can be known about its layers.

    Raises:
        ValueError: If the file cannot be read, holds several networks, or holds names and an order unknown here.
    """
    if isinstance(source, nn.Module):
        return _of_network(architecture, source)
    if isinstance(source, str | Path):
        return _of_file(architecture, Path(source))
    raise ValueError(f"source must be a network or the path of a file, got {type(source).__name__}")


def _of_network(architecture: Architecture, network: nn.Module) -> Weights:
    tensors, dialect, prefix, notes = _named(architecture, network.state_dict(), ordered=True)
    inner = network.get_submodule(prefix.removesuffix("."))
    return Weights(
        tensors=tensors,
        label=f"the network in memory ({type(inner).__name__}, {dialect.value} names)",
        told=read_layers(inner),
        notes=notes,
        network=inner,
    )


def _of_file(architecture: Architecture, path: Path) -> Weights:
    given, texts = read_tensors(path)
    # A safetensors file lists its tensors as it likes, so their order means nothing.
    tensors, dialect, _, notes = _named(architecture, given, ordered=path.suffix != ".safetensors")
    ours = NetworkSettings.from_metadata(texts)
    averaged = (f"the averaged weights were taken ({texts[ENTRY]})",) if is_averaged(texts.get(ENTRY, "")) else ()
    return Weights(
        tensors=tensors,
        label=str(path),
        told=_told(architecture, path, texts, tensors, dialect, ours),
        architecture=ours.architecture if ours else None,
        notes=averaged + notes,
    )


def _told(
    architecture: Architecture,
    path: Path,
    texts: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    dialect: Dialect,
    ours: NetworkSettings | None,
) -> LayerSettings:
    """What a file tells about layers it does not hold."""
    if ours:
        return LayerSettings(padding=ours.padding, norm_eps=ours.norm_eps, act=ours.act, told_by="the file's metadata")
    if dialect is Dialect.TORCHVISION:
        eps = own_norm_eps(architecture)
        return LayerSettings(padding="", norm_eps=eps, act="silu", told_by="torchvision's EfficientNet")
    return named_in_timm(path, texts, tensors) if dialect is Dialect.TIMM else LayerSettings()


def _named(
    architecture: Architecture, tensors: Mapping[str, Tensor], *, ordered: bool
) -> tuple[dict[str, Tensor], Dialect, str, tuple[str, ...]]:
    """The tensors under our names, whose names they had, the prefix before them, and what to say about it."""
    dialect, prefix = find_network(list(tensors))
    inside = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outside = [name for name in tensors if not name.startswith(prefix)]
    notes: tuple[str, ...] = ()
    if outside:
        notes = (f"{len(outside)} tensors outside {prefix!r} were left out, first {outside[0]!r}",)
    if dialect is Dialect.TORCHVISION:
        return from_torchvision(architecture, inside), dialect, prefix, notes
    if dialect is Dialect.TIMM:
        return {n: t for n, t in inside.items() if not n.endswith(BATCHES_SEEN)}, dialect, prefix, notes
    if not ordered:
        raise ValueError(
            "tensors of a .safetensors file must have timm's or torchvision's names, since the file keeps no order, "
            f"got {next(iter(inside))!r}"
        )
    notes += (f"the names are {dialect.value}, so the tensors were taken in their order",)
    return by_order(architecture, inside), dialect, prefix, notes
