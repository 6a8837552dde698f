"""How a candidate is trained, at which fidelity, on which images: settings only, read without torch."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from search_spaces.architecture import Architecture
from search_spaces.scaling import compound

from ..data.source_names import SOURCES_TEXT

SETTINGS = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

OptimizerName = Literal["adamw", "sgd", "nadamw", "rmsproptf", "lamb", "lion"]
LrSchedule = Literal["cosine", "exponential", "constant"]

Share = Annotated[float, Field(gt=0, lt=1)]
"""A part of the whole, strictly between none and all."""


class TrainConfig(BaseModel):
    """How a network is trained; the defaults suit the short training of small networks."""

    model_config = SETTINGS

    batch_size: int = Field(
        default=32, ge=2, le=65_536, description="Images per step; at least 2, since batch normalisation needs two."
    )
    optimizer: OptimizerName = Field(default="adamw", description="timm's name of the optimizer.")
    lr: float = Field(
        default=8e-3, gt=0, description="Peak learning rate, reached after the warm-up; not scaled by batch size."
    )
    weight_decay: float = Field(default=0.05, ge=0, description="Decay of weight matrices; biases and norms have none.")
    warmup_epochs: float = Field(
        default=1.0, ge=0, description="Epochs in which the learning rate rises linearly; at most half of the training."
    )
    lr_schedule: LrSchedule = Field(
        default="cosine", description="After the warm-up: half a cosine to zero, exponential steps, or constant."
    )
    lr_decay: float = Field(default=0.97, gt=0, le=1, description="Factor of each step of the exponential schedule.")
    lr_decay_epochs: float = Field(default=2.4, gt=0, description="Epochs between its steps, counted from the start.")
    optimizer_eps: float | None = Field(
        default=None, gt=0, description="Epsilon of the optimizer; by default timm's. TensorFlow's RMSProp: 0.001."
    )
    clip_grad_norm: float | None = Field(default=None, gt=0, description="Largest norm of all gradients together.")
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Of an exponential moving average of the weights; by default none is kept.",
    )
    norm_momentum: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of a batch in batch norm's running statistics; TensorFlow's 0.99 is 0.01.",
    )
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="Share of a label's weight spread over all classes."
    )
    drop_rate: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the classifier, a probability.")
    drop_path_rate: float = Field(
        default=0.0, ge=0, lt=1, description="Stochastic depth of the last block, a probability; earlier blocks less."
    )
    augment: bool = Field(
        default=True, description="Random shifts, and mirror images where a mirrored image keeps its label."
    )
    crop_area: float = Field(
        default=0.35, gt=0, le=1, description="Least share of a streamed image that augmentation crops it to."
    )


class Fidelity(BaseModel):
    """How much of a full training the accuracy proxy spends on one candidate."""

    model_config = SETTINGS

    epochs: int = Field(default=8, ge=1, description="Passes over the training images.")
    resolution: int | None = Field(
        default=None, ge=1, description="Training size, pixels per side; by default the architecture's own."
    )
    data_share: float = Field(
        default=1.0, gt=0, le=1, description="Stratified share of the training images that is used."
    )
    width: float = Field(
        default=1.0, gt=0, le=1, description="Multiplies the channels of the network that stands in for the candidate."
    )

    def stand_in(self, architecture: Architecture) -> Architecture:
        """What is trained in a candidate's place: itself, or a narrower network of the same blocks.

        Raises:
            ValueError: If a stage of it would have fewer than 8 channels.
        """
        return architecture if self.width == 1.0 else compound(architecture, width=self.width)

    def require_fit(self, architecture: Architecture) -> None:
        """Make sure that an architecture, and all of its widths and strides, can be trained so.

        Raises:
            ValueError: In one line, with the key and the value.
        """
        stride = architecture.total_stride
        if self.resolution is not None and self.resolution < stride:
            raise ValueError(f"resolution must be at least the space's total stride {stride}, got {self.resolution}")
        try:
            self.stand_in(architecture)
        except ValueError as error:
            raise ValueError(f"width {self.width:g} is too small for the space: {error}") from None


class DataConfig(BaseModel):
    """Which images, and how they are split."""

    model_config = SETTINGS

    source: str = Field(
        default="digits", min_length=1, description=f"{SOURCES_TEXT}; what each needs is in docs/data.md."
    )
    root: Path | None = Field(
        default=None, strict=False, description="Folder that holds the data set's files; by default a cache folder."
    )
    minival_share: Share = Field(
        default=0.1, description="Share of the images that judges candidates; of ImageNet at most 25,000 images."
    )
    test_share: Share = Field(
        default=0.1, description="Share of the images kept for the end; only where the data set has no test split."
    )
    split_seed: int = Field(default=0, ge=0, description="Seed of the split; the same for every candidate.")
    memory_limit_gib: float = Field(
        default=2.0,
        ge=0,
        description="Largest set that is held in memory at its working resolution, a byte per pixel and channel, GiB; "
        "beyond, image files are streamed from disk, and other sets are resized batch by batch.",
    )
    num_workers: int = Field(default=2, ge=1, description="Processes that read images which are streamed from disk.")
    corrupt_images: Literal["fail", "skip"] = Field(
        default="fail",
        description="fail: the first image that cannot be read ends it, and is named. skip: go on without them; in a "
        "training the next image takes the place of one, when judging none does.",
    )
