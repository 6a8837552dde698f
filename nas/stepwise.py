"""A candidate judged an epoch at a time, for schedulers that stop, pause and mutate trainings. Imports torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from proxies.accuracy import AccuracyProxy
from proxies.accuracy_result import EpochProgress
from proxies.device_lease import DeviceLease
from proxies.execution import parse_mode
from proxies.infeasible import InfeasibleError
from proxies.seeds import derived_seed
from proxies.short_training import ShortTraining
from proxies.training.checkpoint import read_checkpoint, write_checkpoint
from proxies.training.config import TrainConfig
from search_spaces.architecture import Architecture

from .config_values import validated
from .evaluation import worker_device
from .prepared import Prepared

TUNED = ("lr", "weight_decay", "label_smoothing", "clip_grad_norm", "drop_rate", "drop_path_rate")
"""Settings of a training that a trial may have of its own, and change where it goes on."""


class StepwiseEvaluation:
    """Trains one candidate after another; the images are loaded once."""

    def __init__(self, prepared: Prepared, params: Mapping[str, Any]) -> None:
        """
        Args:
            prepared: What all candidates share.
            params: Of the first candidate, see `begin`.

        Raises:
            ValueError: In one line, if the parameters describe no candidate, or if images or device cannot be had.
        """
        config = prepared.config
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self._prepared = prepared
        self._proxy = AccuracyProxy(
            data=config.data, train=config.train, fidelity=config.fidelity, device=worker_device(config.device, 0)
        )
        self.begin(params)

    def begin(self, params: Mapping[str, Any]) -> None:
        """Turn to another candidate.

        Args:
            params: Every choice of the space, and any of `TUNED`.

        Raises:
            ValueError: In one line, if the parameters describe no candidate.
        """
        own = {name: value for name, value in params.items() if name in TUNED}
        self._architecture = self._prepared.space.from_params({name: params[name] for name in params.keys() - own})
        self._config = _train_config(self._prepared.config.train, own)
        self._seed = derived_seed(self._prepared.config.seed, str(self._architecture), 0)
        self._facts = _facts(self._prepared, self._architecture)
        self._training: ShortTraining | None = None
        self._epochs: Iterator[EpochProgress] = iter(())
        self._kept: dict[str, Any] | None = None
        self._result: dict[str, Any] = {}

    def step(self) -> dict[str, Any]:
        """Train an epoch and judge the candidate.

        Returns:
            What is known of it, the costs of its architecture included. ``done`` after the last epoch, and as soon as
            it turns out infeasible: then ``infeasible`` says why, and accuracy and reward are 0, the least there is,
            which every scheduler and every search can take.
        """
        device = self._proxy.device
        try:
            with DeviceLease(device.lease_name).shared(), device.out_of_memory_is_infeasible():
                self._result = self._next_epoch()
        except InfeasibleError as error:
            self._training, self._epochs = None, iter(())
            device.release_memory()
            self._result = {"reward": 0.0, "accuracy": 0.0, "infeasible": error.reason, "done": True}
        return {**self._facts, **self._result}

    def _next_epoch(self) -> dict[str, Any]:
        self._require_limits_kept()
        with self._proxy.device.seeded(self._seed):
            if self._training is None:
                self._training = self._begin_training()
                self._epochs = self._training.epochs()
            progress = next(self._epochs, None)
        # What goes on after its last epoch has nothing left to do.
        return {**self._result, "done": True} if progress is None else self._figures(progress)

    def _require_limits_kept(self) -> None:
        beyond = self._prepared.limits.reason(self._prepared.space.encode(self._architecture))
        if beyond is not None:
            raise InfeasibleError(beyond)

    def _begin_training(self) -> ShortTraining:
        training = ShortTraining(
            self._architecture,
            data=self._proxy.data,
            config=self._config,
            fidelity=self._proxy.fidelity,
            seed=self._seed,
            mode=parse_mode(self._prepared.preparation.mode),
            device=self._proxy.device,
        )
        kept, self._kept = self._kept, None
        if kept is not None:
            training.load_state(kept)
        return training

    def _figures(self, progress: EpochProgress) -> dict[str, Any]:
        accuracy, facts = progress.score.accuracy, self._facts
        return {
            "reward": self._prepared.reward(
                accuracy=accuracy, step_time_s=facts["step_time_s"], params=facts["params"]
            ),
            "accuracy": accuracy,
            "num_correct": progress.score.num_correct,
            "num_images": progress.score.num_images,
            "train_loss": progress.train_loss,
            "train_seconds": progress.train_seconds,
            "infeasible": "",
            "done": progress.epoch == progress.num_epochs,
        }

    def save(self, path: Path) -> None:
        """Keep the training where it stands.

        Raises:
            OSError: If it cannot be written.
        """
        training = self._kept if self._training is None else self._training.state()
        state = {"architecture": str(self._architecture), "training": training, "result": self._result}
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from there with the next step.

        Raises:
            ValueError: In one line, if it cannot be read or is of another architecture.
        """
        state = read_checkpoint(path)
        if state["architecture"] != str(self._architecture):
            raise ValueError(
                f"only {', '.join(TUNED)} may change in mid-training, got a checkpoint of {state['architecture']} for "
                f"{self._architecture}"
            )
        self._training, self._epochs = None, iter(())
        self._kept, self._result = state["training"], state["result"]


def _facts(prepared: Prepared, architecture: Architecture) -> dict[str, Any]:
    """What is known of a candidate before it is trained."""
    costs = prepared.costs(architecture)
    return {
        "architecture": str(architecture),
        "step_time_s": costs.step_time_s,
        "params": costs.params,
        "macs": costs.macs,
        "peak_memory_bytes": costs.peak_memory_bytes,
    }


def _train_config(config: TrainConfig, own: Mapping[str, Any]) -> TrainConfig:
    return validated(TrainConfig, config.model_dump(), own, source="the trial's parameters", complete=lambda all: all)
