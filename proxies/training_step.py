"""The step that is timed is the step that trains: forward, loss, backward, optimizer, zero_grad."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from .device import Device, flush_denormals
from .execution import ExecutionMode
from .micro_batches import largest_part
from .training.config import TrainConfig
from .training.optimizer import make_optimizer


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """A network in training, advanced by one batch per call."""

    network: nn.Module
    """The network itself, on the device; its weights change in place."""
    optimizer: torch.optim.Optimizer
    device: Device
    mode: ExecutionMode
    label_smoothing: float
    clip_grad_norm: float | None
    """Largest norm of all gradients together."""
    ema: ModelEmaV3 | None
    """A moving average of weights and statistics, moved along with every step; None where none is kept."""
    micro_batches: int
    """Parts of a batch that are computed one after another to save memory. Gradients and loss are those of the whole
    batch, except that batch normalisation takes its statistics over each part alone, and follows them with as many
    steps of its running averages."""
    _forward: Callable[[Tensor], Tensor]
    _scaler: torch.amp.GradScaler

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Train on one batch that lies on the device.

        Args:
            images: (N, C, H, W) float.
            targets: (N,) int64 labels, or (N, num_classes) float shares of mixed images.

        Returns:
            The mean loss of the batch, detached and still on the device: reading it would wait for the device.
        """
        loss = self.backward(images, targets)
        self.update()
        return loss

    def backward(self, images: Tensor, targets: Tensor) -> Tensor:
        """The first half of a step: gradients of the mean loss, times :attr:`loss_scale`, in the weights' ``grad``.

        Raises:
            ValueError: If the batch is too small for its parts.
        """
        num_images = len(targets)
        largest_part(num_images, self.micro_batches)
        parts = list(
            zip(images.tensor_split(self.micro_batches), targets.tensor_split(self.micro_batches), strict=True)
        )
        losses = []
        for place, (part, answers) in enumerate(parts, start=1):
            with self._gradients_stay_here(until_last=place < len(parts)):
                losses.append(self._backward(part, answers, share=len(answers) / num_images))
        return torch.stack(losses).sum()

    def _gradients_stay_here(self, *, until_last: bool) -> contextlib.AbstractContextManager[object]:
        """Processes exchange gradients once a step: with the last part of the batch."""
        if until_last and isinstance(self._forward, DistributedDataParallel):
            return self._forward.no_sync()
        return contextlib.nullcontext()

    def _backward(self, images: Tensor, targets: Tensor, *, share: float) -> Tensor:
        """Add gradients of one part's mean loss times its share of the batch."""
        images = images.contiguous(memory_format=self.mode.memory_format)
        with self.mode.autocast(self.device.torch_device):
            logits = self._forward(images)
            loss = share * functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        self._scaler.scale(loss).backward()
        return loss.detach()

    def update(self) -> None:
        """The second half of the step: the optimizer moves the weights and the gradients are dropped."""
        if self.clip_grad_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def average_weights(self, steps_done: int) -> None:
        """Let the moving average follow the weights.

        Early on it follows faster, as TensorFlow's does when told the number of steps: at most (1 + n) ÷ (10 + n).

        Args:
            steps_done: n, this one included.
        """
        if self.ema is not None:
            self.ema.update(self.network, step=steps_done + 2)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def set_learning_rate(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def set_drop_rate(self, drop_rate: float) -> None:
        """Dropout before the classifier, a probability, which timm's networks read at every step."""
        self.network.drop_rate = drop_rate  # type: ignore[assignment]  # a number among a module's attributes

    @property
    def judged_network(self) -> nn.Module:
        """The network with the weights that count: their moving average, where one is kept."""
        return self.network if self.ema is None else self.ema.module

    @property
    def loss_scale(self) -> float:
        """Factor in the gradients between the two halves; 1 unless the mode is float16."""
        return self._scaler.get_scale()

    def state(self) -> dict[str, object]:
        """All that changes as it trains, as tensors and plain values; :meth:`load_state` takes it back."""
        return {
            "network": self.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state(self, state: dict[str, object]) -> None:
        """Go on from there; the network, optimizer and mode must be those that the state was taken of."""
        self.optimizer.zero_grad(set_to_none=True)  # a step that failed half-way leaves gradients of its first parts
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        self._scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]


def make_training_step(
    network: nn.Module,
    *,
    config: TrainConfig,
    mode: ExecutionMode,
    device: Device,
    micro_batches: int = 1,
    world_size: int = 1,
    sync_batch_norm: bool = False,
) -> TrainingStep:
    """Bring a network to the device and make it ready to be trained, or timed.

    Args:
        network: Moved in place; left in training mode.
        config: Optimizer, loss and average.
        mode: How the step is executed.
        device: Where.
        micro_batches: Parts each batch is computed in, see :attr:`TrainingStep.micro_batches`.
        world_size: Processes that train it together, gradients averaged; the process group must be there.
        sync_batch_norm: Take batch normalisation's statistics over all processes; on CUDA only.
    """
    flush_denormals()
    _set_norm_momentum(network, config.norm_momentum)
    if sync_batch_norm and world_size > 1:
        network = convert_sync_batchnorm(network)
    network = mode.place(network.train(), device.torch_device)
    return TrainingStep(
        network=network,
        optimizer=make_optimizer(network, config),
        device=device,
        mode=mode,
        label_smoothing=config.label_smoothing,
        clip_grad_norm=config.clip_grad_norm,
        ema=None if config.ema_decay is None else _average_of(network, config.ema_decay),
        micro_batches=micro_batches,
        _forward=_forward_of(network, mode, device, world_size),
        # Gradients of float16 underflow unless the loss is scaled; for other dtypes the scaler does nothing.
        _scaler=torch.amp.GradScaler(device.kind, enabled=mode.dtype == "float16"),
    )


def _forward_of(network: nn.Module, mode: ExecutionMode, device: Device, world_size: int) -> Callable[[Tensor], Tensor]:
    forward = torch.compile(network) if mode.compile else network
    if world_size == 1:
        return forward
    device_ids = None if device.kind == "cpu" else [device.torch_device]
    return DistributedDataParallel(forward, device_ids=device_ids)


def _average_of(network: nn.Module, decay: float) -> ModelEmaV3:
    # γ = 9 and power 1 make timm's warm-up 1 - 9 ÷ (10 + n): TensorFlow's (1 + n) ÷ (10 + n).
    return ModelEmaV3(network, decay=decay, use_warmup=True, warmup_gamma=9.0, warmup_power=1.0)


def _set_norm_momentum(network: nn.Module, momentum: float) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum
