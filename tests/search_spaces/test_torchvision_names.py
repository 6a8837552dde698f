"""Networks go to torchvision and give the same logits there, or a line says why torchvision cannot build them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from settled_networks import logits, require_equal, settle
from torch import nn

from search_spaces import catalog
from search_spaces.architecture import parse
from search_spaces.network_settings import NetworkSettings
from search_spaces.torchvision_names import build_torchvision, own_norm_eps, require_torchvision, to_torchvision_names
from search_spaces.weights import load_pretrained

ALL_KINDS = NetworkSettings(
    architecture=parse(
        "stem16-er_r2_k3_s1_e1_c16-er_r2_k5_s2_e4_c24-ir_r2_k3_s2_e1_c24_se0.25-ir_r2_k5_s1_e6_c40_se0.25-head96@64"
    ),
    num_classes=5,
    norm_eps=1e-2,
)


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_a_network_of_all_kinds_of_blocks_goes_there_and_back() -> None:
    ours = settle(ALL_KINDS.build())
    theirs = build_torchvision(ALL_KINDS)
    theirs.load_state_dict(to_torchvision_names(ALL_KINDS.architecture, ours.state_dict()), strict=True)
    require_equal(logits(theirs), logits(ours))
    back = load_pretrained(ALL_KINDS.architecture, theirs)
    assert back.settings == ALL_KINDS
    require_equal(logits(back.network), logits(ours))


def test_names_come_in_torchvisions_order() -> None:
    names = list(to_torchvision_names(ALL_KINDS.architecture, ALL_KINDS.build().state_dict()))
    assert names == list(build_torchvision(ALL_KINDS).state_dict())


@pytest.mark.parametrize(
    "name",
    ["efficientnet_b0", "efficientnet_b5", "efficientnet_v2_s"]
    + [pytest.param(f"efficientnet_b{number}", marks=pytest.mark.slow) for number in (1, 2, 3, 4, 6, 7)]
    + [pytest.param(f"efficientnet_v2_{size}", marks=pytest.mark.slow) for size in "ml"],
)
def test_torchvisions_own_networks(name: str) -> None:
    """On no device, so that the large ones cost nothing."""
    entry = catalog.get(name.replace("_v2_", "v2-").replace("_b", "-b"))
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(weights=None)
        ours = build_torchvision(NetworkSettings(architecture=entry.architecture))
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert {norm.eps for norm in theirs.modules() if isinstance(norm, nn.BatchNorm2d)} == {
        own_norm_eps(replace(entry.architecture, resolution=64))
    }


def test_other_networks_have_no_epsilon_of_their_own() -> None:
    assert own_norm_eps(ALL_KINDS.architecture) is None
    assert own_norm_eps(catalog.get("efficientnetv2-b0").architecture) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padding": "same"}, "padding '', got 'same'"),
        ({"act": "relu"}, "act 'silu', got 'relu'"),
        ({"in_channels": 1}, "in_channels 3, got 1"),
        ({"stem16": "stem20"}, "widths that are multiples of 8, got stem_channels 20"),
        ({"c40_": "c36_"}, "widths that are multiples of 8, got 36 in stage 4"),
        ({"e6_c40_se0.25": "e6_c40"}, "se_ratio 0.25 in MBConv6 k5, got 0 in stage 4"),
        ({"e6_c40_se0.25": "e6_c40_se0.5"}, "se_ratio 0.25 in MBConv6 k5, got 0.5 in stage 4"),
        ({"e4_c24": "e4_c24_se0.25"}, "se_ratio 0 in Fused-MBConv4 k5, got 0.25 in stage 2"),
    ],
)
def test_what_torchvision_cannot_build_is_said(change: dict[str, Any], message: str) -> None:
    [(name, value)] = change.items()
    if hasattr(ALL_KINDS, name):
        settings = replace(ALL_KINDS, **change)
    else:
        settings = replace(ALL_KINDS, architecture=parse(str(ALL_KINDS.architecture).replace(name, value)))
        assert settings != ALL_KINDS
    for refuse in (require_torchvision, build_torchvision):
        with pytest.raises(ValueError) as error:
            refuse(settings)
        assert str(error.value) == f"torchvision's EfficientNet needs {message}"


def test_tensors_without_a_place_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^tensors must be those of the architecture, got 'fc\.weight'$"):
        to_torchvision_names(ALL_KINDS.architecture, {"fc.weight": torch.ones(1)})
