"""What a search is: one frozen, validated value, read from strict YAML and overridden by flags."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from proxies.step_time import StepTimeSetting
from proxies.step_time_table import BUDGET_S
from proxies.training.config import SETTINGS, DataConfig, Fidelity, TrainConfig
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace
from search_spaces.space_file import read_space, space_from_mapping, space_to_mapping
from search_spaces.strict_yaml import dump_yaml, read_yaml

from .config_values import absolute_images, validated
from .includes import INCLUDE, included_files, merge, read_part
from .reward import PAPER_V, PAPER_W
from .samplers import MULTI_OBJECTIVE_SAMPLERS, SAMPLER_NAMES, require_sampler

OBJECTIVES = ("accuracy", "step_time", "params")
Objective = Literal["accuracy", "step_time", "params"]

MAX_EXPONENT = 10.0
"""Of the reward, either sign."""
Exponent = Annotated[float, Field(ge=-MAX_EXPONENT, le=MAX_EXPONENT)]

# A run directory belongs to one question: these fields may not change when it is resumed.
FINGERPRINT_FIELDS = (
    "space", "data", "train", "fidelity", "step_time", "objectives", "sampler", "seed", "w", "v",
    "max_params", "max_macs", "max_step_time_s", "max_memory_gib", "out_of_memory", "warm_start",
    "pruners", "pruning_confidence", "rungs",
)  # fmt: skip


class TargetTable(BaseModel):
    """A step-time table of a device that the search is meant for."""

    model_config = SETTINGS

    file: Path = Field(strict=False, description="Written by `nas calibrate`.")
    weight: float = Field(default=1.0, gt=0, description="In the geometric mean over several devices.")
    foreign: bool = Field(default=False, description="Accept a table of another device or software than the one here.")


class TargetMachines(BaseModel):
    """Machines of a Ray cluster that the search is meant for."""

    model_config = SETTINGS

    resource: str = Field(min_length=1, description="Ray resource that marks them, such as accelerator_type:A100.")
    weight: float = Field(default=1.0, gt=0, description="In the geometric mean over several kinds of machine.")


class StepTimeConfig(StepTimeSetting):
    """The training whose step is timed, and how candidates come to their S."""

    method: Literal["predicted", "measured", "macs"] = Field(
        default="predicted",
        description="predicted from blocks measured on the device; measured candidate by candidate; or macs, multiply-"
        "adds as a stand-in. Finalists are measured in any case.",
    )
    calibration_s: float = Field(
        default=BUDGET_S, ge=0, description="Seconds in which the blocks of the space are measured."
    )
    tables: tuple[TargetTable, ...] = Field(
        default=(), strict=False, description="Tables calibrated before; several: S is their weighted geometric mean."
    )
    targets: tuple[TargetMachines, ...] = Field(
        default=(),
        strict=False,
        description="Machines of a Ray cluster whose step time counts, wherever candidates are trained; needed where "
        "machines differ. Several kinds are calibrated each, and S is their weighted geometric mean.",
    )
    inference: bool = Field(default=False, description="Time a step of inference of the finalists, too.")

    @model_validator(mode="after")
    def _tables_predict(self) -> Self:
        if self.tables and self.method != "predicted":
            raise ValueError(f"tables predict step times, so method must be predicted, got {self.method}")
        if len(self.targets) > 1 and self.method != "predicted":
            raise ValueError(f"of several targets step times are predicted, so method must be, got {self.method}")
        if self.tables and self.targets:
            raise ValueError("either tables or targets say whose step time counts, got both")
        return self

    @field_validator("targets", mode="before")
    @classmethod
    def _named_alone(cls, value: object) -> object:
        """A target may be given by its resource alone, and one may stand without a list."""
        value = [value] if isinstance(value, str | Mapping) else value
        if not isinstance(value, list | tuple):
            return value
        return [{"resource": target} if isinstance(target, str) else target for target in value]


class ClusterConfig(BaseModel):
    """What a trial needs of a Ray cluster."""

    model_config = SETTINGS

    address: str | None = Field(
        default=None,
        description="Of the cluster; auto: the one this machine belongs to; by default that one, or RAY_ADDRESS, or a "
        "cluster of this machine alone that ends with the search.",
    )
    cpus_per_trial: int = Field(default=1, ge=1, description="CPUs, and threads, of a trial.")
    gpus_per_trial: float | None = Field(
        default=None, ge=0, le=1, description="GPUs, or a part of one; by default 1 where the cluster has GPUs."
    )


class RungConfig(BaseModel):
    """The epochs after which a part of the candidates goes on: first, first · factor, first · factor² …"""

    model_config = SETTINGS

    first: int = Field(default=1, ge=1, description="Epochs before the first rung.")
    factor: int = Field(default=3, ge=2, description="One of so many goes on; the next rung is so many times as far.")


class SearchConfig(BaseModel):
    """Everything a search depends on; every field has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    space: dict[str, Any] = Field(
        default={"name": "efficientnetv2", "scale": "s"},
        description="A name, {name, options…}, the path of a space file, a space written out, or a single network.",
    )
    data: DataConfig = Field(default=DataConfig(), description="The images, and how they are split.")
    train: TrainConfig = Field(default=TrainConfig(), description="How each candidate is trained.")
    fidelity: Fidelity = Field(default=Fidelity(), description="How much training each candidate gets.")
    step_time: StepTimeConfig = Field(
        default=StepTimeConfig(), description="The target training whose step is timed; or the method alone."
    )
    max_params: int | None = Field(
        default=None, ge=1, description="Most trainable parameters; what has more is told infeasible, never trained."
    )
    max_macs: int | None = Field(default=None, ge=1, description="Most multiply-adds for an image; likewise.")
    max_step_time_s: float | None = Field(
        default=None, gt=0, description="Most seconds that a step of the target training may take, as predicted."
    )
    max_memory_gib: float | None = Field(
        default=None, gt=0, description="Most that a step of the target training may hold, GiB; predicted."
    )
    out_of_memory: Literal["infeasible", "micro_batches"] = Field(
        default="infeasible",
        description="What becomes of a candidate that does not fit: a verdict, or batches in parts, S measured so.",
    )
    w: Exponent = Field(default=PAPER_W, description="Exponent of step time in the reward.")
    v: Exponent = Field(default=PAPER_V, description="Exponent of parameters in the reward.")
    objectives: tuple[Objective, ...] = Field(
        default=(), strict=False, description="Search a Pareto front of these; empty: maximise the reward."
    )
    sampler: Annotated[str, AfterValidator(require_sampler)] = Field(
        default="known-cost", description=f"One of {', '.join(SAMPLER_NAMES)}."
    )
    warm_start: tuple[Path, ...] = Field(
        default=(), strict=False, description="Directories of earlier runs on this space, for the sampler known-cost."
    )
    pruners: tuple[Literal["known-cost", "halving", "hyperband"], ...] = Field(
        default=(),
        strict=False,
        description="What ends trainings early: known-cost, where they cannot lead any more; halving or hyperband, "
        "where others are ahead at a rung.",
    )
    pruning_confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="How sure known-cost is that a candidate cannot lead any more."
    )
    rungs: RungConfig = Field(default=RungConfig(), description="Where halving and hyperband compare candidates.")
    trials: int = Field(default=100, ge=1, description="Candidates to judge, the backbone among them.")
    finalists: int = Field(default=3, ge=0, description="Leaders that are trained again before one is named best.")
    finalist_seeds: int = Field(default=2, ge=1, description="Further trainings of each finalist and of the backbone.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of proposals and trainings.")
    timeout_s: float | None = Field(default=None, gt=0, description="Propose nothing more after this many seconds.")
    executor: Literal["local", "ray"] = Field(
        default="local", description="Where candidates are trained: processes of this machine, or a Ray cluster."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Candidates trained at once; by default 1 on this machine, as many as fit on a cluster.",
    )
    cluster: ClusterConfig = Field(default=ClusterConfig(), description="What a trial needs of a Ray cluster.")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of a worker; by default the cores divided by the workers, or cluster.cpus_per_trial.",
    )
    trial_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Longest a trial may take, waiting for its device included, before its worker counts as dead.",
    )
    device: str = Field(default="auto", min_length=1, description="auto, cpu, cuda, cuda:N or mps.")
    max_retries: int = Field(default=2, ge=0, description="Further attempts for a candidate whose worker died.")
    checkpoint_every_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds between two checkpoints of a trial, from which its next attempt goes on; 0: none.",
    )
    out: Path = Field(default=Path("runs/search"), strict=False, description="The run directory.")

    @field_validator("space", mode="before")
    @classmethod
    def _space_mapping(cls, value: object) -> object:
        if isinstance(value, str | Path):
            is_file = str(value).endswith((".yaml", ".yml"))
            value = space_to_mapping(read_space(Path(value))) if is_file else {"name": value}
        if isinstance(value, Mapping):
            _space_from(value)
        return value

    @field_validator("step_time", mode="before")
    @classmethod
    def _step_time_method(cls, value: object) -> object:
        return {"method": value} if isinstance(value, str) else value

    @field_validator("objectives")
    @classmethod
    def _different_objectives(cls, value: tuple[Objective, ...]) -> tuple[Objective, ...]:
        if len(set(value)) != len(value) or len(value) == 1:
            raise ValueError(f"must be empty or name two or three different ones of {', '.join(OBJECTIVES)}")
        return value

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        backbone, size = self.search_space().backbone, self.step_time.resolution
        try:
            self.fidelity.require_fit(backbone)
        except ValueError as error:
            raise ValueError(f"fidelity.{error}") from None
        if size is not None and size < (stride := backbone.total_stride):
            raise ValueError(f"step_time.resolution must be at least the space's total stride {stride}, got {size}")
        return self

    @model_validator(mode="after")
    def _sampler_takes_objectives(self) -> Self:
        if self.objectives and self.sampler not in MULTI_OBJECTIVE_SAMPLERS:
            known = ", ".join(MULTI_OBJECTIVE_SAMPLERS)
            raise ValueError(f"several objectives need one of the samplers {known}, got {self.sampler}")
        if self.objectives and self.sampler == "known-cost":
            if "accuracy" not in self.objectives:
                raise ValueError("the sampler known-cost needs accuracy among the objectives: all else is known")
            if "step_time" in self.objectives and self.step_time.method == "measured":
                raise ValueError("the sampler known-cost needs known step times, got step_time.method measured")
        return self

    @field_validator("pruners", mode="before")
    @classmethod
    def _pruner_alone(cls, value: object) -> object:
        """One may stand without a list."""
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _pruners_fit(self) -> Self:
        names = ", ".join(self.pruners)
        if len(set(self.pruners)) < len(self.pruners) or {"halving", "hyperband"} <= set(self.pruners):
            raise ValueError(f"pruners must be different ones, and of halving and hyperband one, got {names}")
        if self.pruners and self.objectives:
            raise ValueError(f"pruners need one objective, the reward, got {names} with {', '.join(self.objectives)}")
        if self.pruners and self.step_time.method == "measured":
            raise ValueError(f"pruners need known step times, got {names} with step_time.method measured")
        if {"halving", "hyperband"} & set(self.pruners) and self.rungs.first >= self.fidelity.epochs:
            raise ValueError(
                f"rungs.first must be below fidelity.epochs {self.fidelity.epochs} for {names}, got {self.rungs.first}"
            )
        return self

    @model_validator(mode="after")
    def _cluster_deals_devices_out(self) -> Self:
        if self.executor == "ray" and self.device.startswith("cuda:"):
            raise ValueError(f"device must be auto, cpu, cuda or mps where Ray deals GPUs out, got {self.device}")
        return self

    @model_validator(mode="after")
    def _one_meaning_of_step_time(self) -> Self:
        if len(self.step_time.targets) > 1 and self.out_of_memory == "micro_batches":
            raise ValueError(
                "out_of_memory must be infeasible with several step_time.targets, got micro_batches: the step of a "
                "batch in parts is measured, which one machine alone can"
            )
        return self

    @model_validator(mode="after")
    def _targets_are_of_a_cluster(self) -> Self:
        if self.step_time.targets and self.executor != "ray":
            raise ValueError(f"step_time.targets are machines of a Ray cluster, got executor {self.executor}")
        return self

    @model_validator(mode="after")
    def _limits_are_known(self) -> Self:
        if self.max_step_time_s is not None and self.step_time.method == "measured":
            raise ValueError(
                "max_step_time_s needs step times that are known beforehand, got step_time.method measured"
            )
        return self

    @model_validator(mode="after")
    def _earlier_runs_are_used(self) -> Self:
        if self.warm_start and self.sampler != "known-cost":
            raise ValueError(f"warm_start needs the sampler known-cost, got {self.sampler}")
        if self.warm_start and self.step_time.method == "measured":
            raise ValueError("warm_start needs known step times, got step_time.method measured")
        if len(set(self.warm_start)) < len(self.warm_start):
            raise ValueError(f"warm_start must name different runs, got {', '.join(map(str, self.warm_start))}")
        if self.out.absolute() in self.warm_start:
            raise ValueError(f"warm_start must name other runs than out, got {self.out}")
        return self

    def search_space(self) -> SearchSpace:
        return _space_from(self.space)

    def fingerprint(self) -> dict[str, object]:
        """The fields that decide what a run's results mean, as plain data."""
        # How images are read, and finalists measured, changes nothing that the search learns.
        technical = {"data": {"memory_limit_gib", "num_workers"}, "step_time": {"visits", "budget_s", "inference"}}
        return self.model_dump(mode="json", include=set(FINGERPRINT_FIELDS), exclude=technical)

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump(mode="json"))


