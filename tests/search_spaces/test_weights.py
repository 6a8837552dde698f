"""Weights of timm's and torchvision's networks give their logits here, or a line that says why they cannot."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from settled_networks import images, logits, require_equal, settle
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from search_spaces import catalog
from search_spaces.architecture import Architecture, parse
from search_spaces.network import build
from search_spaces.network_settings import NetworkSettings
from search_spaces.weight_fit import adapt_kernel
from search_spaces.weights import load_pretrained, write_tensors

# timm's dialects cn, er, ds and ir, the latter three with squeeze-and-excitation, and without it.
SMALL = parse(
    "stem16-er_r1_k3_s1_e1_c16-er_r2_k3_s2_e4_c24_se0.5-er_r1_k3_s1_e2_c16-ir_r2_k3_s2_e1_c24_se0.25-"
    "ir_r1_k3_s1_e1_c16-ir_r1_k3_s1_e2_c24-ir_r2_k5_s1_e4_c40_se0.25-head96@64"
)
IN_TORCHVISION = {
    "efficientnet-b0": torchvision.models.efficientnet_b0,
    "efficientnetv2-s": torchvision.models.efficientnet_v2_s,
    "efficientnetv2-m": torchvision.models.efficientnet_v2_m,
}


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def architecture(name: str) -> Architecture:
    return catalog.get(name).architecture


@pytest.fixture(scope="module")
def b0() -> nn.Module:
    return settle(timm.create_model("efficientnet_b0"))


@pytest.fixture(scope="module")
def tf_v2_b0() -> nn.Module:
    return settle(timm.create_model("tf_efficientnetv2_b0"))


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """A network of ours, padded and normed unlike the defaults of `build`."""
    return settle(build(SMALL, num_classes=5, padding="same", norm_eps=1e-2, act="relu"))


def saved(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def notes_of(**arguments: Any) -> str:
    return " | ".join(load_pretrained(**arguments).notes)


# The networks of others, in memory


def test_timms_v1_b0(b0: nn.Module) -> None:
    loaded = load_pretrained(architecture("efficientnet-b0"), b0)
    assert (loaded.settings.padding, loaded.settings.norm_eps, loaded.settings.act) == ("", 1e-5, "silu")
    require_equal(logits(loaded.network), logits(b0))


def test_timms_ported_v1_b0() -> None:
    theirs = settle(timm.create_model("tf_efficientnet_b0"))
    loaded = load_pretrained(architecture("efficientnet-b0"), theirs)
    assert (loaded.settings.padding, loaded.settings.norm_eps) == ("same", 1e-3)
    require_equal(logits(loaded.network), logits(theirs))


@pytest.mark.parametrize("size", [64, 75])
def test_timms_ported_v2_b0(tf_v2_b0: nn.Module, size: int) -> None:
    loaded = load_pretrained(architecture("efficientnetv2-b0"), tf_v2_b0)
    assert (loaded.settings.padding, loaded.settings.norm_eps) == ("same", 1e-3)
    require_equal(logits(loaded.network, size), logits(tf_v2_b0, size))


@pytest.mark.parametrize(
    ("name", "eps"),
    [
        ("efficientnet-b0", 1e-5),
        ("efficientnetv2-s", 1e-3),
        pytest.param("efficientnetv2-m", 1e-3, marks=pytest.mark.slow),
    ],
)
def test_torchvisions_networks_in_memory_and_from_a_file(name: str, eps: float, tmp_path: Path) -> None:
    theirs = settle(IN_TORCHVISION[name](weights=None))
    expected = logits(theirs)
    sources = (theirs, saved(tmp_path / "weights.pth", theirs.state_dict()))
    for source in sources:
        loaded = load_pretrained(architecture(name), source)
        assert (loaded.settings.padding, loaded.settings.norm_eps, loaded.settings.act) == ("", eps, "silu")
        require_equal(logits(loaded.network), expected)


def test_a_network_of_ours(small: nn.Module) -> None:
    loaded = load_pretrained(SMALL, small)
    assert loaded.settings == NetworkSettings(
        architecture=SMALL, num_classes=5, padding="same", norm_eps=1e-2, act="relu"
    )
    require_equal(logits(loaded.network), logits(small))


def test_the_source_is_left_as_it_was(small: nn.Module) -> None:
    source: Any = copy.deepcopy(small).train()
    source.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    loaded = load_pretrained(SMALL, source)
    assert source.training
    assert not source.blocks[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in source.state_dict().items())
    for parameter in loaded.network.parameters():
        parameter.data.zero_()
    assert source.conv_stem.weight.abs().max() > 0


def test_a_network_in_half_precision_comes_in_single(small: nn.Module) -> None:
    half = copy.deepcopy(small).half()
    loaded = load_pretrained(SMALL, half)
    assert {tensor.dtype for tensor in loaded.network.parameters()} == {torch.float32}
    require_equal(logits(loaded.network), logits(half.float()))


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, torch.optim.swa_utils.AveragedModel, pytest.param(torch.compile, marks=pytest.mark.slow)],
)
def test_a_wrapped_network(small: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    require_equal(logits(load_pretrained(SMALL, wrap(small)).network), logits(small))


def test_equal_tensors_of_another_network_are_refused(small: nn.Module) -> None:
    """A stride leaves no trace in names or shapes."""
    other = parse(str(SMALL).replace("k5_s1", "k5_s2"))
    with pytest.raises(ValueError, match=r"^weights must fit the architecture, .* the logits differ from ours by"):
        load_pretrained(other, small)
    assert "the logits differ from ours by" in notes_of(architecture=other, source=small, allow_partial=True)


def test_a_network_with_other_gates_is_refused(small: nn.Module) -> None:
    other: Any = copy.deepcopy(small)
    for module in list(other.modules()):
        if hasattr(module, "gate"):
            module.gate = nn.Tanh()
    with pytest.raises(ValueError, match=r"the logits differ from ours by"):
        load_pretrained(SMALL, other, act="relu")


def test_settings_asked_for_win_over_the_source_and_are_told(small: nn.Module) -> None:
    loaded = load_pretrained(SMALL, small, padding="")
    assert loaded.settings.padding == ""
    assert "another network than the source, as asked: padding '' for 'same'" in " ".join(loaded.notes)
    assert (logits(loaded.network) - logits(small)).abs().max() > 1e-2


# Files


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnetv2_b0-c7cc451f.pth",
        "tf_efficientnetv2_b0.in1k/model.safetensors",
        "models--timm--tf_efficientnetv2_b0.in1k/snapshots/5d0c7ea/model.safetensors",
    ],
)
def test_a_path_names_timms_network(tf_v2_b0: nn.Module, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        torch.save(tf_v2_b0.state_dict(), path)
    else:
        write_tensors(path, tf_v2_b0.state_dict(), {})
    loaded = load_pretrained(architecture("efficientnetv2-b0"), path)
    assert (loaded.settings.padding, loaded.settings.norm_eps) == ("same", 1e-3)
    assert "taken from timm's tf_efficientnetv2_b0" in " ".join(loaded.notes)
    require_equal(logits(loaded.network), logits(tf_v2_b0))


def test_a_config_beside_the_file_names_timms_network(b0: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "pytorch_model.bin", b0.state_dict())
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "efficientnet_b0", "num_classes": 1000}))
    require_equal(logits(load_pretrained(architecture("efficientnet-b0"), path).network), logits(b0))


def test_timms_trainer_names_its_network(b0: nn.Module, tmp_path: Path) -> None:
    checkpoint = {"epoch": 3, "arch": "efficientnet_b0", "state_dict": b0.state_dict(), "version": 2}
    path = saved(tmp_path / "model_best.pth.tar", checkpoint)
    loaded = load_pretrained(architecture("efficientnet-b0"), path)
    assert loaded.settings.norm_eps == 1e-5
    require_equal(logits(loaded.network), logits(b0))


@pytest.mark.parametrize("name", ["efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0.nobody_knows/model.pt"])
def test_tags_of_trainings_are_no_part_of_timms_names(b0: nn.Module, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, b0.state_dict())
    assert load_pretrained(architecture("efficientnet-b0"), path).settings.norm_eps == 1e-5


@pytest.mark.parametrize("explicit", [{}, {"padding": "same", "norm_eps": 1e-3}])
def test_a_named_network_with_other_strides_is_refused(tmp_path: Path, explicit: dict[str, Any]) -> None:
    """B0 whose stage 6 keeps the size has every tensor of B0, and other logits."""
    theirs = timm.create_model("tf_efficientnet_b0")
    path = saved(tmp_path / "tf_efficientnet_b0.in1k" / "model.pt", theirs.state_dict())
    b0 = architecture("efficientnet-b0")
    flat = replace(b0, stages=(*b0.stages[:5], replace(b0.stages[5], stride=1), *b0.stages[6:]))
    message = "timm's tf_efficientnet_b0 alone has stride 2 in blocks.5.0.conv_dw"
    with pytest.raises(ValueError, match=rf"^weights must fit .*{message}; allow_partial=True"):
        load_pretrained(flat, path, **explicit)
    loaded = load_pretrained(flat, path, allow_partial=True, **explicit)
    assert message in loaded.notes[-1]
    assert torch.equal(loaded.network.state_dict()["conv_head.weight"], theirs.state_dict()["conv_head.weight"])
    assert load_pretrained(b0, path, **explicit).settings.padding == "same"


def test_a_named_network_without_a_residual_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's definitions can say so (``noskip``), and no tensor tells."""
    theirs = timm.create_model("efficientnet_b0")
    path = saved(tmp_path / "efficientnet_b0.pt", theirs.state_dict())
    create = timm.create_model

    def without_residual(*arguments: Any, **options: Any) -> nn.Module:
        network: Any = create(*arguments, **options)
        network.blocks[1][1].has_skip = False
        return network

    monkeypatch.setattr(timm, "create_model", without_residual)
    with pytest.raises(ValueError, match=r"timm's efficientnet_b0 alone has no residual in blocks\.1\.1"):
        load_pretrained(architecture("efficientnet-b0"), path)


