"""Progressive learning: stages of growing image size, each with its strength of regularisation. Needs no torch."""

from dataclasses import dataclass


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
        for name, most in (("drop_rate", 1), ("cutout", 1), ("randaugment", 30.0001), ("mixup", 100), ("cutmix", 100)):
            if not 0 <= getattr(self, name) < most:
                raise ValueError(f"{name} of a stage must lie in [0, {most:g}), got {getattr(self, name)}")
        if not self.lr_scale > 0:
            raise ValueError(f"lr_scale of a stage must be positive, got {self.lr_scale}")
