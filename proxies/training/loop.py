"""The loop of a training: epochs of steps, which may be left after any step and taken up again."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.batches import Batches
from ..data.mixing import mix
from ..data.passes import TrainingPass
from ..infeasible import InfeasibleError
from ..seeds import derived_seed
from ..training_step import TrainingStep
from .distributed import ALONE, Processes
from .progressive import PlannedEpoch, ProgressiveStage, TrainingPlan
from .schedule import LearningRate


class NonFiniteLossError(InfeasibleError):
    """The loss has left the finite numbers: this training cannot go on as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """What is known when the last step of an epoch has been done."""

    planned: PlannedEpoch
    train_loss: float
    """Mean over the epoch's steps, of all processes."""
    learning_rate: float
    """Of its last step."""
    num_trained: int
    """Images of its steps, of all processes."""
    train_seconds: float
    """Of its steps."""


@dataclass(slots=True, kw_only=True)
class Training:
    """A network on its way through a plan.

    Everything random in a step is drawn from (seed, step, rank), and everything about an epoch's images from (seed,
    epoch): two trainings of one seed that stand at the same step go on alike, whatever was interrupted before. On the
    CPU, with one thread, to the last bit; elsewhere kernels may add in another order each time.

    Must run inside :meth:`Device.seeded`, which gives PyTorch's own generators back afterwards.
    """

    step: TrainingStep
    plan: TrainingPlan
    learning_rate: LearningRate
    seed: int
    num_classes: int
    processes: Processes = ALONE
    clock: Callable[[], float] = time.perf_counter
    steps_done: int = 0
    lr_factor: float = 1.0
    """In every learning rate; below 1 after a training that diverged was rolled back."""
    epoch_loss: Tensor = field(init=False)
    """Sum over the steps of the epoch it stands in; on the device."""
    epoch_seconds: float = 0.0
    """Spent in them."""

    def __post_init__(self) -> None:
        self.epoch_loss = torch.zeros((), device=self.step.device.torch_device)

    def epochs(
        self, train: Batches, *, after_step: Callable[[PlannedEpoch], None] | None = None
    ) -> Iterator[EpochDone]:
        """Train from where it stands to the end of the plan, and yield after every epoch.

        Args:
            train: What it learns from; as many images as the plan says.
            after_step: Called after every step but an epoch's last; what it raises ends the training, which then stands
                after that step.

        Raises:
            NonFiniteLossError: If the loss of an epoch is not finite.
        """
        for planned in self.plan.epochs():
            if self.steps_done < planned.first_step + planned.num_steps:
                done = self._train_epoch(train, planned, after_step)
                # Before it is told, so that a state taken then begins the next epoch.
                self.epoch_loss, self.epoch_seconds = torch.zeros_like(self.epoch_loss), 0.0
                yield done

    def _train_epoch(
        self, train: Batches, planned: PlannedEpoch, after_step: Callable[[PlannedEpoch], None] | None
    ) -> EpochDone:
        self.step.set_drop_rate(planned.stage.drop_rate)
        self.step.micro_batches = planned.stage.micro_batches
        learning_rate = 0.0
        start = self.clock()
        for images, labels in train.shuffled(self._pass(planned)):
            learning_rate = self._learning_rate(planned)
            self._take_step(images, labels, planned.stage, learning_rate)
            now = self.clock()
            self.epoch_seconds, start = self.epoch_seconds + now - start, now
            if after_step is not None and self.steps_done < planned.first_step + planned.num_steps:
                after_step(planned)
                start = self.clock()
        loss = self.mean_loss(planned)
        size = min(planned.stage.batch_size, len(train))
        return EpochDone(
            planned=planned,
            train_loss=loss,
            learning_rate=learning_rate,
            num_trained=planned.num_steps * size,
            train_seconds=self.epoch_seconds,
        )

    def mean_loss(self, planned: PlannedEpoch) -> float:
        """Of the steps done of this epoch, over all processes; reading it waits for the device.

        In float16, loss scaling waits at every step too, unless the optimizer is a fused one.

        Raises:
            NonFiniteLossError: If it is not finite.
        """
        num_steps = max(1, self.steps_done - planned.first_step)
        loss = self._read(lambda: self.processes.mean(self.epoch_loss / num_steps))
        if not math.isfinite(loss):
            raise NonFiniteLossError(f"loss is not finite in epoch {planned.number + 1}")
        return loss

    def own_loss(self) -> float:
        """Sum over the steps done of this epoch, in this process; reading it waits for the device."""
        return self._read(lambda: self.epoch_loss)

    def _read(self, value: Callable[[], Tensor]) -> float:
        """What is waited for are steps: they count as training time."""
        start = self.clock()
        number = value().item()
        self.epoch_seconds += self.clock() - start
        return number

    def _take_step(self, images: Tensor, labels: Tensor, stage: ProgressiveStage, learning_rate: float) -> None:
        self.step.device.seed(derived_seed(self.seed, "step", self.steps_done, self.processes.rank))
        images, targets = mix(images, labels, mixup=stage.mixup, cutmix=stage.cutmix, num_classes=self.num_classes)
        self.step.set_learning_rate(learning_rate)
        self.epoch_loss += self.step(images, targets)
        self.steps_done += 1
        self.step.average_weights(self.steps_done)

    def _learning_rate(self, planned: PlannedEpoch) -> float:
        begin, end = planned.progress(self.steps_done), planned.progress(self.steps_done + 1)
        return self.learning_rate.at(begin, end) * planned.stage.lr_scale * self.lr_factor

    def _pass(self, planned: PlannedEpoch) -> TrainingPass:
        stage = planned.stage
        return TrainingPass(
            seed=derived_seed(self.seed, "epoch", planned.number),
            batch_size=stage.batch_size,
            resolution=stage.resolution,
            randaugment=stage.randaugment,
            cutout=stage.cutout,
            first_step=max(0, self.steps_done - planned.first_step),
            rank=self.processes.rank,
            world_size=self.processes.size,
        )

    def state(self) -> dict[str, object]:
        """All that is needed to go on from here, as tensors and plain values; the plan is not in it."""
        return {
            **self.step.state(),
            "steps_done": self.steps_done,
            "lr_factor": self.lr_factor,
            "epoch_loss": self.epoch_loss.cpu(),
            "epoch_seconds": self.epoch_seconds,
        }

    def load_state(self, state: dict[str, object]) -> None:
        """Stand where the state was taken; the training must have been made with the same settings."""
        self.step.load_state(state)
        self.steps_done = int(state["steps_done"])  # type: ignore[call-overload]
        self.lr_factor = float(state["lr_factor"])  # type: ignore[arg-type]
        self.epoch_loss = state["epoch_loss"].to(self.epoch_loss.device)  # type: ignore[attr-defined]
        self.epoch_seconds = float(state["epoch_seconds"])  # type: ignore[arg-type]