def test_names_that_contradict_each_other_are_refused(b0: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "tf_efficientnet_b0.in1k" / "efficientnet_b0.pt", b0.state_dict())
    with pytest.raises(ValueError, match=r"names timm's efficientnet_b0 and timm's tf_efficientnet_b0, which differ"):
        load_pretrained(architecture("efficientnet-b0"), path)
    require_equal(
        logits(load_pretrained(architecture("efficientnet-b0"), path, padding="", norm_eps=1e-5).network), logits(b0)
    )


def test_a_name_whose_network_has_other_tensors_counts_for_nothing(small: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "efficientnet_b0" / "model.pt", small.state_dict())
    with pytest.raises(ValueError, match=r"^padding and norm_eps must be given, since .*model\.pt does not tell"):
        load_pretrained(SMALL, path)


def test_a_file_that_tells_nothing_needs_arguments(small: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", small.state_dict())
    with pytest.raises(ValueError, match=r"^norm_eps must be given, since .*model\.pt does not tell"):
        load_pretrained(SMALL, path, padding="same")
    loaded = load_pretrained(SMALL, path, padding="same", norm_eps=1e-2, act="relu")
    require_equal(logits(loaded.network), logits(small))
    assert "act 'silu' was assumed" in notes_of(architecture=SMALL, source=path, padding="same", norm_eps=1e-2)


def test_a_file_of_ours_carries_its_settings(small: nn.Module, tmp_path: Path) -> None:
    settings = load_pretrained(SMALL, small).settings
    write_tensors(tmp_path / "best.safetensors", small.state_dict(), settings.to_metadata())
    loaded = load_pretrained(SMALL, tmp_path / "best.safetensors")
    assert loaded.settings == settings
    require_equal(logits(loaded.network), logits(small))


def test_a_file_of_ours_holds_one_architecture(small: nn.Module, tmp_path: Path) -> None:
    settings = NetworkSettings(architecture=SMALL, num_classes=5)
    write_tensors(tmp_path / "best.safetensors", small.state_dict(), settings.to_metadata())
    other = parse(str(SMALL).replace("k5_s1", "k5_s2"))
    with pytest.raises(ValueError, match=r"^weights must fit the architecture, .* the architecture is stem16-"):
        load_pretrained(other, tmp_path / "best.safetensors")
    assert "the architecture is stem16-" in notes_of(
        architecture=other, source=tmp_path / "best.safetensors", allow_partial=True
    )
    larger = parse(str(SMALL).replace("@64", "@128"))
    assert load_pretrained(larger, tmp_path / "best.safetensors").settings.architecture == larger


def test_a_torchvision_file_of_another_network_needs_an_epsilon(tmp_path: Path) -> None:
    stages = [MBConvConfig(4, 3, 2, 16, 24, 2)]
    theirs = settle(EfficientNet(stages, dropout=0.0, num_classes=5, last_channel=32))
    ours = parse("stem16-ir_r2_k3_s2_e4_c24_se0.25-head32@64")
    path = saved(tmp_path / "model.pt", theirs.state_dict())
    with pytest.raises(ValueError, match=r"^norm_eps must be given, since .*model\.pt does not tell"):
        load_pretrained(ours, path)
    require_equal(logits(load_pretrained(ours, path, norm_eps=1e-5).network), logits(theirs))


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "net.encoder."])
@pytest.mark.parametrize("entry", [None, "state_dict", "model", "model_state_dict"])
def test_prefixes_and_wrappers(small: nn.Module, tmp_path: Path, prefix: str, entry: str | None) -> None:
    state: dict[str, object] = {f"{prefix}{name}": tensor for name, tensor in small.state_dict().items()}
    path = saved(tmp_path / "a.pt", {entry: state, "epoch": 3} if entry else state)
    loaded = load_pretrained(SMALL, path, padding="same", norm_eps=1e-2, act="relu")
    require_equal(logits(loaded.network), logits(small))


