"""The step that is timed is the step that trains: forward, loss, backward, optimizer, zero_grad."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from .device import Device, flush_denormals
from .execution import ExecutionMode
from .micro_batches import largest_part
from .training.config import TrainConfig
from .training.optimizer import make_optimizer
from .training.schedule import WarmupCosine


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """A network in training, advanced by one batch per call."""

    network: nn.Module
    """The network itself, on the device; its weights change in place."""
    optimizer: torch.optim.Optimizer
    device: Device
    mode: ExecutionMode
    label_smoothing: float
    schedule: WarmupCosine | None
    """Learning rate per step; None keeps the optimizer's."""
    micro_batches: int
    """Parts of a batch that are computed one after another to save memory. Gradients and loss are those of the whole
    batch, except that batch normalisation takes its statistics over each part alone, and follows them with as many
    steps of its running averages."""
    _forward: Callable[[Tensor], Tensor]
    _scaler: torch.amp.GradScaler
    steps_done: int = field(default=0)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Train on one batch that lies on the device; images (N, C, H, W) float, labels (N,) int64.

        Returns:
            The mean loss of the batch, detached and still on the device: reading it would wait for the device.
        """
        loss = self.backward(images, labels)
        self.update()
        return loss

    def backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The first half of a step: gradients of the mean loss, times :attr:`loss_scale`, in the weights' ``grad``.

        Raises:
            ValueError: If the batch is too small for its parts.
        """
        num_images = len(labels)
        largest_part(num_images, self.micro_batches)
        parts = zip(images.tensor_split(self.micro_batches), labels.tensor_split(self.micro_batches), strict=True)
        losses = [self._backward(part, answers, share=len(answers) / num_images) for part, answers in parts]
        return torch.stack(losses).sum()

    def _backward(self, images: Tensor, labels: Tensor, *, share: float) -> Tensor:
        """Add gradients of one part's mean loss times its share of the batch."""
        images = images.contiguous(memory_format=self.mode.memory_format)
        with self.mode.autocast(self.device.torch_device):
            logits = self._forward(images)
            loss = share * functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._scaler.scale(loss).backward()
        return loss.detach()

    def update(self) -> None:
        """The second half of the step: the optimizer moves the weights and the gradients are dropped."""
        if self.schedule is not None:
            learning_rate = self.schedule.at(self.steps_done)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1

    @property
    def loss_scale(self) -> float:
        """Factor in the gradients between the two halves; 1 unless the mode is float16."""
        return self._scaler.get_scale()


def make_training_step(
    network: nn.Module,
    *,
    config: TrainConfig,
    mode: ExecutionMode,
    device: Device,
    schedule: WarmupCosine | None = None,
    micro_batches: int = 1,
) -> TrainingStep:
    """Bring a network to the device and make it ready to be trained, or timed.

    Args:
        network: Moved in place; left in training mode.
        config: Optimizer and loss.
        mode: How the step is executed.
        device: Where.
        schedule: Learning rate per step; constant at the peak without one.
        micro_batches: Parts each batch is computed in, see :attr:`TrainingStep.micro_batches`.
    """
    flush_denormals()
    network = mode.place(network.train(), device.torch_device)
    return TrainingStep(
        network=network,
        optimizer=make_optimizer(network, config),
        device=device,
        mode=mode,
        label_smoothing=config.label_smoothing,
        schedule=schedule,
        micro_batches=micro_batches,
        _forward=torch.compile(network) if mode.compile else network,
        # Gradients of float16 underflow unless the loss is scaled; for other dtypes the scaler does nothing.
        _scaler=torch.amp.GradScaler(device.kind, enabled=mode.dtype == "float16"),
    )
