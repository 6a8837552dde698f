"""The entrance for those who live in Ray Tune: a trainable and search algorithms for `ray.tune.Tuner`.

What is searched and maximised, what S means, how a candidate is trained and what is proposed next are those of `nas
search`: its samplers propose through the same `StudyLoop`, here on a study in memory, and candidates are trained by the
same loop, an epoch at a time. Tune decides who is trained for how long, where and how often, and keeps the results.
"""

import math
import pickle
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from search_spaces.architecture import parse

from .config import SearchConfig
from .dispatch import Task
from .evaluation_tasks import AccuracyRecord, Evaluation, Judge
from .executors.interface import Died, Done, Event, Infeasible
from .observer import Observer
from .prepared import Prepared, prepare
from .recovery import recover
from .stepwise import TUNED, StepwiseEvaluation
from .study import Ending, StudyLoop
from .trials import read_earlier, tell_failed, tell_infeasible
from .warm_start import earlier_runs, keep_earlier_results

try:
    from ray import tune
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch
except ImportError as error:
    raise ImportError(f'nas.ray_tune needs Ray Tune: pip install "training-aware-nas[cluster]" ({error})') from None

__all__ = [
    "TUNED",
    "CandidateTraining",
    "GuardedOptunaSearch",
    "Prepared",
    "SamplerSearch",
    "param_space",
    "prepare",
    "trainable",
]

_CHECKPOINT = "training.pt"
_STUDY_NAME = "search"


def param_space(config: SearchConfig) -> dict[str, Any]:
    """The space as Tune's own search algorithms and schedulers know it: every choice categorical."""
    return {name: tune.choice(list(values)) for name, values in config.search_space().choices.items()}


def trainable(prepared: Prepared) -> type[tune.Trainable]:
    """What Tune trains: one epoch of one candidate a step, see `CandidateTraining`."""
    return tune.with_parameters(CandidateTraining, prepared=prepared)


