"""Many games in several processes, and what is written down of each."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import optuna

from experiments.accel_nasbench.bed import SEED_NOISE, Bed
from experiments.accel_nasbench.beds import Benchmark
from experiments.accel_nasbench.run_rows import bed_of_rows, rows_of_run
from nas.samplers.problem import Problem
from proxies.costs import CostArrays

from .final_choice import FINAL_CHOICES
from .game import Played, Rules, Training, play
from .pareto import gains, hypervolumes
from .players import Player, make_player

REWARD = "reward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Who plays where and how: what a game is known by."""

    bed: str
    objectives: str
    """ "reward", or the objectives joined by "+"."""
    noise: bool
    batch: int
    final_choice: str
    sampler: str
    seed: int

    @property
    def objective_names(self) -> tuple[str, ...]:
        return () if self.objectives == REWARD else tuple(self.objectives.split("+"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One training of one game, as it is written."""

    bed: str
    objectives: str
    noise: bool
    batch: int
    final_choice: str
    sampler: str
    seed: int
    budget: int
    """Trainings that were asked for."""
    trainings: int
    """Trainings of the whole game: fewer where the sampler found nothing new."""
    training: int
    """1, 2 …"""
    places: str
    """The member, one digit for each choice."""
    gap: float
    """Of the best member trained so far, the truth, a fraction of R*."""
    observed_gap: float
    """True gap of the member whose observed reward is best."""
    chosen_gap: float | None
    """True gap of the member that a search of this budget hands over in the end."""
    hypervolume: float | None
    """Of a Pareto search, so far."""
    seconds: float
    """That the sampler took."""


@dataclass(frozen=True, slots=True)
class BedSource:
    """Where beds come from."""

    data: Path | None = None
    """The benchmark's file."""
    run: Path | None = None
    """A run directory, which is a bed of its own."""

    @property
    def run_bed(self) -> str | None:
        """The name of that bed."""
        return None if self.run is None else f"run:{self.run.resolve().name}"


@cache
def load_benchmark(data: Path | None) -> Benchmark:
    """The benchmark, once in each process."""
    return Benchmark(data)


@cache
def load_bed(source: BedSource, name: str) -> Bed:
    """A bed by its name, once in each process.

    Raises:
        ValueError: If there is no such bed, or what it is made from is missing.
    """
    if source.run is not None and name == source.run_bed:
        return bed_of_rows(name, f"what the run {source.run} has trained", rows_of_run(source.run))
    return load_benchmark(source.data).bed(name)


def play_match(source: BedSource, match: Match, budget: int) -> list[Row]:
    """Play one game."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bed = load_bed(source, match.bed)
    rules = Rules(
        trials=budget,
        batch=match.batch,
        noise=SEED_NOISE if match.noise else 0.0,
        objectives=match.objective_names,
        final_choice=FINAL_CHOICES[match.final_choice],
    )

    def make(problem: Problem) -> Player:
        return make_player(match.sampler, problem)

    return rows_of(play(bed, make, rules, match.seed), bed, match, budget)


def rows_of(played: Played, bed: Bed, match: Match, budget: int) -> list[Row]:
    """A game as rows."""
    rewards = np.array([training.reward for training in played.trainings])
    observed = np.array([training.observed for training in played.trainings])
    leaders = [int(observed[: n + 1].argmax()) for n in range(len(observed))]
    volumes = _volumes(played.trainings, bed, match.objective_names)
    chosen = {number: bed.gap(float(bed.rewards(np.array([places]))[0])) for number, places in played.chosen.items()}
    best = np.maximum.accumulate(rewards)
    return [
        Row(
            **asdict(match),
            budget=budget,
            trainings=len(played.trainings),
            training=n + 1,
            places="".join(map(str, training.places)),
            gap=bed.gap(float(best[n])),
            observed_gap=bed.gap(float(rewards[leaders[n]])),
            chosen_gap=chosen.get(n + 1),
            hypervolume=None if volumes is None else float(volumes[n]),
            seconds=training.seconds,
        )
        for n, training in enumerate(played.trainings)
    ]


def _volumes(trainings: Sequence[Training], bed: Bed, objectives: tuple[str, ...]) -> np.ndarray | None:
    if not objectives:
        return None
    costs = CostArrays(
        step_time_s=np.array([training.step_time_s for training in trainings]),
        params=np.array([training.params for training in trainings]),
        macs=np.zeros(len(trainings)),
    )
    accuracy = np.array([training.accuracy for training in trainings])
    return hypervolumes(gains(bed, accuracy, costs, objectives))


def play_all(source: BedSource, matches: Sequence[Match], budget: int, jobs: int) -> Iterator[list[Row]]:
    """Play games, each in a process of its own kind; results come as games end.

    Args:
        source: Of the beds.
        matches: To be played.
        budget: Trainings of each.
        jobs: Processes; with one, games are played in this process.
    """
    if jobs == 1:
        yield from (play_match(source, match, budget) for match in matches)
        return
    others = set(multiprocessing.active_children())
    with _one_thread_each():
        # An interrupt is for this process alone to handle: it ends the others.
        pool = ProcessPoolExecutor(
            jobs,
            multiprocessing.get_context("spawn"),
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        futures = [pool.submit(play_match, source, match, budget) for match in matches]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile compute on one thread each, as there is one for every core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
