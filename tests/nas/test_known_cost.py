"""The sampler that knows the costs, played on made-up problems that can be looked through as a whole."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna._hypervolume import compute_hypervolume
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.reward import Reward
from nas.samplers import make_sampler
from nas.samplers.history import Members
from nas.samplers.knowledge import Knowledge
from nas.samplers.neighbourhood import distinct
from nas.samplers.problem import EarlierRun, Problem
from nas.trials import distributions
from proxies.costs import CostModel, MacsStepTimes
from proxies.execution import parse_mode
from proxies.workload import Workload
from search_spaces.space import SearchSpace
from search_spaces.space_file import space_from_mapping

WORK = Workload(mode=parse_mode("float32-channels_last"), num_classes=10)
TWO_STAGES: list[dict[str, Any]] = [
    {"block": ["ir", "er"], "num_repeats": [1, 2, 3], "expand_ratio": [1, 4, 6], "se_ratio": [0.0, 0.25]},
    {"num_repeats": [1, 2, 3], "kernel_size": [3, 5], "expand_ratio": [1, 4, 6]},
]


def space_of(stages: Sequence[dict[str, Any]]) -> SearchSpace:
    fixed = {"out_channels": 16, "stride": 2, "block": "ir", "num_repeats": 1, "kernel_size": 3, "expand_ratio": 4}
    spread = {"resolution": 32, "stem_channels": 8, "head_channels": 32}
    return space_from_mapping({**spread, "stages": [fixed | stage for stage in stages]})


SPACE = space_of(TWO_STAGES)
"""486 architectures; where the first stage is Fused-MBConv its SE ratio means nothing."""


@cache
def problem_of(space: SearchSpace = SPACE, *, with_step_times: bool = True) -> Problem:
    times = MacsStepTimes(WORK, space.backbone, backbone_s=0.1) if with_step_times else None
    costs = CostModel(workload=WORK, device_kind="cpu", step_times=times).over(space)
    reward = Reward(w=-0.3, v=-0.2, step_time_ref_s=0.1, params_ref=10_000)
    return Problem(space=space, seed=0, reward=reward, costs=costs)


@cache
def every_member(space: SearchSpace = SPACE) -> np.ndarray:
    sizes = Members(space).sizes
    listed = list(itertools.product(*map(range, sizes)))
    return distinct(Members(space).canonical_rows(np.array(listed).reshape(len(listed), len(sizes))))


Truth = Callable[[np.ndarray], np.ndarray]
"""Accuracies of members."""


def made_up(seed: int, space: SearchSpace = SPACE) -> Truth:
    """Log-accuracy is a sum over choices, of which more cost more."""
    rng = np.random.default_rng(seed)
    weights = [np.sort(rng.normal(0.0, 0.15, size)) for size in Members(space).sizes]
    return lambda rows: 0.5 * np.exp(sum((values[rows[:, i]] for i, values in enumerate(weights)), np.zeros(len(rows))))


def rewards(problem: Problem, truth: Truth, rows: np.ndarray) -> np.ndarray:
    """By the formula, one by one."""
    costs, times = problem.costs(rows), replace(problem_of(problem.space)).costs(rows).step_time_s
    assert times is not None
    return np.array([
        problem.reward(accuracy=float(a), step_time_s=float(s), params=int(p))
        for a, s, p in zip(np.minimum(truth(rows), 1.0), times, costs.params, strict=True)
    ])  # fmt: skip


def values_of(problem: Problem, truth: Truth, row: np.ndarray) -> list[float]:
    """What the study is told."""
    if not problem.objectives:
        return [float(rewards(problem, truth, row[None])[0])]
    costs = problem_of(problem.space).costs(row[None])
    assert costs.step_time_s is not None
    found = {"accuracy": truth(row[None])[0], "step_time": costs.step_time_s[0], "params": costs.params[0]}
    return [float(found[name]) for name in problem.objectives]


class Game:
    """A search on a made-up problem, with a fresh sampler for each proposal, the backbone first."""

    def __init__(self, problem: Problem, truth: Truth, name: str = "known-cost", **of_study: Any) -> None:
        self.problem, self.truth, self.name = problem, truth, name
        self.members = Members(problem.space)
        directions = ["maximize" if each == "accuracy" else "minimize" for each in problem.objectives or ["accuracy"]]
        self.study = optuna.create_study(directions=directions, load_if_exists=True, **of_study)
        self.sampler_of = make_sampler(name, problem)

    def ask(self, proposal: int) -> optuna.Trial:
        if proposal == 0:
            self.study.enqueue_trial(self.problem.space.to_params(self.problem.space.backbone))
        self.study.sampler = self.sampler_of(7919 * self.problem.seed + proposal)
        return self.study.ask(distributions(self.problem.space))

    def row(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> np.ndarray:
        places = self.members.encode(trial.params)
        assert places is not None
        return np.array(places)

    def tell(self, trial: optuna.Trial) -> None:
        self.study.tell(trial, values_of(self.problem, self.truth, self.row(trial)))

    def play(self, proposals: int, first: int = 0) -> "Game":
        for proposal in range(first, proposals):
            self.tell(self.ask(proposal))
        return self

    @property
    def rows(self) -> np.ndarray:
        """Members that were asked for and not lost, in order."""
        return np.array([self.row(t) for t in self.study.get_trials(deepcopy=False) if t.state is not TrialState.FAIL])

    def trainings_to(self, bound: float) -> float:
        reached = rewards(self.problem, self.truth, self.rows) >= bound
        return float(np.argmax(reached)) + 1 if reached.any() else np.inf


class TestScalar:
    def test_it_finds_the_best_member_long_before_chance(self) -> None:
        """Of 486: on average chance needs 243."""
        ours, chance = [], []
        for seed in range(3):
            print(f"seed {seed}")
            truth, problem = made_up(seed), replace(problem_of(), seed=seed)
            best = rewards(problem, truth, every_member()).max()
            ours.append(Game(problem, truth).play(30).trainings_to(best - 1e-12))
            chance.append(Game(problem, truth, "random").play(120).trainings_to(best - 1e-12))
        print(ours, chance)
        assert np.median(ours) <= 25
        assert np.median(ours) * 3 < np.median(chance)
        assert max(ours) <= 30

    def test_measured_step_times_are_part_of_what_is_modelled(self) -> None:
        """Parameters alone are known then."""
        truth, problem = made_up(1), problem_of(with_step_times=False)
        best = rewards(problem, truth, every_member()).max()
        assert Game(problem, truth).play(40).trainings_to(best * 0.995) <= 40

    @pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
    def test_results_that_are_all_alike_leave_the_costs(self, level: float) -> None:
        """The cheapest member is best."""
        problem = problem_of()
        truth: Truth = lambda rows: np.full(len(rows), level)  # noqa: E731
        game = Game(problem, truth).play(20)
        assert len(distinct(game.rows)) == 20
        if level:
            assert rewards(problem, truth, game.rows).max() == rewards(problem, truth, every_member()).max()

    def test_an_accuracy_of_nought_is_no_trouble(self) -> None:
        """What failed to train is passed by, and hides nothing else."""
        good, problem = made_up(2), problem_of()
        truth: Truth = lambda rows: np.where(rows[:, -1] == 0, 0.0, good(rows))  # noqa: E731
        best = rewards(problem, truth, every_member()).max()
        assert Game(problem, truth).play(50).trainings_to(best - 1e-12) <= 50

    def test_what_is_infeasible_is_avoided(self) -> None:
        """A third of the space, in which the best would lie."""
        problem, truth = problem_of(), made_up(3)
        game, fates = Game(problem, truth), []
        column = len(Members(SPACE).sizes) - 1
        bad = every_member()[np.argmax(rewards(problem, truth, every_member()))][column]
        for proposal in range(25):
            trial = game.ask(proposal)
            fates.append(bool(game.row(trial)[column] == bad))
            if fates[-1]:
                trial.set_constraint("infeasible", 1.0)
                game.study.tell(trial, state=TrialState.PRUNED)
            else:
                game.tell(trial)
        rest = every_member()[every_member()[:, column] != bad]
        assert sum(fates[:20]) <= 9, fates
        assert game.trainings_to(rewards(problem, truth, rest).max() - 1e-12) <= 25

    def test_everything_infeasible_is_searched_all_the_same(self) -> None:
        game = Game(problem_of(), made_up(0))
        for proposal in range(12):
            trial = game.ask(proposal)
            trial.set_constraint("infeasible", 1.0)
            game.study.tell(trial, state=TrialState.PRUNED)
        assert len(distinct(game.rows)) == 12


class TestState:
    @pytest.mark.parametrize(
        ("objectives", "stops"),
        [((), [10]), (("accuracy", "step_time"), [5]), pytest.param((), [3, 43, 50], marks=pytest.mark.slow)],
    )
    def test_a_killed_search_goes_on_as_if_nothing_had_happened(
        self, tmp_path: Path, objectives: tuple[str, ...], stops: list[int]
    ) -> None:
        """It is killed while it fits its covariance now and then only, and some trainings have failed."""
        problem = replace(problem_of(), objectives=objectives, seed=5)
        good = made_up(5)
        truth: Truth = lambda rows: np.where(rows.sum(axis=1) % 7 == 0, 1e-4, good(rows) * (1 + 0.01 * rows[:, 0]))  # noqa: E731
        whole = Game(problem, truth).play(stops[-1] + 6).rows
        for stop in stops:
            url = f"sqlite:///{tmp_path / f'{stop}.db'}"
            game = Game(problem, truth, storage=RDBStorage(url), study_name="s").play(stop)
            for late in range(2):  # running when it was killed
                game.ask(1000 + late)
            again = Game(problem, truth, storage=RDBStorage(url), study_name="s")
            for trial in again.study.get_trials(states=[TrialState.RUNNING]):
                again.study.tell(trial.number, state=TrialState.FAIL)
            assert (again.play(stop + 6, first=stop).rows == whole[: stop + 6]).all()

    def test_the_covariance_is_fitted_to_what_was_known_at_its_milestone(self) -> None:
        """Whatever came out since: a new best that makes others look failed, say."""
        rows, rng = every_member()[:43], np.random.default_rng(0)
        logs = np.log(made_up(0)(rows)) + np.where(np.arange(43) == 7, -0.6, 0.0) + 0.01 * rng.normal(size=43)
        logs[41:] = 1.0
        at, after = (Knowledge(problem_of()).model_after(rows[:n], logs[:n]).h for n in (40, 43))
        assert at.noise == after.noise
        assert (at.rates == after.rates).all()
        more = np.concatenate([logs, np.zeros(1)])
        later = Knowledge(problem_of()).model_after(every_member()[:44], more).h
        assert later.noise != after.noise

    @pytest.mark.parametrize("known", [0, 1, 30])
    def test_eight_workers_get_eight_members_that_nobody_knows(self, known: int) -> None:
        game = Game(problem_of(), made_up(0)).play(known)
        for proposal in range(known, known + 8):
            game.ask(proposal)
        assert len(distinct(game.rows)) == known + 8

    def test_pending_members_count(self) -> None:
        """What runs is believed to come out as expected, so the next proposal is not beside it."""
        problem, truth = problem_of(), made_up(4)
        best = rewards(problem, truth, every_member()).max()
        reached = []
        for seed in range(2):
            game = Game(replace(problem, seed=seed), truth).play(1)
            for batch in range(5):
                for trial in [game.ask(1 + 8 * batch + place) for place in range(8)]:
                    game.tell(trial)
            reached.append(game.trainings_to(best - 1e-12))
        assert np.median(reached) <= 33, reached

    def test_nothing_comes_twice_under_two_writings(self) -> None:
        game = Game(problem_of(), made_up(6)).play(40)
        assert len({str(SPACE.decode(row)) for row in game.rows.tolist()}) == 40


class TestSmallSpaces:
    @pytest.mark.parametrize(
        "stages",
        [
            [{}, {}],
            [{"kernel_size": [3, 5]}, {}],
            [{"block": ["ir", "er"], "se_ratio": [0.0, 0.25]}, {"block": "er", "se_ratio": [0.0, 0.25]}],
            [{"num_repeats": [1, 2, 3], "kernel_size": [3, 5]}, {"expand_ratio": [1, 4]}],
        ],
        ids=["one member", "one choice", "fused", "twelve"],
    )
    @pytest.mark.parametrize("objectives", [(), ("params", "accuracy")])
    def test_a_space_is_searched_whole_and_then_again(
        self, stages: list[dict[str, Any]], objectives: tuple[str, ...]
    ) -> None:
        space = space_of(stages)
        problem = replace(problem_of(space), objectives=objectives)
        game = Game(problem, made_up(0, space)).play(space.size + 3)
        assert len(distinct(game.rows[: space.size])) == space.size


def true_front(problem: Problem, truth: Truth) -> set[tuple[int, ...]]:
    """Members that no other is better than, by looking at all pairs."""
    everyone = every_member(problem.space)
    costs = problem.costs(everyone)
    columns = {"accuracy": -truth(everyone), "step_time": costs.step_time_s, "params": costs.params}
    losses = np.stack([columns[name] for name in problem.objectives], axis=1)
    no_worse = (losses[:, None] >= losses[None]).all(axis=-1)
    better = (losses[:, None] > losses[None]).any(axis=-1)
    return set(map(tuple, everyone[~(no_worse & better).any(axis=1)].tolist()))


def hypervolume(problem: Problem, truth: Truth, rows: np.ndarray) -> float:
    """Of log-accuracy and log-costs, up to the worst of the whole space."""

    def losses(rows: np.ndarray) -> np.ndarray:
        costs = problem.costs(rows)
        columns = {"accuracy": 1 / truth(rows), "step_time": costs.step_time_s, "params": costs.params}
        return np.log(np.stack([columns[name] for name in problem.objectives], axis=1))

    reference = losses(every_member(problem.space)).max(axis=0)
    return float(compute_hypervolume(losses(rows), reference + 1e-9))


class TestPareto:
    @pytest.mark.parametrize(
        "objectives",
        [("accuracy", "step_time"), ("params", "accuracy"), ("step_time", "params", "accuracy")],
        ids=lambda names: "-".join(names),
    )
    @pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
    def test_it_reaches_the_true_front(self, objectives: tuple[str, ...], seed: int) -> None:
        """Its volume and its ends, far sooner than chance, in whatever order objectives come."""
        print(f"seed {seed}")
        problem, truth = replace(problem_of(), objectives=objectives, seed=seed), made_up(seed)
        front = np.array(sorted(true_front(problem, truth)))
        whole = hypervolume(problem, truth, front)
        rows = {name: Game(problem, truth, name).play(40).rows for name in ("known-cost", "random")}
        shares = {name: hypervolume(problem, truth, each) / whole for name, each in rows.items()}
        print(len(front), shares)
        assert shares["known-cost"] > 0.98
        assert 1 - shares["known-cost"] < 0.3 * (1 - shares["random"])
        # From the cheapest member to the most accurate one, which is dear.
        assert truth(rows["known-cost"]).max() > 0.95 * truth(every_member()).max()
        cheapest = np.min(problem.costs(every_member()).params)
        assert problem.costs(rows["known-cost"]).params.min() < 1.05 * cheapest

    @pytest.mark.parametrize("objectives", [("accuracy", "step_time"), ("params", "accuracy", "step_time")])
    def test_measured_step_times_are_no_hindrance(self, objectives: tuple[str, ...]) -> None:
        problem = replace(problem_of(with_step_times=False), objectives=objectives)
        assert len(distinct(Game(problem, made_up(0)).play(12).rows)) == 12


class TestEarlierRuns:
    def earlier(self, seed: int) -> EarlierRun:
        rng = np.random.default_rng(seed)
        members = every_member()[rng.choice(SPACE.size, 60, replace=False)]
        return EarlierRun(members=members, accuracies=0.6 * made_up(seed)(members))

    def test_they_shorten_the_search(self) -> None:
        warm, cold = [], []
        for seed in range(2):
            print(f"seed {seed}")
            truth, problem = made_up(seed), replace(problem_of(), seed=seed)
            bound = rewards(problem, truth, every_member()).max() - 1e-12
            cold.append(Game(problem, truth).play(25).trainings_to(bound))
            warm.append(Game(replace(problem, earlier=[self.earlier(seed)]), truth).play(25).trainings_to(bound))
        print(warm, cold)
        assert np.mean(warm) < np.mean(np.minimum(cold, 26))

    def test_before_there_is_a_table_the_design_proposes(self) -> None:
        """A model without step times would propose what is accurate and slow."""
        problem = replace(problem_of(with_step_times=False), is_priced=False)
        cold, warm = (Game(replace(problem, earlier=runs), made_up(0)) for runs in ([], [self.earlier(0)]))
        assert [cold.ask(1 + n).params for n in range(4)] == [warm.ask(1 + n).params for n in range(4)]

    @pytest.mark.parametrize("objectives", [(), ("accuracy", "step_time")])
    @pytest.mark.parametrize("with_step_times", [True, False])
    def test_they_are_enough_to_start_from(self, objectives: tuple[str, ...], with_step_times: bool) -> None:
        """Before anything is judged here, and while nothing but failures is."""
        problem = replace(problem_of(with_step_times=with_step_times), objectives=objectives, earlier=[self.earlier(0)])
        game = Game(problem, made_up(0))
        for proposal in range(6):
            trial = game.ask(1 + proposal)
            if proposal % 2:
                trial.set_constraint("infeasible", 1.0)
                game.study.tell(trial, state=TrialState.PRUNED)
        assert len(distinct(game.rows)) == 6
        # What was known to be good elsewhere is where it begins.
        truth = made_up(0)
        if not objectives and with_step_times:
            first = rewards(problem, truth, game.rows[:1])[0]
            assert first > np.quantile(rewards(problem, truth, every_member()), 0.9)
