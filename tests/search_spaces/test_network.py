"""Built networks against torchvision's and against blocks written out by hand, logit by logit.

Equal parameter counts do not prove equal networks: a lost residual or a wrong stride keeps the count.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import efficientnet_v2_s
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

from proxies.complexity import block_params
from search_spaces import catalog
from search_spaces.architecture import Architecture, Stage, parse
from search_spaces.blocks import HEAD as HEAD_BLOCK
from search_spaces.blocks import STEM as STEM_BLOCK
from search_spaces.blocks import PlacedBlock, placed_blocks
from search_spaces.network import build, build_block

EPS = 1e-3
STEM, HEAD, CLASSES, SIZE = 16, 32, 5, 32

# A block of each kind alone: with residual, with a stride, with other channels at stride 1 (so without residual), and
# repeated, where the second block has its residual.
SHAPES = ("r1_k{k}_s1_e{e}_c16{se}", "r1_k{k}_s2_e{e}_c16{se}", "r1_k{k}_s1_e{e}_c24{se}", "r2_k{k}_s2_e{e}_c24{se}")


def stages_of(block: str, expansions: tuple[int, ...], se: str) -> list[str]:
    return [f"{block}_{shape.format(k=k, e=e, se=se)}" for shape in SHAPES for e in expansions for k in (3, 5)]


IN_TORCHVISION = stages_of("er", (1, 4, 6), "") + stages_of("ir", (1, 4, 6), "_se0.25")
BY_HAND_ALONE = stages_of("ir", (1, 4, 6), "") + stages_of("er", (4, 6), "_se0.25") + stages_of("ir", (1, 3), "_se0.5")


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    """torch's layers draw from the global generator: give it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this small only wait for a second thread, longest where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def one_stage(stage: str) -> Architecture:
    return parse(f"stem{STEM}-{stage}-head{HEAD}@{SIZE}")


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Random weights of a size that keeps the signal alive, and random batch-norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0, math.sqrt(2 / tensor[0].numel()), generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(1.0 if name.endswith("weight") else 0.0, 0.2, generator=generator)


def transplant(source: nn.Module, target: nn.Module) -> None:
    """Copy every tensor in plain order: both libraries register them in the order of the forward pass."""
    tensors = list(source.state_dict().values())
    names = list(target.state_dict())
    assert len(tensors) == len(names)
    target.load_state_dict(dict(zip(names, tensors, strict=True)))


@torch.no_grad()
def logits(network: nn.Module, size: int = SIZE, in_channels: int = 3) -> Tensor:
    images = torch.randn(2, in_channels, size, size, generator=torch.Generator().manual_seed(1))
    return network.eval()(images)


def require_equal(actual: Tensor, expected: Tensor) -> None:
    assert expected.isfinite().all()
    assert expected.std() > 1e-3, "a dead signal proves nothing"
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


def torchvision_network(stage: Stage) -> nn.Module:
    config = FusedMBConvConfig if stage.block == "er" else MBConvConfig
    setting = config(stage.expand_ratio, stage.kernel_size, stage.stride, STEM, stage.out_channels, stage.num_repeats)
    return EfficientNet(
        [setting], dropout=0.0, num_classes=CLASSES, last_channel=HEAD, norm_layer=partial(nn.BatchNorm2d, eps=EPS)
    )


def reference_logits(tensors: Iterator[Tensor], stage: Stage, images: Tensor) -> Tensor:
    """The network of one stage in plain functions, its tensors taken in the order in which they are needed."""
    features = F.silu(normed_convolution(tensors, images, stride=2))
    for number in range(stage.num_repeats):
        features = reference_block(tensors, stage, features, stride=stage.stride if number == 0 else 1)
    features = F.silu(normed_convolution(tensors, features))
    return F.linear(features.mean(dim=(2, 3)), next(tensors), next(tensors))


def reference_block(tensors: Iterator[Tensor], stage: Stage, images: Tensor, *, stride: int) -> Tensor:
    """One block: expand, filter, excite, project, and add the input where it fits."""
    features = images
    if stage.block == "ir":
        if stage.expand_ratio > 1:
            features = F.silu(normed_convolution(tensors, features))
        features = F.silu(normed_convolution(tensors, features, stride=stride, depthwise=True))
    else:
        features = F.silu(normed_convolution(tensors, features, stride=stride))
    if stage.se_ratio:
        features = excited(tensors, features)
    if stage.block == "ir" or stage.expand_ratio > 1:
        features = normed_convolution(tensors, features)
    fits = stride == 1 and images.shape[1] == stage.out_channels
    return features + images if fits else features