def read_config(
    path: Path, overrides: Mapping[str, object] | None = None, *, include: Sequence[Path] = ()
) -> SearchConfig:
    """Read a recipe and override it.

    Args:
        path: A YAML file.
        overrides: Values by key; ``"train.lr"`` reaches into a part.
        include: Files that outweigh the recipe, the last one most, and not the overrides.

    Raises:
        ValueError: In one line that names path, key, rule and value.
    """
    return make_config(read_yaml(path), overrides or {}, source=str(path), folder=path.parent, include=include)


def make_config(
    values: Mapping[str, object],
    overrides: Mapping[str, object],
    *,
    source: str = "flags",
    folder: Path = Path(),
    include: Sequence[Path] = (),
) -> SearchConfig:
    """Make a configuration from plain data; a space file is looked for beside the recipe first.

    What the recipe includes itself it outweighs; ``include`` is as of `read_config`.

    Raises:
        ValueError: In one line that names source, key, rule and value.
    """
    own = {key: value for key, value in values.items() if key != INCLUDE}
    beneath = included_files(values, folder=folder, source=source)
    return validated(
        SearchConfig,
        merge([*map(_located_part, beneath), _located_space(own, folder), *map(_located_part, include)]),
        overrides,
        source=" with ".join(map(str, [source, *beneath, *include])),
        complete=lambda merged: _absolute_runs(_absolute_tables(absolute_images(merged), folder)),
    )


