"""What a full training keeps on disk: its newest state, its best weights, and the record that people look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from proxies.training.checkpoint import link_checkpoint, read_checkpoint, write_checkpoint
from proxies.training.distributed import Processes
from proxies.training.loop import NonFiniteLossError, Training
from proxies.training_step import TrainingStep
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import write_tensors

from ..run_lock import RunLock
from .directory import TrainingDirectory
from .record import TrainingRecord, dump_record, weights_metadata, write_curves, write_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Writes for all processes, in the first one; every file whole or not at all."""

    directory: TrainingDirectory
    settings: NetworkSettings
    """What the network's logits depend on beside its weights."""
    processes: Processes
    lock: RunLock | None = None
    """Of the directory, held by the first process: once another host has it, nothing is written."""

    def keep(
        self, training: Training, record: TrainingRecord, progress: Mapping[str, object], *, is_judged: bool
    ) -> None:
        """Write the newest checkpoint, and the record.

        Args:
            training: As it stands.
            record: As it stands.
            progress: What else is needed to go on.
            is_judged: Whether this is right after an epoch that was judged; the newest such state is kept beside it.

        Raises:
            NonFiniteLossError: If the weights are not finite: going on from there would lead nowhere.
            OSError: If it cannot be written; the last one stays.
            LostLockError: If another host has the directory.
        """
        self.require_finite(training)
        if not self._is_writer():
            return
        state = {
            "training": training.state(),
            "record": dump_record(record),
            "settings": self.settings.to_metadata(),
            **progress,
        }
        write_checkpoint(state, self.directory.last_checkpoint)
        if is_judged or not self.directory.judged_checkpoint.exists():
            link_checkpoint(self.directory.last_checkpoint, self.directory.judged_checkpoint)
        self.keep_record(record)

    def newest(self) -> dict[str, Any]:
        """What `keep` wrote last."""
        return read_checkpoint(self.directory.last_checkpoint)

    def judged(self) -> dict[str, Any]:
        """The newest state right after an epoch that was judged, or the first one."""
        return read_checkpoint(self.directory.judged_checkpoint)

    def keep_best(self, step: TrainingStep, record: TrainingRecord, *, epoch: int) -> None:
        """Write the weights of the most accurate epoch, to be judged again and to be taken away.

        Raises:
            OSError: If they cannot be written; the last ones stay.
        """
        if not self._is_writer():
            return
        averaged = None if step.ema is None else step.ema.module.state_dict()
        best = {"network": step.network.state_dict(), "ema": averaged, "epoch": epoch}
        write_checkpoint(best, self.directory.best_checkpoint)
        metadata = self.settings.to_metadata() | weights_metadata(record)
        write_tensors(self.directory.weights_file, step.judged_network.state_dict(), metadata)

    def keep_record(self, record: TrainingRecord) -> None:
        """Write what people look at.

        Raises:
            OSError: If it cannot be written; the last one stays.
        """
        if self._is_writer():
            write_record(record, self.directory.record_file)
            write_curves(record, self.directory.curves_file)

    def _is_writer(self) -> bool:
        if self.lock is not None:
            self.lock.require_held()
        return self.processes.is_first

    def require_finite(self, training: Training) -> None:
        """All processes agree on it, and so none writes a checkpoint before the others have read the last one.

        Raises:
            NonFiniteLossError: If a weight or a statistic of any of them is not finite.
        """
        step = training.step
        networks = [step.network] if step.ema is None else [step.network, step.ema.module]
        is_finite = self.processes.least(torch.stack([_is_finite(network) for network in networks]).all().float())
        if not is_finite.item():
            raise NonFiniteLossError(f"weights are not finite after step {training.steps_done}")


def _is_finite(network: nn.Module) -> Tensor:
    """Of weights and statistics: those of batch normalisation can overflow while the loss stays finite."""
    numbers = [value for value in network.state_dict().values() if value.is_floating_point()]
    return torch.isfinite(torch.stack(torch._foreach_norm(numbers))).all()
