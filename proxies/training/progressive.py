"""Progressive learning: stages of growing image size, each with its strength of regularisation. Needs no torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..data.passes import num_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressiveStage:
    """Some epochs of one image size and one strength of regularisation.

    Raises:
        ValueError: If a value is out of its range.
    """

    epochs: int
    resolution: int
    """Pixels per side."""
    batch_size: int
    """Images of a step, of all processes together."""
    micro_batches: int = 1
    """Parts each process computes its share of a batch in, gradients accumulated."""
    lr_scale: float = 1.0
    """Learning rate ÷ that of the configuration: larger batches take larger steps."""
    drop_rate: float = 0.0
    """Dropout before the classifier, a probability."""
    randaugment: float = 0.0
    """Magnitude on Google's scale; 0 leaves it out."""
    mixup: float = 0.0
    """α of the Beta distribution; 0 mixes nothing."""
    cutmix: float = 0.0
    """α of the Beta distribution; 0 pastes nothing."""
    cutout: float = 0.0
    """Side of the blanked square ÷ side of the image; 0 blanks nothing."""

    def __post_init__(self) -> None:
        for name in ("epochs", "resolution", "batch_size", "micro_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a stage must be at least 1, got {getattr(self, name)}")
        for name in ("drop_rate", "cutout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} of a stage must lie in [0, 1), got {getattr(self, name)}")
        for name, most in (("randaugment", 30), ("mixup", 100), ("cutmix", 100)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} of a stage must lie in [0, {most}], got {getattr(self, name)}")
        if not self.lr_scale > 0:
            raise ValueError(f"lr_scale of a stage must be positive, got {self.lr_scale}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEpoch:
    """One pass over the training images, in its place."""

    number: int
    """0…"""
    stage_number: int
    """0…"""
    stage: ProgressiveStage
    first_step: int
    """Steps of the training before it."""
    num_steps: int

    def progress(self, step: int) -> float:
        """Epochs done before this step of the training, a fraction in mid-epoch."""
        return self.number + (step - self.first_step) / self.num_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """All epochs and steps of a training, known before it begins.

    >>> stage = ProgressiveStage(epochs=2, resolution=32, batch_size=4)
    >>> [(epoch.number, epoch.first_step) for epoch in TrainingPlan(stages=(stage,), num_images=9).epochs()]
    [(0, 0), (1, 2)]

    Raises:
        ValueError: If there is no stage, or no image.
    """

    stages: tuple[ProgressiveStage, ...]
    num_images: int
    """Of the training set."""

    def __post_init__(self) -> None:
        if not self.stages or self.num_images < 1:
            raise ValueError(f"a training needs a stage and an image, got {len(self.stages)} and {self.num_images}")

    @property
    def num_epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    @property
    def num_steps(self) -> int:
        """Of all epochs."""
        return sum(stage.epochs * num_steps(self.num_images, stage.batch_size) for stage in self.stages)

    def epochs(self) -> Iterator[PlannedEpoch]:
        """Every epoch in order."""
        number = first_step = 0
        for place, stage in enumerate(self.stages):
            steps = num_steps(self.num_images, stage.batch_size)
            for _ in range(stage.epochs):
                yield PlannedEpoch(
                    number=number, stage_number=place, stage=stage, first_step=first_step, num_steps=steps
                )
                number, first_step = number + 1, first_step + steps
