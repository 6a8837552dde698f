"""A candidate's short training: how it is planned and begun, and one that is led from outside, epoch by epoch."""

import time
from collections.abc import Callable, Iterator, Mapping

from search_spaces.architecture import Architecture
from search_spaces.network import build

from .accuracy_result import EpochProgress
from .device import Device
from .evaluation import Score, evaluate
from .execution import ExecutionMode
from .proxy_data import ProxyData
from .training.config import Fidelity, TrainConfig
from .training.loop import Training
from .training.progressive import PlannedEpoch, ProgressiveStage, TrainingPlan
from .training.schedule import learning_rate_of
from .training_step import make_training_step


def plan_of(
    architecture: Architecture, config: TrainConfig, fidelity: Fidelity, *, num_images: int, micro_batches: int = 1
) -> TrainingPlan:
    """The epochs of a candidate's short training, all of one size."""
    stage = ProgressiveStage(
        epochs=fidelity.epochs,
        resolution=fidelity.resolution or architecture.resolution,
        batch_size=config.batch_size,
        micro_batches=micro_batches,
        drop_rate=config.drop_rate,
    )
    return TrainingPlan(stages=(stage,), num_images=num_images)


def begin_training(
    architecture: Architecture,
    plan: TrainingPlan,
    *,
    data: ProxyData,
    config: TrainConfig,
    seed: int,
    mode: ExecutionMode,
    device: Device,
    clock: Callable[[], float] = time.perf_counter,
) -> Training:
    """Build the candidate, with the weights that belong to the seed, ready for its first step.

    To be called inside :meth:`Device.seeded`.
    """
    device.seed(seed)
    network = build(
        architecture,
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
    )
    return Training(
        step=make_training_step(network, config=config, mode=mode, device=device),
        plan=plan,
        learning_rate=learning_rate_of(config, plan.num_epochs),
        seed=seed,
        num_classes=data.num_classes,
        clock=clock,
    )


def judge(
    training: Training,
    planned: PlannedEpoch,
    *,
    data: ProxyData,
    batch_size: int,
    after_batch: Callable[[], None] | None = None,
) -> Score:
    """What a training has come to after an epoch, on the judging images.

    Args:
        training: Stands after the epoch.
        planned: The epoch.
        data: Whose minival judges.
        batch_size: Of judging.
        after_batch: Called after every judged batch; what it raises ends the judging.
    """
    step = training.step
    return evaluate(
        step.judged_network,
        data.minival,
        batch_size=batch_size,
        resolution=planned.stage.resolution,
        mode=step.mode,
        device=step.device,
        after_batch=after_batch,
    )


class ShortTraining:
    """A candidate whose training may be left after any epoch and taken up again, elsewhere and with other settings.

    Making it builds the network and every epoch trains it: both inside :meth:`Device.seeded` and
    :meth:`Device.out_of_memory_is_infeasible`.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        data: ProxyData,
        config: TrainConfig,
        fidelity: Fidelity,
        seed: int,
        mode: ExecutionMode,
        device: Device,
    ) -> None:
        """The arguments are those of :func:`proxies.accuracy.train_and_score`."""
        architecture = fidelity.stand_in(architecture)
        plan = plan_of(architecture, config, fidelity, num_images=len(data.train))
        self._data, self._batch_size = data, config.batch_size
        self._training = begin_training(
            architecture, plan, data=data, config=config, seed=seed, mode=mode, device=device
        )
        self._train_seconds = 0.0

    def epochs(self) -> Iterator[EpochProgress]:
        """Train from where it stands to the end, and judge after every epoch.

        Raises:
            NonFiniteLossError: If the loss of an epoch is not finite.
        """
        for done in self._training.epochs(self._data.train):
            self._train_seconds += done.train_seconds
            yield EpochProgress(
                epoch=done.planned.number + 1,
                num_epochs=self._training.plan.num_epochs,
                train_loss=done.train_loss,
                score=judge(self._training, done.planned, data=self._data, batch_size=self._batch_size),
                train_seconds=self._train_seconds,
            )

    def state(self) -> dict[str, object]:
        """All that is needed to go on from here, as tensors and plain values."""
        return {**self._training.state(), "train_seconds": self._train_seconds}

    def load_state(self, state: Mapping[str, object]) -> None:
        """Stand where the state was taken, of the same architecture, data, batch size, optimizer and mode.

        All other settings of the steps to come are those this training was made with.
        """
        decays = [group["weight_decay"] for group in self._training.step.optimizer.param_groups]
        self._training.load_state(dict(state))
        # An optimizer's state brings its settings along. The learning rate is set at every step in any case.
        for group, decay in zip(self._training.step.optimizer.param_groups, decays, strict=True):
            group["weight_decay"] = decay
        self._train_seconds = float(state["train_seconds"])  # type: ignore[arg-type]
