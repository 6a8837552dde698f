"""Parameters and multiply-adds in closed form: microseconds, no network built."""

from functools import lru_cache

from search_spaces.architecture import FUSED_MBCONV, Architecture
from search_spaces.blocks import HEAD, STEM, PlacedBlock, placed_blocks


def count_params(architecture: Architecture, num_classes: int = 1000, in_channels: int = 3) -> int:
    """Count trainable parameters (batch norm's running statistics are not among them).

    >>> from search_spaces import catalog
    >>> count_params(catalog.get("efficientnetv2-s").architecture)
    21458488
    """
    blocks = placed_blocks(architecture, in_channels=in_channels)
    return sum(map(block_params, blocks)) + (architecture.head_channels + 1) * num_classes


def count_macs(
    architecture: Architecture, resolution: int | None = None, num_classes: int = 1000, in_channels: int = 3
) -> int:
    """Count multiply-adds of convolutions and linear layers in one forward pass of one image.

    Batch norm, activations and pooling are not counted; fvcore's number is 1 % higher because it counts them.

    Args:
        architecture: What to count.
        resolution: Input size, pixels per side; the architecture's own by default.
        num_classes: Width of the classifier.
        in_channels: Channels of the images.
    """
    blocks = placed_blocks(architecture, resolution, in_channels=in_channels)
    return sum(map(block_macs, blocks)) + architecture.head_channels * num_classes


@lru_cache(maxsize=65_536)
def block_params(block: PlacedBlock) -> int:
    """Trainable parameters of one block: convolutions, their batch norms, squeeze-and-excitation with biases."""
    # Batch norm has a scale and a shift for each output channel.
    weights = sum((kernel**2 * inputs + 2) * outputs for kernel, inputs, outputs, _ in convolutions(block))
    if not block.se_ratio:
        return weights
    hidden, squeezed = block.hidden_channels, block.squeezed_channels
    return weights + 2 * hidden * squeezed + hidden + squeezed


@lru_cache(maxsize=65_536)
def block_macs(block: PlacedBlock) -> int:
    """Multiply-adds of one block on one image."""
    macs = sum(kernel**2 * inputs * outputs * size**2 for kernel, inputs, outputs, size in convolutions(block))
    if not block.se_ratio:
        return macs
    return macs + 2 * block.hidden_channels * block.squeezed_channels


def convolutions(block: PlacedBlock) -> tuple[tuple[int, int, int, int], ...]:
    """Each convolution as (kernel size, inputs per output channel, output channels, output size)."""
    kernel, inputs, hidden, outputs = block.kernel_size, block.in_channels, block.hidden_channels, block.out_channels
    if block.kind in (STEM, HEAD) or (block.kind == FUSED_MBCONV and block.expand_ratio == 1):
        return ((kernel, inputs, outputs, block.out_size),)
    project = (1, hidden, outputs, block.out_size)
    if block.kind == FUSED_MBCONV:
        return (kernel, inputs, hidden, block.out_size), project
    depthwise = (kernel, 1, hidden, block.out_size)
    if block.expand_ratio == 1:
        return depthwise, project
    return (1, inputs, hidden, block.in_size), depthwise, project
