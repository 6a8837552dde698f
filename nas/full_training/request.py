"""From what somebody types to a full training's configuration: ARCH, a recipe, and what the place of ARCH says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.strict_yaml import read_yaml

from ..config_values import set_key
from ..reference import Reference, find_network
from .config import TrainingConfig, make_training_config, read_training_config
from .directory import TrainingDirectory


def request_training(
    arch: str, recipe: Path | None, overrides: Mapping[str, object], *, source: str = "flags"
) -> TrainingConfig:
    """The configuration of a new training.

    What is typed outweighs the recipe, and both outweigh what ARCH's place says: the images and the training settings
    of its search, the regularisation of its family, its test size.

    Args:
        arch: What `find_network` takes.
        recipe: A YAML file of settings; None has the defaults.
        overrides: Values by key; ``"train.lr"`` reaches into a part.
        source: Of the values, for the message about a wrong one.

    Raises:
        ValueError: In one line, if there is no such network, or a setting is wrong.
    """
    reference = find_network(arch)
    values = _suggested(reference, arch)
    asked: dict[str, object] = dict(read_yaml(recipe)) if recipe is not None else {}
    for key, value in overrides.items():
        set_key(asked, key, value)
    merged = _merged(values, asked)
    data = merged.get("data", {})
    if isinstance(data, Mapping) and "source" not in data:
        raise ValueError("name the images with --data: digits, imagefolder:PATH, imagenet:PATH, … (docs/data.md)")
    return make_training_config(merged, {}, source=str(recipe or source))


def _suggested(reference: Reference, arch: str) -> dict[str, Any]:
    values: dict[str, Any] = {
        "architecture": str(reference.architecture),
        "test_size": reference.test_size,
        "out": _folder(reference, arch),
        "train": {"ema_decay": 0.9999},
    }
    if reference.run is not None:
        config = reference.run.config
        values["data"] = config.data.model_dump(mode="json")
        values["train"] = config.train.model_dump(mode="json", exclude={"drop_rate"}) | values["train"]
        if config.train.drop_rate:
            values["progressive"] = {"dropout": [config.train.drop_rate, config.train.drop_rate]}
    if reference.training is not None:
        before = read_training_config(TrainingDirectory(Path(arch)).config_file)
        values["data"] = before.data.model_dump(mode="json")
        values["train"] = before.train.model_dump(mode="json")
    if reference.member is not None:
        ranges = reference.member.regularization
        values["progressive"] = {
            "image_size": ranges.image_size, "randaugment": ranges.randaugment, "mixup": ranges.mixup,
            "cutmix": ranges.cutmix, "dropout": ranges.dropout,
        }  # fmt: skip
    return values


def _folder(reference: Reference, arch: str) -> str:
    """Where nothing is said: below a search's own directory, else by the network's name."""
    if reference.run is not None:
        return str(reference.run.directory.path / "training")
    if reference.published is not None:
        return f"runs/{arch}"
    if reference.member is not None:
        return f"runs/{Path(arch).stem}-{reference.member.name}"
    return "runs/train"


def _merged(values: Mapping[str, object], asked: Mapping[str, object]) -> dict[str, object]:
    """What is asked for, over what is there; parts are merged, and all else is replaced."""
    merged = dict(values)
    for key, value in asked.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(before, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged
