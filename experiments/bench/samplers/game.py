"""One game: a whole search on a bed, by ask and tell, as a real one goes but without training anything."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import optuna
from optuna.study import StudyDirection

from experiments.accel_nasbench.bed import Bed, cost_factors, seed_noise
from experiments.accel_nasbench.row_beds import NearestRow
from nas.samplers.problem import Problem
from nas.study import MAX_DUPLICATES_IN_A_ROW, MAX_FOLLOWERS
from nas.trials import distributions
from proxies.seeds import derived_seed

from .final_choice import Ending, FinalChoice, Places, best_observed
from .players import Player
from .repaired import RepairedSampler

BUDGETS = (20, 50, 100, 200)
"""Trainings at which games are compared."""
_DIRECTIONS = {
    "accuracy": StudyDirection.MAXIMIZE,
    "step_time": StudyDirection.MINIMIZE,
    "params": StudyDirection.MINIMIZE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a game is played by."""

    trials: int
    """Trainings, the backbone's among them."""
    batch: int = 1
    """Proposals that are asked for before the results of any of them are told."""
    noise: float = 0.0
    """Standard deviation of accuracy between trainings, a fraction."""
    objectives: tuple[str, ...] = ()
    """Empty: the reward; else those of a Pareto search."""
    final_choice: FinalChoice = field(default_factory=lambda: FinalChoice(retrainings=0, choose=best_observed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a game."""

    places: Places
    accuracy: float
    """The truth, without noise, a fraction."""
    step_time_s: float
    params: float
    reward: float
    """The truth."""
    observed: float
    """The reward with the noise of this training."""
    seconds: float
    """That the sampler took to propose it, proposals of known members included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A game that is over."""

    trainings: tuple[Training, ...]
    chosen: dict[int, Places]
    """What the final choice hands over if the budget is one of `BUDGETS`."""


def play(bed: Bed, make: Callable[[Problem], Player], rules: Rules, seed: int) -> Played:
    """Play one search; the same bed, player, rules and seed give the same game.

    Args:
        bed: Where.
        make: Lets the player know the problem.
        rules: Of the game.
        seed: Of the search, and of the noise.
    """
    return _Game(bed, make, rules, seed).play()


class _Game:
    def __init__(self, bed: Bed, make: Callable[[Problem], Player], rules: Rules, seed: int) -> None:
        self._bed, self._rules, self._seed = bed, rules, seed
        self._problem = Problem(
            space=bed.space, seed=seed, reward=bed.reward, costs=bed.costs, objectives=rules.objectives
        )
        self._player = make(self._problem)
        self._known = distributions(bed.space)
        directions = [_DIRECTIONS[name] for name in rules.objectives] or [StudyDirection.MAXIMIZE]
        self._study = optuna.create_study(directions=directions)
        self._nearest = None if bed.pool is None else NearestRow(bed.pool, seed)
        self._limit = rules.trials if bed.pool is None else min(rules.trials, len(bed.pool))
        self._index, self._repeats, self._seconds = 1, 0, 0.0
        self._values: dict[Places, list[float]] = {}
        self._observed: dict[Places, float] = {}
        self._trainings: list[Training] = []
        self._chosen: dict[int, Places] = {}

    def play(self) -> Played:
        first = _start(self._bed, self._nearest)
        self._study.enqueue_trial(self._bed.space.to_params(self._bed.space.decode(first)))
        while len(self._trainings) < self._limit:
            asked = self._ask(min(self._rules.batch, self._limit - len(self._trainings)))
            if not asked:
                break
            for places, trials in asked.items():
                self._train(places, trials)
        return Played(trainings=tuple(self._trainings), chosen=self._chosen)

    def _ask(self, wanted: int) -> dict[Places, list[optuna.Trial]]:
        """So many members that were never trained, each with the trials that propose it."""
        asked: dict[Places, list[optuna.Trial]] = {}
        followers = 0
        while len(asked) < wanted and followers < MAX_FOLLOWERS and self._repeats < MAX_DUPLICATES_IN_A_ROW:
            trial, places = self._propose()
            if places in self._values:
                self._repeats += 1
                self._study.tell(trial, self._values[places])
            elif places in asked:
                followers += 1
                asked[places].append(trial)
            else:
                self._repeats = 0
                asked[places] = [trial]
        return asked

    def _propose(self) -> tuple[optuna.Trial, Places]:
        start = time.perf_counter()
        sampler = self._player(derived_seed(self._seed, "proposal", self._index))
        if self._nearest is not None:
            sampler = RepairedSampler(sampler, self._bed.space, self._known, self._nearest.take)
        self._study.sampler = sampler
        trial = self._study.ask(self._known)
        self._seconds += time.perf_counter() - start
        self._index += trial.number > 0  # as in a real search, the backbone's trial uses up no index
        return trial, self._bed.space.encode(self._bed.space.from_params(trial.params))

    def _train(self, places: Places, trials: Sequence[optuna.Trial]) -> None:
        encoded = np.array([places])
        costs = self._bed.costs(encoded)
        accuracy = float(self._bed.accuracy(encoded)[0])
        factor = float(cost_factors(self._bed.reward, costs)[0])
        seconds, params = float(np.asarray(costs.step_time_s)[0]), float(costs.params[0])
        noisy = self._noisy(places, accuracy, replicate=0)
        figures = {"accuracy": noisy, "step_time": seconds, "params": params}
        values = [figures[name] for name in self._rules.objectives] or [noisy * factor]
        self._values[places], self._observed[places] = values, noisy * factor
        for trial in trials:
            self._study.tell(trial, values)
        training = Training(
            places=places,
            accuracy=accuracy,
            step_time_s=seconds,
            params=params,
            reward=accuracy * factor,
            observed=noisy * factor,
            seconds=self._seconds,
        )
        self._seconds = 0.0
        self._trainings.append(training)
        self._choose()

    def _noisy(self, places: Places, accuracy: float, replicate: int) -> float:
        if not self._rules.noise:
            return accuracy
        noise = seed_noise(self._seed, places, replicate, spread=self._rules.noise)
        return min(max(accuracy + noise, 0.0), 1.0)

    def _choose(self) -> None:
        """Hand over what a search of one of the budgets would, its retrainings counted."""
        rule = self._rules.final_choice
        budget = len(self._trainings) + rule.retrainings
        if budget in BUDGETS and budget <= self._rules.trials:
            ending = Ending(problem=self._problem, study=self._study, rewards=self._observed, retrain=self._retrain)
            self._chosen[budget] = rule.choose(ending)

    def _retrain(self, places: Places, replicate: int) -> float:
        encoded = np.array([places])
        factor = float(cost_factors(self._bed.reward, self._bed.costs(encoded))[0])
        return factor * self._noisy(places, float(self._bed.accuracy(encoded)[0]), replicate)


def _start(bed: Bed, nearest: NearestRow | None) -> Places:
    """The backbone, or what is trained in its place."""
    taken = None if nearest is None else nearest.take(np.array(bed.backbone))
    return taken or bed.backbone
