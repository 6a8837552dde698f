"""MLflow."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ..comparison import flatten
from .record import State

EXPERIMENT = "training-aware-nas"
STORE = "mlflow.db"
"""In the training's directory, where MLFLOW_TRACKING_URI names no other."""

_LONGEST_PARAM = 6000
_MOST_PARAMS = 100
"""MLflow's limits, of a text and of a call."""
_STATUS = {"running": "FAILED", "stopped": "KILLED", "finished": "FINISHED", "diverged": "FAILED"}


class MlflowService:
    """A run there; server and experiment are as MLflow's own variables say."""

    name = "mlflow"

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._run_id = ""

    def open(self, run_id: str | None, config: Mapping[str, object]) -> str:
        store = f"sqlite:///{(self._folder / STORE).absolute()}"
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or store)
        self._run_id = self._resumed(run_id) or self._begun(config)
        return self._run_id

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        now_ms = int(1000 * time.time())
        metrics = [Metric(name, value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def note(self, text: str, *, step: int) -> None:
        self._client.set_tag(self._run_id, f"event.{step}.{int(1000 * time.time())}", text)

    def close(self, state: State) -> None:
        self._client.set_terminated(self._run_id, _STATUS[state])

    def _resumed(self, run_id: str | None) -> str | None:
        """The run that a training told before; None where this store has none of that id."""
        if run_id is None:
            return None
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:
            return None
        return run_id

    def _begun(self, config: Mapping[str, object]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run_id = str(self._client.create_run(experiment, run_name=self._title).info.run_id)
        params = [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in flatten(config).items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _MOST_PARAMS])
        return run_id
