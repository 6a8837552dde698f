"""What a full training is: one frozen, validated value, read from strict YAML and overridden by flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from proxies.execution import parse_mode
from proxies.training.config import SETTINGS, DataConfig, TrainConfig
from search_spaces.architecture import Architecture, parse
from search_spaces.strict_yaml import dump_yaml, read_yaml

from ..config_values import absolute_images, validated

Magnitude = Annotated[float, Field(ge=0, le=30)]
Alpha = Annotated[float, Field(ge=0, lt=100)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=1, le=4096)]

JUDGE_STEPS = 5
"""Between looks at the judging images, at least: small sets have epochs of a step or two."""

# A training directory belongs to one training: these fields may not change when it is resumed.
FINGERPRINT_FIELDS = (
    "architecture", "weights", "padding", "norm_eps", "data", "train", "progressive", "test_size", "epochs", "steps",
    "batch", "lr_batch_size", "max_batch_size", "lr_scaling", "mode", "dtype", "sync_batch_norm",
    "deterministic", "seed",
)  # fmt: skip


class ProgressiveConfig(BaseModel):
    """How image size and regularisation grow over the stages."""

    model_config = SETTINGS

    preset: Literal["auto", "paper", "code"] = Field(
        default="auto",
        description="Ranges as EfficientNetV2's paper or its released code has them for S, M and L; auto: for any "
        "network, by its parameters for each training image and the epochs.",
    )
    resize: Literal["progressive", "random", "fixed"] = Field(
        default="progressive",
        description="progressive: sizes grow from stage to stage; random: each epoch draws one of their sizes; "
        "fixed: the last size throughout.",
    )
    adaptive: bool = Field(
        default=True, description="Regularisation grows with the image size; else it is the last stage's throughout."
    )
    num_stages: int = Field(default=4, ge=1, le=1000, description="Stages of as many epochs each, one at least.")
    image_size: tuple[Pixels, Pixels] | None = Field(
        default=None, strict=False, description="First and last, pixels per side; by default the preset's."
    )
    randaugment: tuple[Magnitude, Magnitude] | None = Field(
        default=None, strict=False, description="First and last magnitude, 0 to 30."
    )
    mixup: tuple[Alpha, Alpha] | None = Field(default=None, strict=False, description="First and last α of mixup.")
    cutmix: tuple[Alpha, Alpha] | None = Field(default=None, strict=False, description="First and last α of CutMix.")
    dropout: tuple[Probability, Probability] | None = Field(
        default=None, strict=False, description="First and last dropout, probabilities."
    )
    cutout: float = Field(default=0.0, ge=0, lt=1, description="Side of a blanked square ÷ side of the image.")


class TrainingConfig(BaseModel):
    """Everything a full training depends on; every field but the architecture has a default."""

    model_config = SETTINGS

    architecture: str = Field(min_length=1, description="Its text; the resolution is that of the last stage.")
    weights: Path | None = Field(
        default=None, strict=False, description="A file to start from; another number of classes gets a new classifier."
    )
    padding: Literal["", "same"] | None = Field(
        default=None, description="Of the network; by default as the weights say, else symmetric."
    )
    norm_eps: float | None = Field(
        default=None, gt=0, description="Epsilon of batch norms; by default as the weights say, else 0.001."
    )
    data: DataConfig = Field(default=DataConfig(), description="The images, and how they are split.")
    train: TrainConfig = Field(
        default=TrainConfig(ema_decay=0.9999), description="Optimizer, learning rate, loss and average."
    )
    progressive: ProgressiveConfig = Field(default=ProgressiveConfig(), description="Image sizes and regularisation.")
    test_size: int | None = Field(
        default=None, ge=1, description="Pixels per side at which it is judged; by default as in the last stage."
    )
    epochs: int = Field(default=30, ge=1, description="Passes over the training images, all stages together.")
    steps: int | None = Field(default=None, ge=1, description="In place of epochs: rounded up to whole ones.")
    batch: Literal["constant", "auto"] = Field(
        default="constant",
        description="constant: train.batch_size at every stage; auto: the largest that memory allows, doubled from it.",
    )
    lr_batch_size: int | None = Field(
        default=None, ge=2, description="Batch that train.lr is meant for; by default train.batch_size."
    )
    max_batch_size: int = Field(default=4096, ge=2, description="No stage takes more at once, of all processes.")
    lr_scaling: Literal["auto", "linear", "sqrt", "none"] = Field(
        default="auto", description="Learning rate by batch size; auto: sqrt for adaptive optimizers, else linear."
    )
    memory_gib: float | None = Field(
        default=None,
        gt=0,
        description="Of a step, in each process; by default nine tenths of what is free.",
    )
    micro_batches: int | None = Field(
        default=None, ge=1, description="Parts of a batch; by default as many as memory asks for."
    )
    mode: str = Field(default="auto", description="How steps are executed, as bfloat16-channels_last; auto: measured.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="The only number format that mode auto may choose."
    )
    activation_checkpointing: bool = Field(
        default=False, description="Recompute blocks on the way back: less memory, about a third more time."
    )
    sync_batch_norm: bool = Field(default=False, description="Statistics over all processes; on CUDA only.")
    deterministic: bool = Field(
        default=False, description="Same seed, same weights: deterministic kernels, and one thread on a CPU."
    )
    judge_every: int | None = Field(
        default=None,
        ge=1,
        description=f"Epochs between looks at the judging images; by default {JUDGE_STEPS} steps.",
    )
    checkpoint_minutes: float = Field(default=10.0, gt=0, description="Between checkpoints in mid-epoch.")
    track: tuple[Literal["wandb", "mlflow"], ...] = Field(
        default=(), strict=False, description="Where curves go beside TensorBoard."
    )
    run_name: str | None = Field(default=None, min_length=1, description="Of the run there; by default the directory.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Of weights, order, augmentation and dropout.")
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads; by default all cores.")
    device: str = Field(default="auto", min_length=1, description="auto, cpu, cuda, cuda:N or mps.")
    out: Path = Field(default=Path("runs/train"), strict=False, description="The training directory.")

    @field_validator("architecture")
    @classmethod
    def _can_be_parsed(cls, value: str) -> str:
        return str(parse(value))

    @field_validator("mode")
    @classmethod
    def _is_a_mode(cls, value: str) -> str:
        return value if value == "auto" else str(parse_mode(value))

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        stride = self.parsed().total_stride
        asked = {"progressive.image_size": self.progressive.image_size or (), "test_size": (self.test_size or stride,)}
        for name, sizes in asked.items():
            for size in sizes:
                if size < stride:
                    raise ValueError(f"{name} must be at least the total stride {stride}, got {size}")
        if list(asked["progressive.image_size"]) != sorted(asked["progressive.image_size"]):
            raise ValueError(f"progressive.image_size must not shrink, got {self.progressive.image_size}")
        return self

    @model_validator(mode="after")
    def _steps_are_of_one_size(self) -> Self:
        if self.steps is not None and self.batch == "auto":
            raise ValueError("steps are counted in batches of one size, so batch must be constant, got auto")
        return self

    @model_validator(mode="after")
    def _dropout_belongs_to_stages(self) -> Self:
        if self.train.drop_rate:
            raise ValueError(
                "train.drop_rate is for short trainings; give progressive.dropout, its first and last value, "
                f"got {self.train.drop_rate}"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_a_mode(self) -> Self:
        if self.mode != "auto" and self.dtype != "auto" and parse_mode(self.mode).dtype != self.dtype:
            raise ValueError(f"dtype must be that of mode {self.mode}, or auto, got {self.dtype}")
        return self

    def parsed(self) -> Architecture:
        return parse(self.architecture)

    def fingerprint(self) -> dict[str, object]:
        """The fields that decide what the weights become, as plain data."""
        # The limit of memory stays: sets beyond it are cropped where others are shifted. Images have a digest.
        technical = {"data": {"num_workers", "root", "corrupt_images"}}
        return self.model_dump(mode="json", include=set(FINGERPRINT_FIELDS), exclude=technical)

    def to_yaml(self) -> str:
        return dump_yaml(self.model_dump(mode="json"))


def read_training_config(path: Path, overrides: Mapping[str, object] | None = None) -> TrainingConfig:
    """Read a recipe, or the configuration of a training directory, and override it.

    Args:
        path: A YAML file.
        overrides: Values by key; ``"train.lr"`` reaches into a part.

    Raises:
        ValueError: In one line that names path, key, rule and value.
    """
    return make_training_config(read_yaml(path), overrides or {}, source=str(path))


def make_training_config(
    values: Mapping[str, object], overrides: Mapping[str, object], *, source: str = "flags"
) -> TrainingConfig:
    """Make a configuration from plain data.

    Raises:
        ValueError: In one line that names source, key, rule and value.
    """
    return validated(
        TrainingConfig,
        values,
        overrides,
        source=source,
        complete=lambda merged: _absolute_weights(absolute_images(merged)),
    )


def _absolute_weights(values: dict[str, object]) -> dict[str, object]:
    weights = values.get("weights")
    if isinstance(weights, str | Path):
        values["weights"] = Path(weights).expanduser().absolute()
    return values