def normed_convolution(
    tensors: Iterator[Tensor], images: Tensor, *, stride: int = 1, depthwise: bool = False
) -> Tensor:
    kernel = next(tensors)
    groups = images.shape[1] if depthwise else 1
    out = F.conv2d(images, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
    weight, bias, mean, var = (next(tensors).reshape(1, -1, 1, 1) for _ in range(4))
    next(tensors)  # the number of batches seen
    return (out - mean) / (var + EPS).sqrt() * weight + bias


def excited(tensors: Iterator[Tensor], images: Tensor) -> Tensor:
    pooled = images.mean(dim=(2, 3), keepdim=True)
    squeezed = F.silu(F.conv2d(pooled, next(tensors), next(tensors)))
    return images * F.conv2d(squeezed, next(tensors), next(tensors)).sigmoid()


def test_v2_s_gives_torchvisions_logits() -> None:
    theirs = efficientnet_v2_s(weights=None)
    randomise(theirs)
    ours = build(catalog.get("efficientnetv2-s").architecture)
    transplant(theirs, ours)
    require_equal(logits(ours, 128), logits(theirs, 128))


@pytest.mark.parametrize("stage", IN_TORCHVISION)
def test_every_block_gives_torchvisions_logits(stage: str) -> None:
    architecture = one_stage(stage)
    theirs = torchvision_network(architecture.stages[0])
    randomise(theirs)
    ours = build(architecture, num_classes=CLASSES)
    transplant(theirs, ours)
    require_equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("stage", IN_TORCHVISION + BY_HAND_ALONE)
def test_every_block_gives_the_logits_of_its_definition(stage: str) -> None:
    architecture = one_stage(stage)
    ours = build(architecture, num_classes=CLASSES)
    randomise(ours)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    tensors = iter(ours.state_dict().values())
    require_equal(logits(ours), reference_logits(tensors, architecture.stages[0], images))
    assert next(tensors, None) is None


@pytest.mark.parametrize("stage", ["er_r1_k3_s1_e1_c16", "er_r1_k3_s1_e4_c16", "ir_r1_k3_s1_e1_c16_se0.25"])
def test_a_lost_residual_would_be_noticed(stage: str) -> None:
    architecture = one_stage(stage)
    theirs = torchvision_network(architecture.stages[0])
    randomise(theirs)
    ours: Any = build(architecture, num_classes=CLASSES)
    transplant(theirs, ours)
    assert ours.blocks[0][0].has_skip
    ours.blocks[0][0].has_skip = False
    with pytest.raises(AssertionError):
        require_equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("size", [75, 64])
def test_same_padding_gives_the_logits_of_timms_ported_networks(size: int) -> None:
    theirs = timm.create_model("tf_efficientnetv2_b0")
    randomise(theirs)
    architecture = catalog.get("efficientnetv2-b0").architecture
    same, symmetric = build(architecture, padding="same"), build(architecture)
    same.load_state_dict(theirs.state_dict())
    symmetric.load_state_dict(theirs.state_dict())
    require_equal(logits(same, size), logits(theirs, size))
    assert (logits(symmetric, size) - logits(theirs, size)).abs().max() > 1e-2


def test_logits_have_the_classes_and_take_the_channels_asked_for() -> None:
    network = build(one_stage("ir_r1_k3_s2_e4_c24_se0.25"), num_classes=7, in_channels=1)
    assert logits(network, in_channels=1).shape == (2, 7)


def test_every_batch_norm_has_the_epsilon_asked_for() -> None:
    architecture = one_stage("er_r2_k3_s2_e4_c24")
    for network, eps in ((build(architecture), 1e-3), (build(architecture, norm_eps=1e-5), 1e-5)):
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) == 6
        assert {norm.eps for norm in norms} == {eps}


