"""What Ray Tune is given to do. Its actors import this module, so it imports nothing but Tune."""

from pathlib import Path
from typing import Any

from ray import tune

from experiments.bench.no_op import fake_accuracy, gather

METRIC = "reward"


class NoOpTrainable(tune.Trainable):
    """A trial that ends with its first report; its process may do further trials."""

    def setup(self, config: dict[str, Any], folder: str, num_workers: int) -> None:
        self._folder, self._num_workers, self._calls = Path(folder), num_workers, 0

    def step(self) -> dict[str, Any]:
        gather(self._folder, self._num_workers)
        self._calls += 1
        return {METRIC: fake_accuracy(self._calls), "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True
