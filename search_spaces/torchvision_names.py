"""The same network in torchvision's words: which architectures it can build, and how it names their tensors."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

from .architecture import FUSED_MBCONV, Architecture, Stage
from .catalog import get
from .network_settings import NetworkSettings, same_network
from .weight_names import BATCHES_SEEN, tensor_names

# The epsilon of torchvision's own networks, which no state dict tells (torchvision 0.29.1, models/efficientnet.py).
_OWN_EPSILONS = {
    **{f"efficientnet-b{number}": 1e-5 for number in range(5)},
    **{f"efficientnet-b{number}": 1e-3 for number in range(5, 8)},
    **{f"efficientnetv2-{size}": 1e-3 for size in "sml"},
}
_SE_RATIO = 0.25


def own_norm_eps(architecture: Architecture) -> float | None:
    """The epsilon of torchvision's own network of this architecture; None if it has none."""
    for name, eps in _OWN_EPSILONS.items():
        if same_network(architecture, get(name).architecture):
            return eps
    return None


def require_torchvision(settings: NetworkSettings) -> None:
    """Raise where torchvision's EfficientNet cannot be this network.

    It pads symmetrically, activates by SiLU, takes RGB images, rounds widths to multiples of 8, and has
    squeeze-and-excitation at a quarter in MBConv and none in Fused-MBConv.

    Raises:
        ValueError: That names the stage or setting, the rule and the value.
    """
    for name, value in (("padding", ""), ("act", "silu"), ("in_channels", 3)):
        if getattr(settings, name) != value:
            raise ValueError(f"torchvision's EfficientNet needs {name} {value!r}, got {getattr(settings, name)!r}")
    if settings.architecture.stem_channels % 8:
        raise ValueError(
            f"torchvision's EfficientNet needs widths that are multiples of 8, "
            f"got stem_channels {settings.architecture.stem_channels}"
        )
    for number, stage in enumerate(settings.architecture.stages, start=1):
        _require_stage(number, stage)


def build_torchvision(settings: NetworkSettings) -> nn.Module:
    """Build the same network from torchvision's blocks, randomly initialised.

    Raises:
        ValueError: If torchvision cannot build it.
    """
    require_torchvision(settings)
    architecture = settings.architecture
    widths = (architecture.stem_channels, *(stage.out_channels for stage in architecture.stages))
    return EfficientNet(
        [_config(stage, width) for stage, width in zip(architecture.stages, widths, strict=False)],
        dropout=0.0,
        stochastic_depth_prob=0.0,
        num_classes=settings.num_classes,
        norm_layer=partial(nn.BatchNorm2d, eps=settings.norm_eps),
        last_channel=architecture.head_channels,
    )


def to_torchvision_names(architecture: Architecture, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our network's state dict to torchvision's names; the tensors are the same ones.

    Args:
        architecture: Of the network; `require_torchvision` says whether torchvision can build it.
        tensors: The whole state dict.

    Raises:
        ValueError: If a tensor has no place in the architecture.
    """
    theirs = dict(tensor_names(architecture))
    layers = {ours.rpartition(".")[0]: name.rpartition(".")[0] for ours, name in theirs.items()}
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.rpartition(".")
        if name not in theirs and not (leaf == BATCHES_SEEN and layer in layers):
            raise ValueError(f"tensors must be those of the architecture, got {name!r}")
        renamed[f"{layers[layer]}.{leaf}"] = tensor
    return renamed


def _config(stage: Stage, in_channels: int) -> FusedMBConvConfig | MBConvConfig:
    kind = FusedMBConvConfig if stage.block == FUSED_MBCONV else MBConvConfig
    return kind(stage.expand_ratio, stage.kernel_size, stage.stride, in_channels, stage.out_channels, stage.num_repeats)


def _require_stage(number: int, stage: Stage) -> None:
    se_ratio = 0 if stage.block == FUSED_MBCONV else _SE_RATIO
    if stage.se_ratio != se_ratio:
        raise ValueError(
            f"torchvision's EfficientNet needs se_ratio {se_ratio:g} in {stage.block_name}, "
            f"got {stage.se_ratio:g} in stage {number}"
        )
    if stage.out_channels % 8:
        raise ValueError(
            f"torchvision's EfficientNet needs widths that are multiples of 8, "
            f"got {stage.out_channels} in stage {number}"
        )
