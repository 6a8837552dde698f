"""The networks that the loops train: EfficientNetV2-S in small."""

from torch import nn

from proxies.data.split import Splits
from search_spaces.architecture import Architecture
from search_spaces.network import build

RESOLUTION = 32
NETWORKS = {
    # EfficientNetV2-S's blocks and widths times 0.25, 0.5 and 1, at about a third of its depth.
    "0.25": "stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16-er_r2_k3_s2_e4_c16-ir_r2_k3_s2_e4_c32_se0.25"
    "-ir_r2_k3_s1_e6_c40_se0.25-ir_r3_k3_s2_e6_c64_se0.25-head320@32",
    "0.5": "stem16-er_r1_k3_s1_e1_c16-er_r2_k3_s2_e4_c24-er_r2_k3_s2_e4_c32-ir_r2_k3_s2_e4_c64_se0.25"
    "-ir_r2_k3_s1_e6_c80_se0.25-ir_r3_k3_s2_e6_c128_se0.25-head640@32",
    "1": "stem24-er_r1_k3_s1_e1_c24-er_r2_k3_s2_e4_c48-er_r2_k3_s2_e4_c64-ir_r3_k3_s2_e4_c128_se0.25"
    "-ir_r3_k3_s1_e6_c160_se0.25-ir_r4_k3_s2_e6_c256_se0.25-head1280@32",
}


def network_for(splits: Splits, architecture: Architecture) -> nn.Module:
    """The architecture with as many classes and channels as the images have."""
    return build(architecture, num_classes=splits.num_classes, in_channels=splits.in_channels)
