"""From an architecture to a network: the only mapping to timm's blocks."""

from functools import partial

from timm.layers import get_act_layer
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from .architecture import Architecture

PADDINGS = ("", "same")


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
        ValueError: If padding is unknown.
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
        # The text form says every width in full: nothing is rounded behind its back.
        round_chs_fn=partial(round_channels, multiplier=1.0, divisor=1, round_limit=0.0),
        act_layer=get_act_layer(act),
        norm_layer=partial(nn.BatchNorm2d, eps=norm_eps),
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
