"""The formats by name, and what each of them can do; reading this needs no torch."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.messages import did_you_mean
from search_spaces.network_settings import NetworkSettings

if TYPE_CHECKING:
    from torch import Tensor

    from .subject import Subject

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"

_HOMES = {
    "onnx": "onnx_file",
    "torch": "torch_program",
    "safetensors": "safetensors_folder",
    "timm": "timm_package",
    "torchvision": "torchvision_folder",
}
FORMAT_NAMES = tuple(_HOMES)
_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
"""Of the formats that are one file; the others are folders."""
_NO_FOLDERS = (".safetensors", ".pt", ".pth", ".pt2", ".onnx", ".py", ".md")


class BrokenExportError(Exception):
    """An export cannot be read back, or gives other logits than its source; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How networks are written in one format, and read as somebody reads them who has never heard of us."""

    name: str
    files: tuple[str, ...] = ()
    """What the folder holds."""
    needs: tuple[str, ...] = ()
    """Packages of the extra `export`."""
    require: Callable[[NetworkSettings, Path], None]
    """Raises a ValueError if the format cannot hold the network, or the path, whose suffix is right, cannot name it."""
    write: Callable[["Subject", Path], None]
    """Writes the file, or makes the folder."""
    read_metadata: Callable[[Path], Mapping[str, str]]
    """The texts of `Subject.metadata`; empty in somebody else's file; `BrokenExportError` where it is damaged."""
    run: Callable[[Path, Sequence["Tensor"]], list["Tensor"]]
    """The logits of batches of images (N, C, H, W)."""

    @property
    def is_file(self) -> bool:
        """Else it is a folder."""
        return self.name in _SUFFIXES


def get_format(name: str) -> Format:
    """A format that can be used here.

    Raises:
        ValueError: If there is none of this name, or a package that it needs is missing.
    """
    _require_known(name)
    found: Format = importlib.import_module(f".{_HOMES[name]}", __package__).FORMAT
    missing = [package for package in found.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"the format {name} needs {', '.join(missing)}: pip install 'training-aware-nas[export]'")
    return found


def require_name(name: str, path: Path) -> None:
    """Make sure, before anything heavy is imported, that a format exists and a path looks like an export of it.

    Raises:
        ValueError: If not.
    """
    _require_known(name)
    suffix = _SUFFIXES.get(name)
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"a file of the format {name} must end in {suffix}, got {path.name}")
    if suffix is None and path.suffix in _NO_FOLDERS:
        raise ValueError(
            f"the format {name} is written as a folder (weights and model card), so --out must name one, e.g. "
            f"{path.with_suffix('')}, got {path}"
        )


def _require_known(name: str) -> None:
    if name not in _HOMES:
        raise ValueError(f"no export format {name!r}; {did_you_mean(name, FORMAT_NAMES)}")


def accept_any(settings: NetworkSettings, path: Path) -> None:
    """For formats that hold every network."""


def format_of(path: Path) -> Format:
    """The format of an export, by its name or by what the folder says of itself.

    Raises:
        ValueError: If there is nothing, or it is no export.
        BrokenExportError: If it is damaged.
    """
    if path.is_file():
        for name, suffix in _SUFFIXES.items():
            if path.suffix == suffix:
                return get_format(name)
    elif (path / WEIGHTS_FILE).is_file():
        written = get_format("safetensors").read_metadata(path).get("export_format")
        if written is not None:
            return get_format(written)
    elif not path.exists():
        raise ValueError(f"no such export: {path}")
    raise ValueError(f"an export is a file ending in .onnx or .pt2, or the folder that was written, got {path}")
