"""A short training of a second, which may be ended or killed at a counted moment; also run as a script."""

import os
import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import proxies.short_training
from proxies.accuracy import AccuracyProxy
from proxies.accuracy_result import AccuracyResult, EpochProgress
from proxies.device import find_device
from proxies.execution import parse_mode
from proxies.training import checkpoint
from proxies.training.config import DataConfig, Fidelity, TrainConfig
from proxies.trial_checkpoint import TrialCheckpoint
from search_spaces.architecture import parse

TINY = parse("stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e4_c16-ir_r1_k3_s2_e4_c24_se0.25-head32@16")
EVERYTHING_RANDOM = {"ema_decay": 0.99, "drop_rate": 0.2, "drop_path_rate": 0.2, "batch_size": 36}
NUM_EPOCHS, STEPS_PER_EPOCH = 3, 4
NUM_STEPS = NUM_EPOCHS * STEPS_PER_EPOCH


def tiny_proxy(**train: Any) -> AccuracyProxy:
    """Three epochs of four steps; on one thread it repeats itself to the last bit."""
    return AccuracyProxy(
        data=DataConfig(),
        train=TrainConfig(**(EVERYTHING_RANDOM | train)),
        fidelity=Fidelity(epochs=NUM_EPOCHS, resolution=16, data_share=0.11),
        device=find_device("cpu"),
        mode=parse_mode("float32-contiguous"),
        seed=5,
    )


@dataclass(slots=True)
class Asker:
    """Asks for an end, or does worse, when it is asked for the so-manieth time."""

    at: int | None = None
    worse: Callable[[], None] | None = None
    count: int = 0

    def __call__(self) -> bool:
        self.count += 1
        if self.count == self.at and self.worse is not None:
            self.worse()
        return self.count == self.at


@dataclass(slots=True)
class Watched:
    """A training, what it said, and the weights that were judged last."""

    result: AccuracyResult
    notes: list[str]
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def facts(self) -> list[tuple[int, float]]:
        """All of a result but its times."""
        return [(each.score.num_correct, each.train_loss) for each in self.result.curve]

    def equals(self, other: "Watched") -> bool:
        """To the last bit."""
        same = all(torch.equal(value, other.weights[name]) for name, value in self.weights.items())
        return same and self.weights.keys() == other.weights.keys() and self.facts == other.facts


def watch(proxy: AccuracyProxy, *, checkpoint: TrialCheckpoint, notes: list[str] | None = None, **how: Any) -> Watched:
    """Train and look at the network that is judged."""
    honest, weights = proxies.short_training.evaluate, {}

    def looked_at(network: Any, *args: Any, **settings: Any) -> Any:
        score = honest(network, *args, **settings)
        weights.update({name: value.clone() for name, value in network.state_dict().items()})
        return score

    with mock.patch.object(proxies.short_training, "evaluate", looked_at):
        result = proxy.evaluate(TINY, checkpoint=checkpoint, **how)
    return Watched(result, notes if notes is not None else [], weights)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in_mid_writing() -> None:
    def half(state: dict[str, object], file: Any) -> None:
        file.write(pickle.dumps("half"))
        file.flush()
        die()

    checkpoint._save = half  # type: ignore[assignment]


def main(path: str, every_s: str, at: str, worse: str) -> None:
    """``die`` at a counted moment, ``write`` and die in it, or go on to the end and print what was told and found."""
    torch.set_num_threads(1)
    deeds = {"die": die, "write": _die_in_mid_writing}
    asker = Asker(int(at), deeds.get(worse))
    notes: list[str] = []

    def flush(progress: EpochProgress) -> None:
        print(progress.score.num_correct, progress.train_loss, flush=True)

    kept = TrialCheckpoint(path=Path(path), every_s=float(every_s), stop_requested=asker, tell=notes.append)
    tiny_proxy().evaluate(TINY, checkpoint=kept, on_epoch=flush)
    print(*notes, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
