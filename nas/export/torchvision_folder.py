"""A folder with the weights under torchvision's names, for the architectures that torchvision can build."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from search_spaces.architecture import FUSED_MBCONV, Architecture
from search_spaces.network_settings import NetworkSettings
from search_spaces.torchvision_names import build_torchvision, require_torchvision, to_torchvision_names
from search_spaces.weights import read_tensors, write_tensors

from .card import write_card
from .formats import CARD_FILE, WEIGHTS_FILE, Format
from .safetensors_folder import read_header, settings_of
from .subject import Subject

_USAGE = """
from functools import partial
from safetensors.torch import load_file
from torch import nn
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig

network = EfficientNet(
    [
{stages}
    ],
    dropout=0.0,
    stochastic_depth_prob=0.0,
    num_classes={num_classes},
    norm_layer=partial(nn.BatchNorm2d, eps={norm_eps!r}),
    last_channel={head},
)
network.load_state_dict(load_file("{name}/model.safetensors"))
network.eval()
"""


def _require(settings: NetworkSettings, path: Path) -> None:
    require_torchvision(settings)


def _write(subject: Subject, path: Path) -> None:
    settings = subject.settings
    path.mkdir()
    tensors = to_torchvision_names(settings.architecture, subject.network.state_dict())
    write_tensors(path / WEIGHTS_FILE, tensors, subject.metadata("torchvision"))
    (path / CARD_FILE).write_text(write_card(subject, path.name, _usage(settings, path.name)), encoding="utf-8")


def _usage(settings: NetworkSettings, name: str) -> str:
    return _USAGE.format(
        stages="\n".join(f"        {line}," for line in _stage_lines(settings.architecture)),
        num_classes=settings.num_classes,
        norm_eps=settings.norm_eps,
        head=settings.architecture.head_channels,
        name=name,
    )


def _stage_lines(architecture: Architecture) -> list[str]:
    lines, channels = [], architecture.stem_channels
    for stage in architecture.stages:
        kind = "FusedMBConvConfig" if stage.block == FUSED_MBCONV else "MBConvConfig"
        numbers = (
            stage.expand_ratio, stage.kernel_size, stage.stride, channels, stage.out_channels, stage.num_repeats
        )  # fmt: skip
        lines.append(f"{kind}({', '.join(map(str, numbers))})")
        channels = stage.out_channels
    return lines


def _run(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    network = build_torchvision(settings_of(path))
    network.load_state_dict(read_tensors(path / WEIGHTS_FILE)[0])
    network.eval()
    with torch.inference_mode():
        return [network(images) for images in batches]


FORMAT = Format(
    name="torchvision",
    files=(WEIGHTS_FILE, CARD_FILE),
    require=_require,
    write=_write,
    read_metadata=read_header,
    run=_run,
)
