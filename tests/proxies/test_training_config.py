"""Settings of training, fidelity and data: strict, documented, frozen."""

import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from proxies.training.config import DataConfig, Fidelity, TrainConfig

SETTINGS = (TrainConfig, Fidelity, DataConfig)


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (TrainConfig, "batch_size", 1),
        (TrainConfig, "batch_size", 32.0),
        (TrainConfig, "batch_size", "32"),
        (TrainConfig, "batch_size", True),
        (TrainConfig, "optimizer", "adam-w"),
        (TrainConfig, "lr", 0),
        (TrainConfig, "lr", math.nan),
        (TrainConfig, "lr", math.inf),
        (TrainConfig, "lr", "1e-3"),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "warmup_epochs", -1),
        (TrainConfig, "label_smoothing", 1.0),
        (TrainConfig, "drop_rate", 1.0),
        (TrainConfig, "drop_path_rate", math.nan),
        (TrainConfig, "augment", "yes"),
        (TrainConfig, "learning_rate", 0.1),
        (Fidelity, "epochs", 0),
        (Fidelity, "epochs", 1.5),
        (Fidelity, "resolution", 0),
        (Fidelity, "data_share", 0),
        (Fidelity, "data_share", 1.1),
        (DataConfig, "source", ""),
        (DataConfig, "minival_share", 0),
        (DataConfig, "minival_share", 1.0),
        (DataConfig, "test_share", math.nan),
        (DataConfig, "split_seed", -1),
        (DataConfig, "root", 7),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(settings: type[BaseModel], key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as refusal:
        settings(**{key: value})
    assert [error["loc"] for error in refusal.value.errors()] == [(key,)]


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_cannot_be_changed_and_say_what_each_means(settings: type[BaseModel]) -> None:
    value = settings()
    name = next(iter(settings.model_fields))
    with pytest.raises(ValidationError):
        setattr(value, name, getattr(value, name))
    for name, field in settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_survive_the_way_through_plain_data(settings: type[BaseModel]) -> None:
    value = settings()
    assert settings(**value.model_dump(mode="json")) == value


def test_whole_numbers_serve_as_fractions_and_folders_as_texts() -> None:
    assert TrainConfig(lr=1).lr == 1.0
    assert str(DataConfig(root="photos").root) == "photos"  # type: ignore[arg-type]
