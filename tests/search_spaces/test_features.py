"""Feature maps equal timm's, and work under torchvision's detection and segmentation."""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from settled_networks import images, require_equal, settle
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.segmentation import FCN
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import FeaturePyramidNetwork

from search_spaces import catalog
from search_spaces.architecture import parse
from search_spaces.features import FeatureMaps, NamedFeatureMaps
from search_spaces.network import build
from search_spaces.weights import load_pretrained

# Strides 2 to 16, with stages that keep the size of the map.
SMALL = parse(
    "stem8-er_r1_k3_s1_e1_c8-er_r2_k3_s2_e4_c16-ir_r1_k3_s1_e4_c24-ir_r2_k5_s2_e4_c32-ir_r1_k3_s2_e4_c40-head64@64"
)


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def small() -> nn.Module:
    return settle(build(SMALL, num_classes=5))


@torch.no_grad()
def maps_of(network: nn.Module, size: int = 64) -> list[Tensor]:
    return network.eval()(images(size))


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnetv2_b0"])
def test_maps_are_timms(name: str) -> None:
    whole = settle(timm.create_model(name))
    theirs: Any = timm.create_model(name, features_only=True)
    theirs.load_state_dict({key: whole.state_dict()[key] for key in theirs.state_dict()})
    architecture = catalog.get(name.removeprefix("tf_").replace("_", "-")).architecture
    ours = FeatureMaps(load_pretrained(architecture, whole).network)
    assert ours.strides == tuple(theirs.feature_info.reduction()) == (2, 4, 8, 16, 32)
    assert ours.channels == tuple(theirs.feature_info.channels())
    for mine, expected in zip(maps_of(ours), maps_of(theirs), strict=True):
        require_equal(mine, expected)


def test_each_map_has_the_channels_and_the_stride_told() -> None:
    maps = FeatureMaps(SMALL)
    assert (maps.strides, maps.channels) == ((2, 4, 8, 16), (8, 24, 32, 40))
    assert (maps.feature_info.reduction(), maps.feature_info.channels()) == ([2, 4, 8, 16], [8, 24, 32, 40])
    for size in (64, 75):
        shapes = [
            (2, channels, -(-size // stride), -(-size // stride))
            for channels, stride in zip(maps.channels, maps.strides, strict=True)
        ]
        assert [tuple(each.shape) for each in maps_of(maps, size)] == shapes


def test_a_network_that_strides_at_once_gives_its_stem() -> None:
    maps = FeatureMaps(parse("stem8-er_r1_k3_s2_e4_c16-head64@64"))
    assert (maps.strides, maps.channels) == ((2, 4), (8, 16))
    assert [each.shape[1:] for each in maps_of(maps)] == [(8, 32, 32), (16, 16, 16)]


def test_strides_beyond_32_are_strides() -> None:
    deep = parse("stem8" + "-ir_r1_k3_s2_e2_c8" * 5 + "-head64@64")
    maps = FeatureMaps(deep)
    assert maps.strides == (2, 4, 8, 16, 32, 64)
    assert [each.shape[-1] for each in maps_of(maps)] == [32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize("strides", [(4,), (2, 8), (8, 16), (2, 4, 8, 16)])
def test_maps_at_chosen_strides(small: nn.Module, strides: tuple[int, ...]) -> None:
    chosen = FeatureMaps(small, strides)
    every = dict(zip(FeatureMaps(small).strides, maps_of(FeatureMaps(small)), strict=True))
    assert chosen.strides == strides
    for stride, mine in zip(strides, maps_of(chosen), strict=True):
        assert torch.equal(mine, every[stride])


def test_what_no_map_needs_is_left_out(small: nn.Module) -> None:
    chosen = FeatureMaps(small, (4, 8))
    stages = {name.split(".")[1] for name in chosen.state_dict() if name.startswith("blocks.")}
    assert stages == {"0", "1", "2", "3"}
    assert not [name for name in chosen.state_dict() if "head" in name or "classifier" in name]
    for parameter in chosen.parameters():
        parameter.grad = None
    sum(each.sum() for each in chosen.train()(images())).backward()
    assert all(parameter.grad is not None for parameter in chosen.parameters())


def test_the_last_map_is_reached_at_the_cost_of_the_blocks_alone(small: nn.Module) -> None:
    with FlopCounterMode(display=False) as whole:
        small(images())
    with FlopCounterMode(display=False) as part:
        FeatureMaps(small, (4,))(images())
    assert 0 < part.get_total_flops() < whole.get_total_flops()


def test_layers_are_shared_and_the_network_stays_whole(small: nn.Module) -> None:
    before = copy.deepcopy(small)
    maps = FeatureMaps(small, (4,))
    assert torch.equal(small(images()), before(images()))
    assert not maps.training
    shared = {id(parameter) for parameter in small.parameters()}
    assert {id(parameter) for parameter in maps.parameters()} < shared


def test_names_of_parameters_are_the_networks(small: nn.Module) -> None:
    maps = FeatureMaps(SMALL)
    maps.load_state_dict({name: small.state_dict()[name] for name in maps.state_dict()})
    for mine, expected in zip(maps_of(maps), maps_of(FeatureMaps(small)), strict=True):
        require_equal(mine, expected)


def test_other_strides_and_sources_are_refused(small: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^strides must be among the network's \(2, 4, 8, 16\), got \(8, 32\)$"):
        FeatureMaps(small, (8, 32))
    with pytest.raises(ValueError, match=r"^strides must be among the network's .*, got \(\)$"):
        FeatureMaps(small, ())
    with pytest.raises(ValueError, match=r"^strides must rise, got \(8, 4\)$"):
        FeatureMaps(small, (8, 4))
    with pytest.raises(ValueError, match=r"^source must be an architecture or a network built from one, got Linear$"):
        FeatureMaps(nn.Linear(2, 2))


def test_names_must_fit_the_maps(small: nn.Module) -> None:
    for names in (("out",), ("a", "a")):
        with pytest.raises(ValueError, match=r"^names must be different, one for each of 2 maps, got "):
            NamedFeatureMaps(FeatureMaps(small, (4, 8)), names)


def pyramid(channels: int = 16) -> nn.Module:
    maps = FeatureMaps(SMALL, (4, 8, 16))
    body: Any = nn.Sequential(
        OrderedDict(maps=NamedFeatureMaps(maps), pyramid=FeaturePyramidNetwork(list(maps.channels), channels))
    )
    body.out_channels = channels
    return body


def test_detection_trains_on_a_searched_backbone() -> None:
    network = FasterRCNN(
        pyramid(),
        num_classes=3,
        min_size=64,
        max_size=64,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3),
        rpn_pre_nms_top_n_train=50,
        rpn_post_nms_top_n_train=20,
    )
    photos = list(images(number=2).sigmoid())
    boxes = torch.tensor([[4.0, 4.0, 40.0, 40.0], [10.0, 20.0, 60.0, 60.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 2])} for _ in photos]
    losses = network.train()(photos, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    sum(losses.values()).backward()
    backbone = network.backbone.maps.parameters()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in backbone)
    with torch.no_grad():
        assert {"boxes", "labels", "scores"} == set(network.eval()(photos)[0])


def test_segmentation_trains_on_a_searched_backbone() -> None:
    maps = FeatureMaps(SMALL, (8, 16))
    auxiliary, last = maps.channels
    network = FCN(NamedFeatureMaps(maps, ("aux", "out")), FCNHead(last, 3), FCNHead(auxiliary, 3))
    result = network.train()(images(75))
    assert {name: tuple(each.shape) for name, each in result.items()} == {"out": (2, 3, 75, 75), "aux": (2, 3, 75, 75)}
    (result["out"].mean() + result["aux"].mean()).backward()
    assert all(parameter.grad is not None for parameter in maps.parameters())
