"""Convolutions on maps of a few pixels, computed as what they are there: matrix products and multiplications.

Deep stages and squeeze-and-excitation work on maps of 1×1 to 4×4 pixels, where a CPU's convolution kernels spend most
of their time on anything but arithmetic: backwards through a depthwise 3×3 on 1×1 pixels takes 20 to 80 times as long
as the multiplication it amounts to, a pointwise convolution 2 to 4 times as long as the matrix product. The result is
the same up to rounding, and so are gradients; weights keep their names and shapes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_PIXELS = 16
"""Maps up to this size go through a matrix product; measured, larger ones gain nothing more."""


def use_small_maps(network: nn.Module, enabled: bool) -> None:
    """Let the network's pointwise and depthwise convolutions take the short way on small maps, or stop it; in place."""
    for module in network.modules():
        if enabled and type(module) is nn.Conv2d:
            module.__class__ = _shortcut_for(module)
        elif not enabled and isinstance(module, _PointwiseConv2d | _DepthwiseConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]  # mypy wants the narrowed class


class _PointwiseConv2d(nn.Conv2d):
    """1×1, stride 1, one group."""

    def forward(self, input: Tensor) -> Tensor:
        num_images, channels, height, width = input.shape
        # Channels must lie side by side already: a copy would cost more than it saves.
        is_flat = height * width == 1 or input.is_contiguous(memory_format=torch.channels_last)
        if height * width > MOST_PIXELS or not is_flat:
            return super().forward(input)
        rows = input.permute(0, 2, 3, 1).reshape(-1, channels)
        product = functional.linear(rows, self.weight.flatten(1), self.bias)
        return product.view(num_images, height, width, self.out_channels).permute(0, 3, 1, 2)


class _DepthwiseConv2d(nn.Conv2d):
    """k×k, k odd, one group per channel, padded by k ÷ 2, without bias."""

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[-2:]
        margin = self.padding[0]
        assert isinstance(margin, int)
        if max(height, width) > min(self.stride[0], margin + 1):
            return super().forward(input)
        # One output pixel: the kernel lies centred on the first input pixel and meets these of its taps.
        taps = self.weight[:, 0, margin : margin + height, margin : margin + width]
        return (input * taps).sum((2, 3), keepdim=True) if height * width > 1 else input * taps


def _shortcut_for(convolution: nn.Conv2d) -> type[nn.Conv2d]:
    kernel, padding = convolution.kernel_size, convolution.padding
    plain = convolution.dilation == (1, 1) and convolution.padding_mode == "zeros"
    if plain and kernel == (1, 1) and padding == (0, 0) and convolution.groups == 1 and convolution.stride == (1, 1):
        return _PointwiseConv2d
    centred = kernel[0] == kernel[1] and kernel[0] % 2 == 1 and padding == (kernel[0] // 2, kernel[1] // 2)
    is_depthwise = convolution.groups == convolution.in_channels == convolution.out_channels
    square_stride = convolution.stride[0] == convolution.stride[1]
    if plain and centred and is_depthwise and square_stride and convolution.bias is None:
        return _DepthwiseConv2d
    return nn.Conv2d
