"""Ray Tune with its Optuna search, on the same kind of storage as ours."""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from nas.trials import distributions

from .engines import search_config
from .pace import Mark, now
from .tune_objective import METRIC, NoOpTrainable


def run_tune(folder: Path, *, workers: int, trials: int, reuse_actors: bool) -> list[Mark]:
    """A random search by Ray Tune over the same space; returns the ends of the trials.

    Args:
        folder: Empty.
        workers: Trials at once; as many wait for each other before the first one ends.
        trials: In all.
        reuse_actors: Whether a trial may take over another's process; Tune's default for such a trainable is no.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    recorder = _TuneRecorder()
    space = search_config(folder, trials=trials, workers=workers).search_space()
    # As ours is opened.
    storage = RDBStorage(f"sqlite:///{folder / 'tune.db'}", engine_kwargs={"connect_args": {"timeout": 60}})
    search = OptunaSearch(
        distributions(space), metric=METRIC, mode="max", sampler=optuna.samplers.RandomSampler(seed=0), storage=storage
    )
    trainable = tune.with_parameters(NoOpTrainable, folder=str(folder), num_workers=workers)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=trials, reuse_actors=reuse_actors, max_concurrent_trials=workers
        ),
        run_config=tune.RunConfig(
            name="run",
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[recorder],
            # Ours keeps nothing of such a trial either.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it introduces itself, however quiet it is asked to be
        results = tuner.fit()
    if results.num_errors or len(recorder.marks) != trials:
        raise RuntimeError(f"Tune ended {len(recorder.marks)} of {trials} trials, {results.num_errors} with errors")
    return recorder.marks


class _TuneRecorder(tune.Callback):
    """Notes when each trial ended."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.marks.append(now())