def test_dropout_and_stochastic_depth_act_in_training_only() -> None:
    architecture = one_stage("er_r3_k3_s1_e4_c16")
    plain = build(architecture, num_classes=CLASSES)
    noisy: Any = build(architecture, num_classes=CLASSES, drop_rate=0.4, drop_path_rate=0.3)
    randomise(plain)
    noisy.load_state_dict(plain.state_dict())
    assert torch.equal(logits(noisy), logits(plain))
    images = torch.randn(8, 3, SIZE, SIZE)
    assert not torch.equal(noisy.train()(images), noisy(images))
    depths = [getattr(block.drop_path, "drop_prob", 0.0) for block in noisy.blocks[0]]
    # timm divides by the number of blocks, so the last one is short of the rate by one step.
    assert depths == pytest.approx([0.0, 0.1, 0.2])


def test_activation_is_the_one_asked_for() -> None:
    network = build(one_stage("ir_r1_k3_s1_e4_c16_se0.25"), act="relu")
    kinds = {type(module).__name__ for module in network.modules()}
    assert "ReLU" in kinds
    assert "SiLU" not in kinds


def test_every_parameter_takes_part_in_training() -> None:
    network = build(one_stage("ir_r2_k3_s2_e4_c24_se0.25"), num_classes=CLASSES).train()
    network(torch.randn(2, 3, SIZE, SIZE)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_same_seed_builds_the_same_network() -> None:
    architecture = one_stage("ir_r1_k3_s2_e4_c24_se0.25")
    torch.manual_seed(3)
    first = build(architecture).state_dict()
    torch.manual_seed(3)
    second = build(architecture).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^padding must be one of .*, got 'valid'$"):
        build(one_stage("er_r1_k3_s1_e1_c16"), padding="valid")


# Every kind with and without a stride, an expansion, a residual and squeeze-and-excitation, on sizes odd and even.
OF_MANY_BLOCKS = parse(
    "stem16-er_r2_k3_s1_e1_c16-er_r2_k5_s2_e4_c24-er_r1_k3_s1_e6_c32_se0.25-ir_r2_k3_s2_e1_c32_se0.5"
    "-ir_r2_k5_s1_e4_c40-ir_r2_k5_s2_e6_c48_se0.25-head96@75"
)


def modules_of(network: Any) -> list[nn.Module]:
    """The parts of a whole network, in the order of the walk over its blocks."""
    stem = nn.Sequential(network.conv_stem, network.bn1)
    head = nn.Sequential(network.conv_head, network.bn2, network.global_pool, network.classifier)
    return [stem, *(block for stage in network.blocks for block in stage), head]


def parts_of(architecture: Architecture, in_channels: int = 3) -> list[tuple[PlacedBlock, nn.Module]]:
    network = build(architecture, CLASSES, in_channels)
    randomise(network)
    blocks = placed_blocks(architecture, in_channels=in_channels)
    return list(zip(blocks, modules_of(network), strict=True))


@pytest.mark.parametrize("in_channels", [3, 1])
def test_a_block_alone_gives_what_it_gives_inside_the_network(in_channels: int) -> None:
    for number, (block, inside) in enumerate(parts_of(OF_MANY_BLOCKS, in_channels)):
        print(number, block)
        alone = build_block(block, CLASSES)
        alone.load_state_dict(inside.state_dict())
        images = torch.randn(2, block.in_channels, block.in_size, block.in_size)
        with torch.no_grad():
            require_equal(alone.eval()(images), inside.eval()(images))
            require_equal(alone.train()(images), inside.train()(images))


def test_a_block_alone_has_the_shape_that_the_walk_says() -> None:
    for block, _ in parts_of(OF_MANY_BLOCKS):
        output = build_block(block, CLASSES)(torch.randn(2, block.in_channels, block.in_size, block.in_size))
        expected = (2, block.out_channels, block.out_size, block.out_size)
        assert output.shape == ((2, CLASSES) if block.kind == HEAD_BLOCK else expected)


def test_a_block_alone_has_the_parameters_counted_for_it() -> None:
    blocks = placed_blocks(OF_MANY_BLOCKS)
    assert {block.kind for block in blocks} == {STEM_BLOCK, "er", "ir", HEAD_BLOCK}
    for block in blocks:
        built = sum(parameter.numel() for parameter in build_block(block, CLASSES).parameters())
        classifier = (block.out_channels + 1) * CLASSES if block.kind == HEAD_BLOCK else 0
        assert built == block_params(block) + classifier, block
