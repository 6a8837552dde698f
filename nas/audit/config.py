"""What an audit compares: a target training, and the cheaper trainings that might stand in for it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from proxies.training.config import SETTINGS, Fidelity, TrainConfig
from search_spaces.architecture import Architecture
from search_spaces.strict_yaml import dump_yaml, read_yaml

from ..config import SearchConfig, make_config, read_config
from ..config_values import validated
from ..recipes import find_recipe


class ProxyTraining(Fidelity):
    """A short training that might judge candidates: how much of it, and its own step size and batch, if it has any."""

    lr: float | None = Field(default=None, gt=0, description="Peak learning rate; by default the search's.")
    batch_size: int | None = Field(default=None, ge=2, le=65_536, description="Images per step; likewise.")

    @property
    def key(self) -> str:
        """One word that names it among all others; what is as in the target's own training is left out."""
        parts = [
            f"e{self.epochs}",
            *([f"r{self.resolution}"] if self.resolution is not None else []),
            *([f"d{self.data_share:g}"] if self.data_share != 1.0 else []),
            *([f"w{self.width:g}"] if self.width != 1.0 else []),
            *([f"lr{self.lr:g}"] if self.lr is not None else []),
            *([f"b{self.batch_size}"] if self.batch_size is not None else []),
        ]
        return "-".join(parts)

    @property
    def fidelity(self) -> Fidelity:
        """How much training it is."""
        return Fidelity.model_validate(self.model_dump(exclude={"lr", "batch_size"}))

    def train_config(self, base: TrainConfig) -> TrainConfig:
        """The search's training, with what this one has of its own."""
        own = {name: value for name in ("lr", "batch_size") if (value := getattr(self, name)) is not None}
        return TrainConfig.model_validate({**base.model_dump(), **own})


class AuditConfig(BaseModel):
    """Everything an audit depends on."""

    model_config = SETTINGS

    search: SearchConfig = Field(
        default=SearchConfig(), description="The search whose proxy is audited: a recipe's name or file, or its keys."
    )
    target: ProxyTraining = Field(
        default=ProxyTraining(epochs=32), description="The training whose ranking counts; on all images by default."
    )
    proxies: tuple[ProxyTraining, ...] = Field(
        default=(), strict=False, description="Cheaper trainings; by default halves, quarters … of the target."
    )
    num_architectures: int = Field(default=20, ge=5, description="Members of the space, spread by MACs and S.")
    target_seeds: int = Field(
        default=2, ge=2, description="Trainings of each at the target: between them lies the noise ceiling."
    )
    proxy_seeds: int = Field(default=1, ge=1, description="Trainings of each at every proxy.")
    top: int = Field(default=5, ge=1, description="How many of the target's best a proxy should find.")
    min_tau: float = Field(
        default=0.75, gt=0, le=1, description="Kendall's τ that a recommended proxy reaches, or else the noise ceiling."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of the sample and of every training.")
    out: Path = Field(default=Path("runs/audit"), strict=False, description="The audit's directory.")

    @field_validator("search", mode="before")
    @classmethod
    def _recipe(cls, value: object) -> object:
        return read_config(find_recipe(str(value))) if isinstance(value, str | Path) else value

    @field_validator("proxies")
    @classmethod
    def _different(cls, value: tuple[ProxyTraining, ...]) -> tuple[ProxyTraining, ...]:
        keys = [proxy.key for proxy in value]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"must differ, got {twice} twice")
        return value

    @model_validator(mode="after")
    def _sample_holds_the_best(self) -> Self:
        if self.top >= self.num_architectures:
            raise ValueError(f"num_architectures must be above top ({self.top}), got {self.num_architectures}")
        return self

    @model_validator(mode="after")
    def _sample_can_be_drawn(self) -> Self:
        size, method = self.search.search_space().size, self.search.step_time.method
        if self.num_architectures > size:
            raise ValueError(f"num_architectures must be at most {size}, the space's, got {self.num_architectures}")
        if method == "measured":
            raise ValueError("search.step_time.method must be predicted or macs in an audit, got measured")
        return self

    @model_validator(mode="after")
    def _proxies_are_no_targets(self) -> Self:
        if any(proxy.key == self.target.key for proxy in self.proxies):
            raise ValueError(f"proxies must differ from the target, got {self.target.key}")
        return self

    @model_validator(mode="after")
    def _stand_ins_exist(self) -> Self:
        backbone = self.search.search_space().backbone
        for training in (self.target, *self.proxies):
            try:
                training.require_fit(backbone)
            except ValueError as error:
                raise ValueError(f"{training.key}: {error}") from None
        return self

    @property
    def audited(self) -> tuple[ProxyTraining, ...]:
        """The proxies; the default ones, as far as they suit the space, where none are named."""
        return self.proxies or default_proxies(self.target, self.search.search_space().backbone)

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump(mode="json"))


def default_proxies(target: ProxyTraining, backbone: Architecture) -> tuple[ProxyTraining, ...]:
    """Cheaper trainings by fewer epochs, by fewer images, by both, by smaller images and by narrower networks."""
    found: dict[str, ProxyTraining] = {}
    for epochs, share in ((2, 1), (4, 1), (8, 1), (16, 1), (1, 4), (1, 8), (2, 4), (4, 4), (8, 2)):
        changes: dict[str, Any] = {
            "epochs": max(1, target.epochs // epochs),
            "data_share": target.data_share / share,
        }
        proxy = target.model_copy(update=changes)
        found.setdefault(proxy.key, proxy)
    narrow = target.model_copy(update={"epochs": max(1, target.epochs // 4), "width": target.width / 2})
    with suppress(ValueError):
        narrow.require_fit(backbone)
        found.setdefault(narrow.key, narrow)
    found.pop(target.key, None)
    return tuple(found.values())


def read_audit_config(path: Path | None, overrides: Mapping[str, object]) -> AuditConfig:
    """Read an audit's settings from a file, or take the defaults, and override them.

    Args:
        path: A YAML file.
        overrides: Values by key; ``"search.train.lr"`` reaches into a part.

    Raises:
        ValueError: In one line that names file, key, rule and value.
    """
    values = read_yaml(path) if path else {}
    search, others = overrides.get("search", values.get("search")), dict(overrides)
    if isinstance(search, str):
        values["search"] = read_config(find_recipe(search)).model_dump(mode="json")
        others.pop("search", None)
    elif path is not None and isinstance(search, Mapping):
        # Files that it names lie beside the audit's own.
        found = make_config(search, {}, source=f"{path}: search", folder=path.parent)
        values["search"] = found.model_dump(mode="json")
    return validated(AuditConfig, values, others, source=str(path or "flags"), complete=lambda merged: merged)
