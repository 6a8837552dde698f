"""The step whose cost is asked for: everything it depends on but the architecture and the device. Needs no torch."""

from dataclasses import dataclass, field
from typing import Literal

from search_spaces.architecture import Architecture

from .execution import ExecutionMode
from .training.config import OptimizerName

Phase = Literal["training", "inference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One step of the target training, or of inference."""

    resolution: int | None = None
    """Pixels per side; None means each architecture's own."""
    batch_size: int = 32
    mode: ExecutionMode = field(default_factory=ExecutionMode)
    num_classes: int = 1000
    in_channels: int = 3
    optimizer: OptimizerName = "adamw"
    """timm's name."""
    phase: Phase = "training"
    """Training: forward, loss, backward, optimizer, zero_grad. Inference: forward, without gradients."""
    micro_batches: int = 1
    """Parts that a batch is split into, gradients accumulated, where a whole batch does not fit into memory."""

    def resolution_of(self, architecture: Architecture) -> int:
        """Pixels per side at which this architecture's step is meant."""
        return self.resolution or architecture.resolution
