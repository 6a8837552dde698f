"""A folder with the weights as safetensors, which can run no code, and the model card."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from search_spaces.messages import first_line
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import load_pretrained, write_tensors

from .card import write_card
from .formats import CARD_FILE, WEIGHTS_FILE, BrokenExportError, Format, accept_any
from .subject import Subject

_USAGE = """
from search_spaces import load_pretrained, parse
network = load_pretrained(parse("{architecture}"), "{name}/model.safetensors").network.eval()
"""


def _write(subject: Subject, path: Path) -> None:
    path.mkdir()
    write_tensors(path / WEIGHTS_FILE, subject.network.state_dict(), subject.metadata("safetensors"))
    usage = _USAGE.format(architecture=subject.settings.architecture, name=path.name)
    (path / CARD_FILE).write_text(write_card(subject, path.name, usage), encoding="utf-8")


def read_header(path: Path) -> Mapping[str, str]:
    """The texts in the header of a folder's weights.

    Raises:
        BrokenExportError: If the file is damaged.
    """
    file = path / WEIGHTS_FILE
    try:
        with safe_open(file, framework="pt") as tensors:
            return dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise BrokenExportError(f"{file} is not a whole safetensors file: {first_line(error)}") from error


def settings_of(path: Path) -> NetworkSettings:
    """What the header of a folder's weights says of the network.

    Raises:
        ValueError: If it says nothing, or nothing that makes sense.
    """
    settings = NetworkSettings.from_metadata(read_header(path))
    if settings is None:
        raise ValueError(f"the header of {path / WEIGHTS_FILE} must name the architecture")
    return settings


def _run(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    network = load_pretrained(settings_of(path).architecture, path / WEIGHTS_FILE).network.eval()
    with torch.inference_mode():
        return [network(images) for images in batches]


FORMAT = Format(
    name="safetensors",
    files=(WEIGHTS_FILE, CARD_FILE),
    require=accept_any,
    write=_write,
    read_metadata=read_header,
    run=_run,
)
