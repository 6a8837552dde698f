"""A trained network with all that must be known to judge it: from a training's directory, or from a file of weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import nn

from proxies.data.normalisation import Normalisation
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.training.checkpoint import read_checkpoint
from proxies.training.config import DataConfig
from search_spaces.architecture import Architecture, parse
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import load_pretrained

from ..reference import Reference
from .config import read_training_config
from .directory import TrainingDirectory
from .record import TrainingRecord, read_record

Checkpoint = Literal["best", "last"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNetwork:
    """A network, its weights, and what they were trained for."""

    network: nn.Module
    """On the CPU, in single precision."""
    settings: NetworkSettings
    weights: str
    """Which they are, in words."""
    notes: tuple[str, ...] = ()
    """What a user should know of them, a sentence each."""
    normalisation: Normalisation | None = None
    """Of the images it was trained on; None where nothing says it."""
    class_names: tuple[str, ...] | None = None
    test_size: int
    """Pixels per side."""
    data: DataConfig | None = None
    """The images it was trained on, and how they were split."""
    mode: ExecutionMode = PLAIN
    """In which it was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What a file of weights may not tell of its network; None leaves it to the file."""

    padding: str | None = None
    norm_eps: float | None = None
    act: str | None = None


def read_trained(
    directory: TrainingDirectory, which: Checkpoint = "best", *, averaged: bool | None = None
) -> TrainedNetwork:
    """A network as its training kept it.

    Args:
        directory: Of the training, running or ended.
        which: Weights of the most accurate epoch, or of the newest checkpoint.
        averaged: The average of the weights, or the weights as trained; by default the average where one is kept.

    Raises:
        ValueError: In one line, if there is no training, or not these weights.
    """
    record = read_record(directory.record_file)
    network, settings, words = _from_checkpoint(directory, record, which, averaged)
    return _of_training(directory, record, network, settings, weights=words)


def read_weights_for(directory: TrainingDirectory, weights: Path, layers: Layers | None = None) -> TrainedNetwork:
    """The network of a training with a file's weights in place of its own.

    Raises:
        ValueError: In one line, if there is no training, or the weights do not fit.
    """
    record = read_record(directory.record_file)
    network, settings, notes = _from_file(parse(record.architecture), weights, layers or Layers())
    return _of_training(directory, record, network, settings, weights=str(weights), notes=notes)


def _of_training(
    directory: TrainingDirectory,
    record: TrainingRecord,
    network: nn.Module,
    settings: NetworkSettings,
    *,
    weights: str,
    notes: tuple[str, ...] = (),
) -> TrainedNetwork:
    return TrainedNetwork(
        network=network,
        settings=settings,
        weights=weights,
        notes=notes,
        normalisation=Normalisation(mean=record.normalisation_mean, std=record.normalisation_std),
        class_names=record.class_names,
        test_size=record.test_size,
        data=read_training_config(directory.config_file).data,
        mode=parse_mode(record.mode),
    )


def read_foreign(reference: Reference, weights: Path, layers: Layers | None = None) -> TrainedNetwork:
    """A network with weights from elsewhere; what a file of ours says of its training is taken from it.

    Raises:
        ValueError: In one line, if the weights do not fit, or do not tell what a network needs.
    """
    architecture = reference.architecture
    network, settings, notes = _from_file(architecture, weights, layers or Layers())
    header = _header(weights)
    size = header.get("test_size", "")
    return TrainedNetwork(
        network=network,
        settings=settings,
        weights=str(weights),
        notes=notes,
        normalisation=_normalisation(header),
        class_names=_class_names(header),
        test_size=int(size) if size.isdecimal() else reference.inference_size,
        data=reference.run.config.data if reference.run else None,
    )


def _from_checkpoint(
    directory: TrainingDirectory, record: TrainingRecord, which: Checkpoint, averaged: bool | None
) -> tuple[nn.Module, NetworkSettings, str]:
    path = directory.best_checkpoint if which == "best" else directory.last_checkpoint
    checkpoint = read_checkpoint(path)
    # The newest one holds a whole training, the best one its weights only.
    state = checkpoint["training"] if which == "last" else checkpoint
    averaged = state["ema"] is not None if averaged is None else averaged
    tensors = state["ema" if averaged else "network"]
    if tensors is None:
        raise ValueError(f"no average of the weights is kept in {path}; --raw takes them as trained")
    settings = _settings(checkpoint["settings"] if which == "last" else _kept_settings(directory), record)
    network = settings.build()
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise ValueError(f"{path} must hold weights of {record.architecture}, got those of another network") from None
    when = f"epoch {checkpoint['epoch']}" if which == "best" else f"step {state['steps_done']}"
    return network, settings, f"{which} checkpoint, {when}, {'averaged' if averaged else 'as trained'}"


def _kept_settings(directory: TrainingDirectory) -> Mapping[str, str]:
    """As the file of weights says them in its header: the newest checkpoint, a whole training, is large."""
    header = _header(directory.weights_file)
    if header or not directory.last_checkpoint.exists():
        return header
    return read_checkpoint(directory.last_checkpoint)["settings"]


def _settings(metadata: Mapping[str, str], record: TrainingRecord) -> NetworkSettings:
    """Padding and the like, as what was kept has them."""
    found = NetworkSettings.from_metadata(metadata)
    return found or NetworkSettings(
        architecture=parse(record.architecture), num_classes=record.num_classes, in_channels=record.in_channels
    )


def _from_file(
    architecture: Architecture, path: Path, layers: Layers
) -> tuple[nn.Module, NetworkSettings, tuple[str, ...]]:
    found = load_pretrained(
        architecture, path, padding=layers.padding, norm_eps=layers.norm_eps, act=layers.act
    )  # fmt: skip
    return found.network, found.settings, found.notes


def _header(path: Path) -> Mapping[str, str]:
    """The texts of a `.safetensors` file; other files carry none that we know."""
    if path.suffix != ".safetensors" or not path.exists():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except SafetensorError:  # whoever reads its weights says so
        return {}


def _normalisation(header: Mapping[str, str]) -> Normalisation | None:
    if "normalisation_mean" not in header or "normalisation_std" not in header:
        return None
    mean, std = (tuple(map(float, header[f"normalisation_{name}"].split(","))) for name in ("mean", "std"))
    return Normalisation(mean=mean, std=std)


def _class_names(header: Mapping[str, str]) -> tuple[str, ...] | None:
    names: Any = json.loads(header["class_names"]) if "class_names" in header else None
    return tuple(map(str, names)) if isinstance(names, list) else None
