"""From an architecture to a network: the only mapping to timm's blocks."""

from functools import partial
from typing import Any

from timm.layers import get_act_layer
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from .architecture import MBCONV, Architecture, Stage
from .blocks import HEAD, STEM, PlacedBlock
from .network_settings import PADDINGS


def build(
    architecture: Architecture,
    num_classes: int = 1000,
    in_channels: int = 3,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    padding: str = "",
    norm_eps: float = 1e-3,
    act: str = "silu",
) -> nn.Module:
    """Build the network, randomly initialised from torch's global generator.

    Input ``(N, in_channels, H, W)``, output logits ``(N, num_classes)``. The blocks are timm's, so its features
    (``forward_features``, ``forward_intermediates``) are there too.

    Args:
        architecture: What to build.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
        drop_rate: Dropout before the classifier, a probability.
        drop_path_rate: Stochastic depth, a probability: block i of n (from 0) drops its branch with ``rate · i / n``.
        padding: "" pads symmetrically as torch does; "same" as TensorFlow does (timm's ``tf_`` weights need it).
        norm_eps: Epsilon of every batch norm; 1e-3 is that of the released EfficientNetV2.
        act: Activation by timm's name.

    Raises:
        ValueError: If padding or activation is unknown.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, got {padding!r}")
    return EfficientNet(
        block_args=decode_arch_def(architecture.to_timm(), depth_multiplier=1.0),
        num_classes=num_classes,
        num_features=architecture.head_channels,
        in_chans=in_channels,
        stem_size=architecture.stem_channels,
        fix_stem=True,
        pad_type=padding,
        # timm would turn strides beyond 32 into dilations, and the network into another one.
        output_stride=architecture.total_stride,
        # The text form says every width in full: nothing is rounded behind its back.
        round_chs_fn=partial(round_channels, multiplier=1.0, divisor=1, round_limit=0.0),
        act_layer=_activation(act),
        norm_layer=partial(nn.BatchNorm2d, eps=norm_eps),
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )


def _activation(name: str) -> type[nn.Module]:
    try:
        return get_act_layer(name)
    except KeyError:
        raise ValueError(f"act must be timm's name of an activation, e.g. 'silu', got {name!r}") from None


def build_block(block: PlacedBlock, num_classes: int = 1000) -> nn.Module:
    """Build a single block of a network, as `build` makes it; the head comes with pooling and classifier.

    Input ``(N, in_channels, in_size, in_size)``, output ``(N, out_channels, out_size, out_size)``; of the head, logits
    ``(N, num_classes)``.

    Args:
        block: What to build.
        num_classes: Width of the classifier, of the head only.
    """
    network: Any = build(_network_around(block), num_classes, block.in_channels if block.kind == STEM else 3)
    if block.kind == STEM:
        return nn.Sequential(network.conv_stem, network.bn1)
    if block.kind == HEAD:
        return nn.Sequential(network.conv_head, network.bn2, network.global_pool, network.classifier)
    return network.blocks[0][0]


def _network_around(block: PlacedBlock) -> Architecture:
    """The smallest network that has the block; around stem or head, a stage of the block's width."""
    width = block.out_channels if block.kind == STEM else block.in_channels
    is_stage = block.kind not in (STEM, HEAD)
    stage = Stage(
        block=block.kind if is_stage else MBCONV,
        num_repeats=1,
        kernel_size=block.kernel_size if is_stage else 3,
        stride=block.stride if is_stage else 1,
        expand_ratio=block.expand_ratio,
        out_channels=block.out_channels if is_stage else width,
        se_ratio=block.se_ratio,
    )
    head_channels = block.out_channels if block.kind == HEAD else width
    return Architecture(stages=(stage,), stem_channels=width, head_channels=head_channels)