def _space_from(value: Mapping[str, Any]) -> SearchSpace:
    if "stages" in value:
        return space_from_mapping(value)
    if "name" not in value:
        raise ValueError("a space needs a name, or stages of its own")
    options = {key: option for key, option in value.items() if key != "name"}
    return get_space(value["name"], **options)


def _located_part(path: Path) -> dict[str, object]:
    """What a file that is included says, its own files named from its place."""
    return _absolute_tables(_located_space(read_part(path), path.parent), path.parent)


def _located_space(values: dict[str, object], folder: Path) -> dict[str, object]:
    space = values.get("space")
    if isinstance(space, str) and space.endswith((".yaml", ".yml")) and (folder / space).is_file():
        values["space"] = str(folder / space)
    return values


def _absolute_tables(values: dict[str, object], folder: Path) -> dict[str, object]:
    """Name step-time tables from the root; a file is looked for beside the recipe first."""
    setting = values.get("step_time")
    tables = setting.get("tables") if isinstance(setting, Mapping) else None
    if not isinstance(setting, Mapping) or not isinstance(tables, list | tuple):
        return values
    values["step_time"] = {**setting, "tables": [_absolute_table(table, folder) for table in tables]}
    return values


def _absolute_runs(values: dict[str, object]) -> dict[str, object]:
    """Name earlier runs from the root; one may stand alone."""
    runs = values.get("warm_start")
    runs = [runs] if isinstance(runs, str | Path) else runs
    if isinstance(runs, list | tuple) and all(isinstance(run, str | Path) for run in runs):
        values["warm_start"] = [Path(run).expanduser().absolute() for run in runs]
    return values


def _absolute_table(table: object, folder: Path) -> object:
    """A table may be given by its file alone."""
    table = {"file": table} if isinstance(table, str) else table
    if not isinstance(table, Mapping) or not isinstance(table.get("file"), str | Path):
        return table
    path = Path(table["file"]).expanduser()
    beside = folder / path
    return {**table, "file": (beside if beside.is_file() else path).absolute()}