@pytest.mark.parametrize("entry", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_taken_and_told(small: nn.Module, tmp_path: Path, entry: str) -> None:
    raw = settle(build(SMALL, num_classes=5), seed=9)
    path = saved(tmp_path / "a.pt", {"state_dict": raw.state_dict(), entry: small.state_dict()})
    loaded = load_pretrained(SMALL, path, padding="same", norm_eps=1e-2, act="relu")
    require_equal(logits(loaded.network), logits(small))
    assert f"the averaged weights were taken ({entry})" in loaded.notes


def test_two_networks_in_one_file_are_refused(small: nn.Module, tmp_path: Path) -> None:
    state = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in small.state_dict().items()}
    with pytest.raises(ValueError, match=r"^weights must be of one network, got 2, under 'student\.', 'teacher\.'$"):
        load_pretrained(SMALL, saved(tmp_path / "a.pt", state))


def test_tensors_beside_the_network_are_left_out_and_told(small: nn.Module, tmp_path: Path) -> None:
    state = {f"model.{name}": tensor for name, tensor in small.state_dict().items()} | {"loss.weight": torch.ones(5)}
    arguments = {"padding": "same", "norm_eps": 1e-2, "act": "relu"}
    told = notes_of(architecture=SMALL, source=saved(tmp_path / "a.pt", state), **arguments)
    assert "1 tensors outside 'model.' were left out, first 'loss.weight'" in told


