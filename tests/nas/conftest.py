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
from nas.evaluation_tasks import AccuracyRecord, DataFacts, Measurement, Preparation
from nas.leaderboard import leaderboard
from nas.reward import Reward
from nas.run import Run, read_run
from nas.run_directory import RunDirectory
from nas.storage import open_study
from nas.trials import Candidate, Outcome
from proxies.complexity import block_macs, count_macs, count_params
from proxies.device_identity import DeviceIdentity
from proxies.execution import parse_mode
from proxies.memory import predict_peak_memory
from proxies.step_time import StepTime, Visit
from proxies.step_time_table import BlockTime, NetworkTime, StepTimeTable
from proxies.workload import Workload
from search_spaces.architecture import Architecture, Stage, parse
from search_spaces.blocks import PlacedBlock, placed_blocks
from search_spaces.space_blocks import space_blocks

SPACE = {"name": "efficientnetv2", "scale": [0.25, 0.5], "resolution": 32}
IDENTITY = DeviceIdentity(kind="cpu", name="Some Processor", torch="2.14.1", cuda=None, threads=1)
DEVICE = str(IDENTITY)
CANARY_S = 0.0107
FINALIST_ERRORS = (0.02, -0.03, 0.14, 0.01)
"""Measured ÷ predicted step time − 1 of the finalists, in the order of their trials."""
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
    is_target_here: bool = True
    rng: random.Random = field(init=False)
    _table: StepTimeTable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", random.Random(self.seed))
        object.__setattr__(self, "_table", self.make_table())

    @property
    def params_ref(self) -> int:
        return count_params(self.config.search_space().backbone, NUM_CLASSES, IN_CHANNELS)

    @property
    def reward(self) -> Reward:
        config = self.config
        return Reward(w=config.w, v=config.v, step_time_ref_s=self.step_time_ref_s, params_ref=self.params_ref)

    def make_table(self) -> StepTimeTable:
        """Fused-MBConv is fast for its multiply-adds; the sums of blocks are 3 % short of whole networks."""
        space = self.config.search_space()
        blocks = tuple(
            BlockTime(block=block, ratio=_block_ratio(block), relative_error=0.02)
            for block in space_blocks(space, in_channels=IN_CHANNELS)
        )
        networks = tuple(
            NetworkTime(architecture=str(network), ratio=surplus * _network_ratio(network), relative_error=0.01)
            for network, surplus in zip(
                (space.backbone, *(space.sample(random.Random(seed)) for seed in range(3))),
                (1.03, 1.05, 1.01, 1.03),
                strict=True,
            )
        )
        workload = Workload(mode=parse_mode(MODE), num_classes=NUM_CLASSES, in_channels=IN_CHANNELS)
        return StepTimeTable(
            space=space.name, workload=workload, device=IDENTITY, canary="canary-v1", canary_s=CANARY_S,
            blocks=blocks, networks=networks, seconds=18.0,
        )  # fmt: skip

    @property
    def step_time_ref_s(self) -> float:
        """As measured: the prediction is 2 % off."""
        return 1.02 * CANARY_S * 1.03 * _network_ratio(self.config.search_space().backbone)

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
        if self.config.step_time.method == "predicted":
            written.write_tables(study, [self._table])
        self._write_trials(study, trials)
        if retrain:
            self._judge_leaders(study)
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
            canary_s=CANARY_S,
            target_kind="cpu",
            is_target_here=self.is_target_here,
            step_time_ref_s=self.step_time_ref_s,
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
        is_measured = self.config.step_time.method == "measured"
        measured = self.step_time(1.03 * _network_ratio(architecture), num_visits=1) if is_measured else None
        predicted = self._table.predict(architecture)
        return Outcome(
            accuracy=self.accuracy(min(0.995, accuracy + self.rng.gauss(0, 0.006))),
            step_time=measured,
            step_time_s=measured.median_s if measured else predicted.median_s,
            step_time_rse=measured.relative_standard_error if measured else predicted.relative_standard_error,
            params=params,
            macs=macs,
            peak_memory_bytes=predict_peak_memory(
                architecture, batch_size=32, mode=parse_mode(MODE), num_classes=NUM_CLASSES, in_channels=IN_CHANNELS
            ),
            seconds=self.rng.uniform(3.5, 6.5),
        )

    def accuracy(self, expected: float) -> AccuracyRecord:
        correct = sum(self.rng.random() < expected for _ in range(self.num_images))
        losses = tuple(round(0.45 + 1.8 * math.exp(-epoch / 1.4), 4) for epoch in range(8))
        seed = self.rng.randrange(2**31)
        return AccuracyRecord(
            num_correct=correct, num_images=self.num_images, seed=seed, train_seconds=4.0, losses=losses
        )

    def step_time(self, ratio: float, num_visits: int = 3, pairs: int = 15) -> StepTime:
        visits = tuple(self._visit(ratio * self.rng.gauss(1, 0.004), pairs) for _ in range(num_visits))
        return StepTime(
            visits=visits,
            reference="canary-v1",
            reference_s=CANARY_S,
            batch_size=32,
            resolution=32,
            mode=MODE,
            device=DEVICE,
        )

    def _visit(self, ratio: float, pairs: int) -> Visit:
        reference = [CANARY_S * self.rng.gauss(1, 0.015) for _ in range(pairs + 1)]
        samples = [ratio * CANARY_S * self.rng.gauss(1, 0.015) for _ in range(pairs)]
        return Visit(samples_s=tuple(samples), reference_samples_s=tuple(reference))

    def _judge_leaders(self, study: optuna.Study, leaders: int = 3, replicates: int = 2) -> None:
        """What happens after the last candidate: the leaders and the backbone are timed and trained again."""
        records = written.read_records(study)
        board = leaderboard(records, self.reward, {})
        for place, number in enumerate(sorted({0, *(entry.number for entry in board[:leaders])})):
            outcome = records[number].outcome
            assert outcome is not None
            if self.is_target_here:
                written.write_measurement(study, number, self._measurement(outcome, FINALIST_ERRORS[place]))
            for replicate in range(1, replicates + 1):
                expected = outcome.accuracy.accuracy - abs(self.rng.gauss(0, 0.006))
                written.write_replicate(study, number, replicate, self.accuracy(expected))

    def _measurement(self, outcome: Outcome, error: float) -> Measurement:
        step_time = self.step_time(outcome.step_time_s * (1 + error) / CANARY_S)
        inference = self.step_time(0.3 * outcome.step_time_s / CANARY_S) if self.config.step_time.inference else None
        return Measurement(
            step_time=step_time, inference=inference, peak_memory_bytes=round(1.04 * outcome.peak_memory_bytes)
        )


