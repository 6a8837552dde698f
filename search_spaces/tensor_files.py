"""Tensors from files and into files, without ever running code that a file may carry."""

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .messages import first_line

SAFETENSORS = ".safetensors"
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")

# What trainers wrap weights in. Averaged weights (EMA) come first: they are the ones that are evaluated and released.
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")
_ENTRIES = (*_AVERAGED, "state_dict", "model_state_dict", "model")
ENTRY = "checkpoint_entry"


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors, on the CPU, and the texts that stand beside them.

    Of a ``.safetensors`` file the texts are its header's metadata, of a checkpoint its entries that are texts (timm's
    ``arch`` is one); where the weights lay inside an entry of it, `ENTRY` names that.

    Raises:
        ValueError: If there is no such file, or it is damaged, holds no tensors or holds what could run code.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"weights must be a file, got the folder {path}")
    if not path.exists():
        raise ValueError(f"weights must be a file that exists, got {path}")
    if path.suffix == SAFETENSORS:
        tensors, texts = _read_safetensors(path)
    elif path.suffix in PICKLED:
        tensors, texts = _read_pickled(path)
    else:
        raise ValueError(f"a file of weights must end in {', '.join((SAFETENSORS, *PICKLED))}, got {path}")
    if not tensors:
        raise ValueError(f"a file of weights must hold named tensors, got none in {path}")
    return tensors, texts


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts as a ``.safetensors`` file: the whole file, or none.

    Raises:
        ValueError: If the name does not end in ``.safetensors``.
    """
    path = Path(path)
    if path.suffix != SAFETENSORS:
        raise ValueError(f"the file's name must end in {SAFETENSORS}, got {path}")
    # A copy each: safetensors takes neither strided tensors nor two names for the same memory.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Not save_file, whose file nobody but its owner may read, whatever the umask says.
        with partial.open("wb") as file:
            file.write(save(plain, {"format": "pt", **metadata}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def is_averaged(entry: str) -> bool:
    """Whether an entry of a checkpoint holds averaged weights (EMA)."""
    return entry in _AVERAGED


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} must be a whole safetensors file: {first_line(error)}") from error


def _read_pickled(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    checkpoint = _load_tensors_alone(path)
    if not isinstance(checkpoint, Mapping):
        raise ValueError(
            f"a checkpoint must be a mapping of names to tensors, got {type(checkpoint).__name__} in {path}"
        )
    texts = {name: value for name, value in checkpoint.items() if isinstance(name, str) and isinstance(value, str)}
    entries = [name for name in _ENTRIES if isinstance(checkpoint.get(name), Mapping)]
    weights = checkpoint[entries[0]] if entries else checkpoint
    if entries:
        texts[ENTRY] = entries[0]
    return {str(name): value for name, value in weights.items() if isinstance(value, Tensor)}, texts


def _load_tensors_alone(path: Path) -> object:
    try:
        # timm's trainer puts its arguments beside the weights: a bag of values, without code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged pickle fails in any way it likes: as KeyError, UnicodeError, struct.error…
        forbidden = re.search(r"GLOBAL (\S+)", str(error))
        if forbidden:
            raise ValueError(
                f"a checkpoint must hold tensors alone, since anything else could run code; "
                f"got {forbidden[1]} in {path}"
            ) from error
        raise ValueError(f"{path} must be a whole checkpoint of tensors: {first_line(error)}") from error