def test_checkpoints_without_counters_of_batches(small: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in small.state_dict().items() if "num_batches" not in name}
    loaded = load_pretrained(SMALL, saved(tmp_path / "a.pt", state), padding="same", norm_eps=1e-2, act="relu")
    require_equal(logits(loaded.network), logits(small))


# By order


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As another library might call them."""
    return {f"layer{place}.{name.rpartition('.')[2]}": tensor for place, (name, tensor) in enumerate(state.items())}


def test_unknown_names_are_taken_in_order(small: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", renamed(small.state_dict()))
    loaded = load_pretrained(SMALL, path, padding="same", norm_eps=1e-2, act="relu")
    require_equal(logits(loaded.network), logits(small))
    assert "taken in their order" in " ".join(loaded.notes)


def test_another_order_is_refused(small: nn.Module, tmp_path: Path) -> None:
    state = small.state_dict()
    names = list(state)
    place = names.index("bn1.running_mean")
    names[place], names[place - 1] = names[place - 1], names[place]
    path = saved(tmp_path / "a.pt", renamed({name: state[name] for name in names}))
    with pytest.raises(ValueError, match=r"must follow the order of the architecture: bn1\.bias is due, got 'layer2"):
        load_pretrained(SMALL, path, padding="same", norm_eps=1e-2)
    shorter = saved(tmp_path / "b.pt", renamed({name: state[name] for name in names[:-1]}))
    with pytest.raises(ValueError, match=r"it has \d+ tensors, got \d+, first 'layer0\.weight'$"):
        load_pretrained(SMALL, shorter, padding="same", norm_eps=1e-2, allow_partial=True)


def test_a_safetensors_file_has_no_order(small: nn.Module, tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", renamed(small.state_dict()), {})
    with pytest.raises(ValueError, match=r"must have timm's or torchvision's names, since the file keeps no order"):
        load_pretrained(SMALL, tmp_path / "a.safetensors", padding="", norm_eps=1e-3)


# Classes and channels


def test_another_number_of_classes_leaves_the_classifier_untrained(small: nn.Module) -> None:
    loaded = load_pretrained(SMALL, small, num_classes=7)
    assert loaded.settings.num_classes == 7
    assert "the classifier is untrained: the source has 5 classes, got num_classes 7" in loaded.notes
    with torch.no_grad():
        theirs, ours = (net.eval().forward_features(images()) for net in (small, loaded.network))  # type: ignore[operator]
    assert torch.equal(theirs, ours)
    assert logits(loaded.network).shape == (2, 7)


def test_a_source_without_a_classifier(small: nn.Module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in small.state_dict().items() if "classifier" not in name}
    path = saved(tmp_path / "a.pt", state)
    with pytest.raises(ValueError, match=r"^num_classes must be given, since .*a\.pt has no classifier$"):
        load_pretrained(SMALL, path, padding="same", norm_eps=1e-2)
    loaded = load_pretrained(SMALL, path, padding="same", norm_eps=1e-2, num_classes=3)
    assert "the classifier is untrained: the source has no classifier, got num_classes 3" in loaded.notes


def test_a_headless_network_in_memory_is_compared_too(small: nn.Module) -> None:
    headless: Any = copy.deepcopy(small)
    headless.reset_classifier(0)
    loaded: Any = load_pretrained(SMALL, headless, num_classes=3).network
    loaded.reset_classifier(0)
    require_equal(logits(loaded), logits(headless))
    other = parse(str(SMALL).replace("k5_s1", "k5_s2"))
    with pytest.raises(ValueError, match=r"the logits differ from ours by"):
        load_pretrained(other, headless, num_classes=3)
    headless.global_pool = nn.Identity()
    with pytest.raises(ValueError, match=r"the output cannot be compared with ours: it has another shape"):
        load_pretrained(SMALL, headless, num_classes=3)


def test_a_network_in_memory_that_pools_otherwise_is_refused(small: nn.Module) -> None:
    """timm's "catavgmax" doubles what the classifier sees; "max" leaves every shape as it is."""
    other: Any = copy.deepcopy(small)
    other.reset_classifier(5, "catavgmax")
    with pytest.raises(ValueError, match=r"1 of another shape \(classifier\.weight 5×192 for 5×96\)"):
        load_pretrained(SMALL, other, num_classes=7)
    other.reset_classifier(5, "max")
    with pytest.raises(ValueError, match=r"the logits differ from ours by"):
        load_pretrained(SMALL, other)


