"""A run directory as a search leaves it, with made-up but plausible outcomes, written by the real functions."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count as naturals
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial

from nas import trials as written
from nas.config import SearchConfig, make_config
from nas.evaluation_tasks import AccuracyRecord, DataFacts, Preparation
from nas.leaderboard import leaderboard
from nas.reward import Reward
from nas.run import Run, read_run
from nas.run_directory import RunDirectory
from nas.storage import open_study
from nas.trials import Candidate, Outcome
from proxies.complexity import count_macs, count_params
from proxies.step_time import StepTime
from search_spaces.architecture import Architecture, Stage, parse

SPACE = {"name": "efficientnetv2", "scale": [0.25, 0.5], "resolution": 32}
DEVICE = "cpu: Some Processor, 2 threads, torch 2.14.1"
REFERENCE_S = 0.0214
NUM_CLASSES, IN_CHANNELS = 10, 1
_BEGIN = datetime(2026, 11, 21, 12, 0, 0)
MODE = "float32-channels_last"


@dataclass(frozen=True, kw_only=True)
class MadeUpSearch:
    """Writes one run directory, trial by trial, as the driver would."""

    path: Path
    config: SearchConfig
    seed: int
    num_images: int
    source: str
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", random.Random(self.seed))

    @property
    def params_ref(self) -> int:
        return count_params(self.config.search_space().backbone, NUM_CLASSES, IN_CHANNELS)

    @property
    def reward(self) -> Reward:
        config = self.config
        return Reward(w=config.w, v=config.v, step_time_ref_s=REFERENCE_S, params_ref=self.params_ref)

    def write(self, trials: int, *, retrain: bool) -> None:
        """The study is made in memory and then copied: on a slow disk every commit counts."""
        directory = RunDirectory(self.path)
        directory.create()
        directory.config_file.write_text(self.config.to_yaml(), encoding="utf-8")
        environment = {"python": "3.11.7", "torch": "2.14.1", "optuna": "5.0.0", "git": "0123abc", "device": DEVICE}
        directory.environment_file.write_text(json.dumps(environment), encoding="utf-8")
        stored = open_study(directory, self.config)
        study = optuna.create_study(directions=stored.directions, sampler=optuna.samplers.RandomSampler(seed=self.seed))
        written.write_preparation(study, self.preparation())
        self._write_trials(study, trials)
        if retrain:
            self._retrain_leaders(study)
        stored.add_trials([_timed(trial) for trial in study.trials])
        for key, value in study.user_attrs.items():
            stored.set_user_attr(key, value)

    def preparation(self) -> Preparation:
        facts = DataFacts(
            source=self.source,
            num_classes=NUM_CLASSES,
            in_channels=IN_CHANNELS,
            num_train=1437,
            num_minival=self.num_images,
            digest=f"digest of {self.source}",
        )
        modes = {"float32-contiguous": 0.041, MODE: 0.0214, "bfloat16-channels_last": 0.067}
        return Preparation(
            hardware="AMD EPYC (cpu)",
            step_threads=1,
            data=facts,
            mode=MODE,
            step_mode=MODE,
            mode_seconds=modes,
            device=DEVICE,
            step_time_ref_s=REFERENCE_S,
            params_ref=self.params_ref,
            training_seconds=4.1,
        )

    def _write_trials(self, study: optuna.Study, trials: int) -> None:
        space = self.config.search_space()
        written.enqueue(study, space.to_params(space.backbone), Candidate(architecture=str(space.backbone), proposal=0))
        seen: dict[str, int] = {}
        told: dict[int, list[float] | None] = {}
        proposals, judged = naturals(1), 0
        while judged < trials:
            trial = study.ask(written.distributions(space))
            candidate = written.candidate_of(trial)
            if candidate is None:
                architecture = str(space.from_params(trial.params))
                if trial.number == 9:  # a duplicate, as TPE proposes them
                    architecture = next(text for text, number in seen.items() if told[number] is not None)
                candidate = Candidate(
                    architecture=architecture, proposal=next(proposals), duplicate_of=seen.get(architecture)
                )
                written.write_candidate(trial, candidate)
            if candidate.duplicate_of is not None:
                written.tell_duplicate(study, trial, told[candidate.duplicate_of])
                continue
            if trial.number == 6:
                self._fail(study, trial, candidate)
                continue
            judged += 1
            seen[candidate.architecture] = trial.number
            told[trial.number] = self._judge(study, trial, parse(candidate.architecture))

    def _fail(self, study: optuna.Study, trial: optuna.Trial, candidate: Candidate) -> None:
        written.tell_failed(study, trial, "its worker died with signal 9")
        space = self.config.search_space()
        retry = Candidate(architecture=candidate.architecture, proposal=None, retry_of=trial.number)
        written.enqueue(study, space.to_params(parse(candidate.architecture)), retry)

    def _judge(self, study: optuna.Study, trial: optuna.Trial, architecture: Architecture) -> list[float] | None:
        if trial.number % 13 == 12:
            written.tell_infeasible(study, trial, "the loss was not finite in epoch 2 <nan>")
            return None
        outcome = self.outcome(architecture)
        values = self.values(outcome)
        written.tell_complete(study, trial, outcome, values)
        return values

    def values(self, outcome: Outcome) -> list[float]:
        accuracy = outcome.accuracy.accuracy
        if not self.config.objectives:
            return [self.reward(accuracy=accuracy, step_time_s=outcome.step_time_s, params=outcome.params)]
        named = {"accuracy": accuracy, "step_time": outcome.step_time_s, "params": float(outcome.params)}
        return [named[name] for name in self.config.objectives]

    def outcome(self, architecture: Architecture) -> Outcome:
        """Larger networks are more accurate with falling returns; Fused-MBConv is fast where channels are few."""
        params = count_params(architecture, NUM_CLASSES, IN_CHANNELS)
        macs = count_macs(architecture, num_classes=NUM_CLASSES, in_channels=IN_CHANNELS)
        early, late = (sum(stage.block == "er" for stage in stages) for stages in _halves(architecture))
        accuracy = 0.972 - 0.16 * math.exp(-macs / 7e5) + 0.005 * early - 0.004 * late
        ratio = _slowness(architecture) / _slowness(self.config.search_space().backbone)
        step_time = self.step_time(ratio * self.rng.gauss(1, 0.03))
        return Outcome(
            accuracy=self.accuracy(min(0.995, accuracy + self.rng.gauss(0, 0.006))),
            step_time=step_time,
            step_time_s=step_time.ratio * REFERENCE_S,
            params=params,
            macs=macs,
            seconds=self.rng.uniform(3.5, 6.5),
        )

    def accuracy(self, expected: float) -> AccuracyRecord:
        correct = sum(self.rng.random() < expected for _ in range(self.num_images))
        losses = tuple(round(0.45 + 1.8 * math.exp(-epoch / 1.4), 4) for epoch in range(8))
        seed = self.rng.randrange(2**31)
        return AccuracyRecord(
            num_correct=correct, num_images=self.num_images, seed=seed, train_seconds=4.0, losses=losses
        )

    def step_time(self, ratio: float, pairs: int = 15) -> StepTime:
        reference = [REFERENCE_S * self.rng.gauss(1, 0.015) for _ in range(pairs + 1)]
        samples = [ratio * REFERENCE_S * self.rng.gauss(1, 0.015) for _ in range(pairs)]
        return StepTime(
            samples_s=tuple(samples),
            reference_samples_s=tuple(reference),
            batch_size=32,
            resolution=32,
            mode=MODE,
            device=DEVICE,
        )

    def _retrain_leaders(self, study: optuna.Study, leaders: int = 3, replicates: int = 2) -> None:
        """What happens after the last candidate: the leaders and the backbone are trained again."""
        records = written.read_records(study)
        board = leaderboard(records, self.reward, {})
        for number in sorted({0, *(entry.number for entry in board[:leaders])}):
            outcome = records[number].outcome
            assert outcome is not None
            for replicate in range(1, replicates + 1):
                expected = outcome.accuracy.accuracy - abs(self.rng.gauss(0, 0.006))
                written.write_replicate(study, number, replicate, self.accuracy(expected))


def _timed(trial: FrozenTrial) -> FrozenTrial:
    """As if each trial had taken five seconds."""
    trial.datetime_start = _BEGIN + trial.number * timedelta(seconds=5)
    if trial.state.is_finished():
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=4.8)
    return trial


def _halves(architecture: Architecture) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    return architecture.stages[:3], architecture.stages[3:]


def _slowness(architecture: Architecture) -> float:
    macs = count_macs(architecture, num_classes=NUM_CLASSES, in_channels=IN_CHANNELS)
    early, late = (sum(stage.block == "er" for stage in stages) for stages in _halves(architecture))
    depth = sum(stage.num_repeats for stage in architecture.stages)
    return 0.5 + 0.05 * depth + 0.15 * math.log1p(macs / 4e5) - 0.06 * early + 0.02 * late


def write_run(
    path: Path,
    *,
    trials: int = 40,
    planned: int | None = None,
    seed: int = 20,
    num_images: int = 360,
    source: str = "digits",
    overrides: dict[str, object] | None = None,
    retrain: bool = True,
) -> Run:
    """Write a made-up run and read it back."""
    print(f"made-up run: seed {seed}, {trials} trials")
    values = {"space": SPACE, "trials": planned or trials, "seed": seed, "data.source": source, "out": str(path)}
    config = make_config({}, values | (overrides or {}))
    search = MadeUpSearch(path=path, config=config, seed=seed, num_images=num_images, source=source)
    search.write(trials, retrain=retrain)
    return read_run(path)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """40 trials: some infeasible, one failed and retried, one duplicate, the leaders retrained."""
    return write_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def young_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Interrupted after two of 40: too few for any statistics."""
    return write_run(tmp_path_factory.mktemp("young"), trials=2, planned=40, retrain=False)


@pytest.fixture(scope="session")
def front_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A multi-objective search."""
    overrides: dict[str, object] = {"objectives": ["accuracy", "step_time", "params"], "sampler": "nsga2"}
    return write_run(tmp_path_factory.mktemp("front"), trials=12, seed=21, overrides=overrides)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Further runs with settings of their own."""
    folders = naturals()
    return lambda **settings: write_run(tmp_path / f"run{next(folders)}", **settings)
