"""The short way over small maps gives what the convolution gives, forwards and backwards."""

import copy
import itertools

import pytest
import torch
from torch import nn

from proxies.small_maps import MOST_PIXELS, use_small_maps
from search_spaces.architecture import parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s1_e1_c8-ir_r2_k5_s2_e4_c24_se0.25-ir_r2_k3_s2_e4_c32_se0.25-ir_r2_k5_s2_e6_c32-head64@32")


def twins(convolution: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The same convolution, with and without shortcuts."""
    other = copy.deepcopy(convolution)
    use_small_maps(other, True)
    return convolution, other


def assert_equal_results(convolution: nn.Conv2d, height: int, width: int, memory_format: torch.memory_format) -> None:
    plain, short = (twin.to(memory_format=memory_format) for twin in twins(convolution))
    results = []
    for twin in (plain, short):
        images = torch.randn(3, twin.in_channels, height, width, generator=torch.Generator().manual_seed(0))
        images = images.contiguous(memory_format=memory_format).requires_grad_()
        out = twin(images)
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        results.append((out.detach(), images.grad, *(weight.grad for weight in twin.parameters())))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "size"),
    list(itertools.product((1, 3, 5, 7), (1, 2, 3), ((1, 1), (2, 2), (1, 2), (3, 3), (4, 5)))),
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_depthwise(kernel: int, stride: int, size: tuple[int, int], memory_format: torch.memory_format) -> None:
    convolution = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    assert_equal_results(convolution, *size, memory_format)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 3), (4, 4), (5, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pointwise(size: tuple[int, int], bias: bool, memory_format: torch.memory_format) -> None:
    assert_equal_results(nn.Conv2d(6, 10, 1, bias=bias), *size, memory_format)


@pytest.mark.parametrize(
    "convolution",
    [
        pytest.param(nn.Conv2d(4, 4, 3, padding=1), id="dense"),
        pytest.param(nn.Conv2d(4, 4, 3, groups=4), id="unpadded"),
        pytest.param(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=True), id="biased-depthwise"),
        pytest.param(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False), id="dilated"),
        pytest.param(nn.Conv2d(4, 8, 1, stride=2), id="strided-pointwise"),
        pytest.param(nn.Conv2d(4, 8, 1, groups=2), id="grouped-pointwise"),
        pytest.param(nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="circular"), id="circular"),
        pytest.param(nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False), id="multiplied-depthwise"),
    ],
)
def test_other_convolutions_stay_what_they_are(convolution: nn.Conv2d) -> None:
    use_small_maps(convolution, True)
    assert type(convolution) is nn.Conv2d


def test_the_short_way_is_taken_on_small_maps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the calls of the convolution that remain."""
    calls: list[torch.Size] = []

    def counted(_: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        calls.append(images.shape)
        return images

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    pointwise, depthwise = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 4, 3, 2, 1, groups=4, bias=False)
    for convolution in (pointwise, depthwise):
        use_small_maps(convolution, True)
    side = int(MOST_PIXELS**0.5)
    for small, module in ((side, pointwise), (2, depthwise)):
        module(torch.zeros(2, 4, small, small).contiguous(memory_format=torch.channels_last))
        assert not calls
        module(torch.zeros(2, 4, small + 1, small + 1).contiguous(memory_format=torch.channels_last))
        assert len(calls) == 1
        calls.clear()


def test_a_network_keeps_its_logits_and_its_weights_names_and_can_go_back() -> None:
    network = build(TINY, num_classes=5).eval().to(memory_format=torch.channels_last)
    names = list(network.state_dict())
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = network(images)
        use_small_maps(network, True)
        replaced = sum(isinstance(module, nn.Conv2d) and type(module) is not nn.Conv2d for module in network.modules())
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)
    assert replaced > 10
    assert list(network.state_dict()) == names
    use_small_maps(network, False)
    assert all(type(module) is nn.Conv2d for module in network.modules() if isinstance(module, nn.Conv2d))