@pytest.mark.parametrize("asked", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("given", [1, 3, 4])
def test_the_first_kernel_is_adapted_as_timm_does(given: int, asked: int) -> None:
    kernel = torch.randn(8, given, 3, 3)
    expected = adapt_input_conv(asked, kernel.clone(), base_chans=given)
    torch.testing.assert_close(adapt_kernel(kernel, asked), expected)


def test_a_grey_network_gives_the_logits_of_grey_images(small: nn.Module) -> None:
    loaded = load_pretrained(SMALL, small, in_channels=1)
    assert loaded.settings.in_channels == 1
    assert "the first kernel was adapted from 3 to 1 image channels" in loaded.notes
    grey = images(in_channels=1)
    with torch.no_grad():
        require_equal(loaded.network.eval()(grey), small(grey.expand(-1, 3, -1, -1)))
    back = load_pretrained(SMALL, loaded.network, in_channels=6)
    with torch.no_grad():
        require_equal(back.network.eval()(grey.expand(-1, 6, -1, -1)), loaded.network(grey))


@pytest.mark.parametrize("argument", ["num_classes", "in_channels"])
def test_no_classes_or_channels_are_refused(small: nn.Module, argument: str) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} must be a whole number from 1, got 0$"):
        load_pretrained(SMALL, small, **{argument: 0})  # type: ignore[arg-type]