def _timed(trial: FrozenTrial) -> FrozenTrial:
    """As if each trial had taken five seconds."""
    trial.datetime_start = _BEGIN + trial.number * timedelta(seconds=5)
    if trial.state.is_finished():
        trial.datetime_complete = trial.datetime_start + timedelta(seconds=4.8)
    return trial


def _halves(architecture: Architecture) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
    return architecture.stages[:3], architecture.stages[3:]


def _block_ratio(block: PlacedBlock) -> float:
    """Time of a block ÷ that of a step of the canary: a launch, and its multiply-adds."""
    return 0.04 + block_macs(block) / (1.5e6 if block.kind == "er" else 0.5e6)


def _network_ratio(architecture: Architecture) -> float:
    return sum(map(_block_ratio, placed_blocks(architecture, in_channels=IN_CHANNELS)))


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
    is_target_here: bool = True,
) -> Run:
    """Write a made-up run and read it back."""
    print(f"made-up run: seed {seed}, {trials} trials")
    values = {"space": SPACE, "trials": planned or trials, "seed": seed, "data.source": source, "out": str(path)}
    config = make_config({}, values | (overrides or {}))
    search = MadeUpSearch(
        path=path, config=config, seed=seed, num_images=num_images, source=source, is_target_here=is_target_here
    )
    search.write(trials, retrain=retrain)
    return read_run(path)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """40 trials: some infeasible, one failed and retried, one duplicate, the leaders timed and retrained."""
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