class CandidateTraining(tune.Trainable):
    """A candidate's short training as Tune leads it.

    A trial's configuration is every choice of the space, and any of `TUNED`. It reports `reward`, `accuracy`, the costs
    of the architecture, and `infeasible`, see :meth:`~nas.stepwise.StepwiseEvaluation.step`. From a checkpoint it goes
    on as if nothing had happened, unless a setting was changed. A process may do several trials (`reuse_actors`).
    """

    def setup(self, config: Mapping[str, Any], prepared: Prepared) -> None:
        self._evaluation = StepwiseEvaluation(prepared, config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        self._evaluation.begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        return self._evaluation.step()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._evaluation.save(Path(checkpoint_dir) / _CHECKPOINT)

    def load_checkpoint(self, checkpoint: str) -> None:
        self._evaluation.load(Path(checkpoint) / _CHECKPOINT)


class SamplerSearch(Searcher):
    """The samplers of `nas search` as a search algorithm of Tune, with all they know of costs and limits.

    A trial of Tune is a candidate. What is known already, and what is beyond a limit, gets its verdict without a trial.
    A trial reports `num_correct` and `num_images`; the reward is computed from its last report, stopped early or not.
    A text under `infeasible`, a report that is no accuracy, and an error that Tune does not retry are verdicts, too:
    infeasible. The study lies in memory and in Tune's own snapshots.
    """

    def __init__(self, prepared: Prepared) -> None:
        """Begin a study; it proposes at most ``config.trials`` candidates."""
        super().__init__(metric="reward", mode="max")
        self._prepared = prepared
        self._storage = InMemoryStorage()
        optuna.create_study(study_name=_STUDY_NAME, storage=self._storage, direction="maximize")
        self._running: dict[str, Task] = {}
        """By the trials' names in Tune."""
        self._newest: dict[str, Mapping[str, Any]] = {}
        """Reports, likewise."""
        self._unclaimed: list[Task] = []
        """Taken from the loop, and no trial yet."""
        self._loop = self._open_loop()

    @property
    def study(self) -> optuna.Study:
        """What was proposed, and what became of it."""
        return optuna.load_study(study_name=_STUDY_NAME, storage=self._storage)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next candidate's choices; None while the sampler waits for verdicts."""
        task = self._unclaimed.pop(0) if self._unclaimed else self._loop.next_task()
        if task is None:
            return None if self._loop.ending is Ending.INTERRUPTED else Searcher.FINISHED
        self._running[trial_id] = task
        return dict(self._prepared.space.to_params(parse(_judge(task).architecture)))

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        if trial_id in self._running:
            self._newest[trial_id] = result

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell what became of a trial; one that was ended before its first report says nothing."""
        task, newest = self._running.pop(trial_id, None), self._newest.pop(trial_id, None)
        if task is None:
            return
        if error:
            self._loop.handle(Died(task.number, "its trial failed more often than max_failures allows"))
        elif result or newest:
            self._loop.handle(_verdict(task, result or newest or {}))
        else:
            self._loop.abandon(task.number)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(pickle.dumps(self.__getstate__()))

    def restore(self, checkpoint_path: str) -> None:
        """Stand where it was saved. The file is a pickle, like all that Tune keeps: take it from folders you trust."""
        self.__setstate__(pickle.loads(Path(checkpoint_path).read_bytes()))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_loop"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._loop = self._open_loop()
        self._claim_again()

    def _open_loop(self) -> StudyLoop:
        study = self.study
        # What Tune gives up on has been tried as often as it should be.
        config = self._prepared.config.model_copy(update={"max_retries": 0})
        keep_earlier_results(study, config)
        return StudyLoop(
            study,
            config=config,
            space=self._prepared.space,
            preparation=self._prepared.preparation,
            costs=self._prepared.costs,
            records=recover(study, self._prepared.space),
            earlier=earlier_runs(read_earlier(study)),
            observer=Observer(),
            on_table=lambda table: self._prepared.costs,
        )

    def _claim_again(self) -> None:
        """Join the trials that Tune goes on with to the further attempts that the study owes them, which come first."""
        trials = {_judge(task).architecture: trial_id for trial_id, task in self._running.items()}
        num_claimed = len(self._running) + len(self._unclaimed)
        self._running, self._unclaimed = {}, []
        while len(self._running) + len(self._unclaimed) < num_claimed and (task := self._loop.next_task()) is not None:
            trial_id = trials.get(_judge(task).architecture)
            if trial_id is None:
                self._unclaimed.append(task)
            else:
                self._running[trial_id] = task


class GuardedOptunaSearch(OptunaSearch):
    """Tune's OptunaSearch, made to tell Optuna how every trial ended, and no value that is not finite.

    As it is (Ray 2.60), a trial that reports NaN runs in Optuna for ever, and infinity becomes the best value. Here
    both fail, and so does a report without the metric. A text under `infeasible` is told as PRUNED with a violated
    constraint, from which samplers learn.
    """

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        if self._problem(result) is None:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        reason, problem = (result.get("infeasible"), self._problem(result)) if result else (None, None)
        if trial_id in self._completed_trials or not (reason or problem):
            super().on_trial_complete(trial_id, result, error)
            return
        self._completed_trials.add(trial_id)
        if reason:
            tell_infeasible(self._ot_study, self._ot_trials[trial_id], str(reason))
        else:
            tell_failed(self._ot_study, self._ot_trials[trial_id], str(problem))

    def _problem(self, result: Mapping[str, Any]) -> str | None:
        names = self.metric if isinstance(self.metric, list) else [self.metric]
        wrong = (
            f"{name} must be a finite number, got {result.get(name)}"
            for name in names
            if not _is_finite(result.get(name))
        )
        return next(wrong, None)


def _judge(task: Task) -> Judge:
    if not isinstance(task.work, Judge):
        raise TypeError(f"a candidate was expected, got {type(task.work).__name__}")
    return task.work


def _verdict(task: Task, result: Mapping[str, Any]) -> Event:
    if result.get("infeasible"):
        return Infeasible(task.number, str(result["infeasible"]))
    correct, images = result.get("num_correct", math.nan), result.get("num_images", math.nan)
    if not (_is_finite(correct) and _is_finite(images) and 0 <= correct <= images and images > 0):
        return Infeasible(task.number, f"it reported no accuracy: num_correct {correct}, num_images {images}")
    record = AccuracyRecord(
        num_correct=int(correct),
        num_images=int(images),
        seed=_judge(task).seed,
        train_seconds=float(result.get("train_seconds", 0.0)),
    )
    return Done(task.number, Evaluation(accuracy=record, seconds=float(result.get("time_total_s", 0.0))))


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)