def test_unknown_settings_are_refused(small: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^act must be timm's name of an activation, e.g. 'silu', got 'nonsense'$"):
        load_pretrained(SMALL, small, act="nonsense")
    with pytest.raises(ValueError, match=r"^padding must be one of"):
        load_pretrained(SMALL, small, padding="valid")


# What does not fit


def test_weights_of_another_architecture_are_refused(small: nn.Module) -> None:
    wider = parse(str(SMALL).replace("c40", "c48"))
    with pytest.raises(ValueError, match=r"^weights must fit the architecture, but of the network in memory") as error:
        load_pretrained(wider, small)
    assert "of another shape (blocks.6.0.conv_pwl.weight 40×96×1×1 for 48×96×1×1, " in str(error.value)
    deeper = parse(str(SMALL).replace("ir_r2_k5", "ir_r3_k5"))
    with pytest.raises(ValueError, match=r"19 missing \(blocks\.6\.2\.conv_pw\.weight, "):
        load_pretrained(deeper, small)
    shallower = parse(str(SMALL).replace("ir_r2_k5", "ir_r1_k5"))
    with pytest.raises(ValueError, match=r"19 not of this architecture \(blocks\.6\.1\.conv_pw\.weight, ") as error:
        load_pretrained(shallower, small)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.slow
def test_s_is_not_m() -> None:
    theirs = IN_TORCHVISION["efficientnetv2-s"](weights=None)
    with pytest.raises(ValueError, match=r"^weights must fit the architecture, but of .* missing \("):
        load_pretrained(architecture("efficientnetv2-m"), theirs)


def test_what_fits_is_loaded_where_that_is_asked_for(small: nn.Module) -> None:
    deeper = parse(str(SMALL).replace("ir_r2_k5", "ir_r3_k5"))
    loaded = load_pretrained(deeper, small, allow_partial=True)
    assert "19 missing (blocks.6.2.conv_pw.weight, " in " ".join(loaded.notes)
    state, theirs = loaded.network.state_dict(), small.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in theirs.items() if "num_batches" not in name)


def test_nothing_that_fits_is_an_error(small: nn.Module, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", {"conv_stem.weight": torch.ones(3, 3), "x": torch.ones(2)})
    with pytest.raises(ValueError, match=r"^weights must fit the architecture, .* 0 tensors fit"):
        load_pretrained(SMALL, path, padding="", norm_eps=1e-3, num_classes=5, allow_partial=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(small: nn.Module, tmp_path: Path, value: float) -> None:
    state = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    state["bn1.running_var"][3] = value
    with pytest.raises(ValueError, match=r"^weights must be finite, got NaN or infinity in 1 tensors \(bn1\.runn"):
        load_pretrained(SMALL, saved(tmp_path / "a.pt", state), padding="", norm_eps=1e-3)


@pytest.mark.parametrize(
    "odd",
    [
        torch.ones(96, 40, 1, 1, dtype=torch.int8),
        torch.ones(96, 40, 1, 1, dtype=torch.complex64),
        torch.ones(96, 40, 1, 1).to_sparse(),
        torch.ones(96, 40, 1, 1, device="meta"),
    ],
)
@pytest.mark.parametrize("name", ["conv_head.weight", "conv_stem.weight"])
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_odd_tensors_are_no_weights(small: nn.Module, tmp_path: Path, name: str, odd: Tensor) -> None:
    path = saved(tmp_path / "a.pt", small.state_dict() | {name: odd})
    with pytest.raises(
        ValueError, match=rf"1 of another shape \({name} 96×40×1×1 of torch\.\w+, torch\.\w+ on \w+ for "
    ):
        load_pretrained(SMALL, path, padding="", norm_eps=1e-3, num_classes=5, in_channels=4)


def test_another_kind_of_network_is_refused() -> None:
    with torch.device("meta"):
        nowhere = build(SMALL)
    with pytest.raises(ValueError, match=r"of another shape \(conv_stem.weight 16×3×3×3 of torch.float32, .* on meta"):
        load_pretrained(SMALL, nowhere, num_classes=5)
    with pytest.raises(ValueError, match=r"must follow the order of the architecture"):
        load_pretrained(SMALL, torchvision.models.squeezenet1_1(weights=None))
    with pytest.raises(ValueError, match=r"^source must be a network or the path of a file, got dict$"):
        load_pretrained(SMALL, {})  # type: ignore[arg-type]
