"""Weights & Biases."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import wandb

from .record import State

PROJECT = "training-aware-nas"
FINISH_TIMEOUT_S = 120.0
"""A network that is gone must not hold the end of a training; what was not sent lies on the disk for `wandb sync`."""


class WandbService:
    """A run there; account, server, project and mode are as W&B's own settings and variables say.

    W&B takes values into memory first, so a process that is killed takes the last seconds of them with it; the
    training's record and TensorBoard's files have them.
    """

    name = "wandb"

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._run: wandb.Run | None = None

    def open(self, run_id: str | None, config: Mapping[str, object]) -> str:
        run_id = run_id or secrets.token_hex(8)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=self._folder,
            id=run_id,
            name=self._title,
            config=dict(config),
            resume="allow",
            # console="off": or it would wrap standard output and keep every frame of a progress bar; quiet: no table
            # of the last values in the middle of that bar.
            settings=wandb.Settings(console="off", quiet=True, finish_timeout=FINISH_TIMEOUT_S),
        )
        return run_id

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self._open_run().log(dict(values), step=step)

    def note(self, text: str, *, step: int) -> None:
        self._open_run().log({"event": text}, step=step)

    def close(self, state: State) -> None:
        self._open_run().finish(exit_code=0 if state in ("finished", "stopped") else 1)

    def _open_run(self) -> "wandb.Run":
        if self._run is None:
            raise RuntimeError("the run was never opened")
        return self._run
