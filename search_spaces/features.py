"""Feature maps at chosen strides, so that a searched backbone drops into detection and segmentation code."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from timm.models import FeatureInfo
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from .architecture import Architecture
from .network import build


class FeatureMaps(nn.Module):
    """The backbone of a network: images in, one feature map per stride out, the finest first.

    Input ``(N, in_channels, H, W)``, output maps ``(N, channels[i], ⌈H ÷ strides[i]⌉, ⌈W ÷ strides[i]⌉)``: at each
    stride the last block before the next stride, as timm's ``features_only`` does. Head and classifier are left out,
    and so are the blocks behind the last stride asked for. Names of parameters are those of the network.

    Args:
        source: An architecture, built afresh by `build` with its defaults, or a network that `build` or
            `load_pretrained` returned: it stays as it is, and its layers are shared, not copied.
        strides: Input pixels per pixel of a map, rising; all that the network has by default.

    Raises:
        ValueError: If the source is another thing, a stride is not among the network's, or they do not rise.
    """

    channels: tuple[int, ...]
    """Of each map."""
    strides: tuple[int, ...]
    """Of each map."""
    feature_info: FeatureInfo
    """The same as timm's code asks for it: ``feature_info.channels()``, ``.reduction()``."""

    def __init__(self, source: Architecture | nn.Module, strides: Sequence[int] | None = None) -> None:
        super().__init__()
        network: Any = build(source) if isinstance(source, Architecture) else source
        if not isinstance(network, EfficientNet):
            raise ValueError(f"source must be an architecture or a network built from one, got {type(source).__name__}")
        infos = {info["reduction"]: info for info in network.feature_info}
        self.strides = tuple(infos) if strides is None else tuple(strides)
        _require_strides(self.strides, tuple(infos))
        taken = [infos[stride] for stride in self.strides]
        self.channels = tuple(info["num_chs"] for info in taken)
        self.feature_info = FeatureInfo([dict(info) for info in taken], tuple(range(len(taken))))
        self._stages = tuple(info["stage"] for info in taken)
        self.conv_stem, self.bn1 = network.conv_stem, network.bn1
        self.blocks = nn.Sequential(*network.blocks[: max(self._stages)])
        self.training = self.blocks.training = network.training

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of a batch of images, the finest first."""
        features = self.bn1(self.conv_stem(images))
        maps = [features] if 0 in self._stages else []
        for stage, blocks in enumerate(self.blocks, start=1):
            features = blocks(features)
            if stage in self._stages:
                maps.append(features)
        return maps


class NamedFeatureMaps(nn.Module):
    """Feature maps as an ordered dictionary, as torchvision's detection and segmentation take them.

    Args:
        maps: The backbone.
        names: One per map; "0", "1", … by default, which torchvision's region pooling looks for. Its segmentation heads
            look for "out", and "aux".

    Raises:
        ValueError: If there are more or fewer names than maps, or doubled ones.
    """

    def __init__(self, maps: FeatureMaps, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.names = tuple(map(str, range(len(maps.strides)))) if names is None else tuple(names)
        if len(self.names) != len(maps.strides) or len(set(self.names)) != len(self.names):
            raise ValueError(f"names must be different, one for each of {len(maps.strides)} maps, got {self.names}")
        self.maps = maps

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """The maps of a batch of images by name, the finest first."""
        return OrderedDict(zip(self.names, self.maps(images), strict=True))


def _require_strides(strides: tuple[int, ...], known: tuple[int, ...]) -> None:
    if not strides or any(stride not in known for stride in strides):
        raise ValueError(f"strides must be among the network's {known}, got {strides}")
    if list(strides) != sorted(set(strides)):
        raise ValueError(f"strides must rise, got {strides}")
