"""The sampler benchmark: games go as searches go, what was played is kept, and figures say what they claim."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_search
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna._hypervolume import compute_hypervolume
from rich.console import Console

from experiments.accel_nasbench.bed import Bed, cost_factors, reference_reward
from experiments.accel_nasbench.row_beds import make_row_bed
from experiments.accel_nasbench.stage_times import fit_stage_times
from experiments.bench.samplers import benchmark, games
from experiments.bench.samplers.benchmark import make_plan, run_benchmark
from experiments.bench.samplers.final_choice import FINAL_CHOICES
from experiments.bench.samplers.game import BUDGETS, Played, Rules, play
from experiments.bench.samplers.games import BedSource, Match, Row, play_all, play_match
from experiments.bench.samplers.games_file import GamesFile
from experiments.bench.samplers.pareto import hypervolume, hypervolumes, long_run_front, merged
from experiments.bench.samplers.players import Player, make_player
from experiments.bench.samplers.sheets import sheets_of
from experiments.bench.samplers.standings import bootstrap, contests, paired_difference, speed_up, trainings_to
from nas.cli import main
from nas.pricing import make_cost_model
from nas.samplers.problem import Problem
from proxies.costs import CostModel
from proxies.workload import Workload
from search_spaces.space_file import space_from_mapping

TINY = space_from_mapping(fake_search.SPACE)
NUM_VALUES = [len(values) for values in TINY.choices.values()]
EVERYTHING = np.array(list(itertools.product(*(range(count) for count in NUM_VALUES))))
STEP_TIMES = fit_stage_times(TINY, EVERYTHING, 1.0 + EVERYTHING.sum(axis=1))
COSTS = CostModel(workload=Workload(num_classes=10), device_kind="cpu", step_times=STEP_TIMES).over(TINY)


def accuracy(encoded: np.ndarray) -> np.ndarray:
    """Every choice helps, the first most."""
    return np.asarray(0.6 + 0.05 * encoded[:, 0] + 0.01 * encoded[:, 1:].sum(axis=1))


def tiny_bed() -> Bed:
    reward = reference_reward(TINY, COSTS)
    rewards = accuracy(EVERYTHING) * cost_factors(reward, COSTS(EVERYTHING))
    best = int(rewards.argmax())
    return Bed(
        name="tiny",
        title="made up",
        space=TINY,
        accuracy=accuracy,
        costs=COSTS,
        reward=reward,
        optimum=float(rewards[best]),
        best=tuple(map(int, EVERYTHING[best])),
    )


def rows_bed(count: int = 30) -> Bed:
    rows = EVERYTHING[np.random.default_rng(0).permutation(len(EVERYTHING))[:count]]
    return make_row_bed("rows", "rows", TINY, rows=rows, accuracy=accuracy(rows), step_time_s=None, costs=COSTS)


def player(name: str) -> Callable[[Problem], Player]:
    return lambda problem: make_player(name, problem)


def game(name: str = "tpe", *, seed: int = 0, bed: Bed | None = None, rules: Rules | None = None) -> Played:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return play(bed or tiny_bed(), player(name), rules or Rules(trials=25), seed)


def places(played: Played) -> list[tuple[int, ...]]:
    return [training.places for training in played.trainings]


class TestGame:
    def test_it_starts_from_the_backbone_and_trains_nothing_twice(self) -> None:
        trained = places(game())
        assert trained[0] == TINY.encode(TINY.backbone)
        assert len(trained) == len(set(trained)) == 25

    def test_the_same_seed_gives_the_same_game(self) -> None:
        assert places(game(seed=3)) == places(game(seed=3))
        assert places(game(seed=3)) != places(game(seed=4))

    @pytest.mark.parametrize("name", ["tpe", "random"])
    def test_a_game_goes_as_a_real_search_goes(self, tmp_path: Path, name: str) -> None:
        """The product's own loop, with the same accuracies, trains the same architectures in the same order."""
        config = fake_search.config(tmp_path / "run", sampler=name, trials=25, finalists=0, seed=5)
        run, _ = fake_search.run(config)
        model = make_cost_model(run.config, run.preparation, run.tables)
        assert model is not None

        def looked_up(encoded: np.ndarray) -> np.ndarray:
            texts = [str(TINY.decode(row.tolist())) for row in encoded]
            return np.array([fake_search.accuracy(text, 0).accuracy for text in texts])

        bed = replace(tiny_bed(), accuracy=looked_up, costs=model.over(TINY), reward=run.reward())
        trained = [record.candidate.architecture for record in run.records if record.is_judged and record.candidate]
        assert [str(TINY.decode(member)) for member in places(game(name, bed=bed, seed=5))] == trained

    def test_figures_are_those_of_the_bed(self) -> None:
        bed = tiny_bed()
        for training in game(bed=bed).trainings:
            encoded = np.array([training.places])
            assert training.reward == pytest.approx(bed.rewards(encoded)[0])
            assert training.observed == training.reward
            assert training.accuracy == accuracy(encoded)[0]
            assert training.params == COSTS(encoded).params[0]

    def test_a_sampler_that_knows_nothing_new_ends_the_game(self) -> None:
        """One that proposes the same for ever is asked a hundred times more, and no oftener."""
        asked = []

        class Stubborn(optuna.samplers.RandomSampler):
            def sample_independent(self, study, trial, name, distribution):  # type: ignore[no-untyped-def]
                if name == next(iter(TINY.choices)):
                    asked.append(trial.number)
                return distribution.choices[-1]

        played = play(tiny_bed(), lambda problem: lambda seed: Stubborn(), Rules(trials=9), 0)
        assert len(played.trainings) == 2
        assert len(asked) == 1 + 100

    def test_the_whole_space_can_be_played(self) -> None:
        bed = rows_bed(12)
        trained = places(game(bed=bed, rules=Rules(trials=40)))
        assert sorted(trained) == sorted(map(tuple, np.asarray(bed.pool).tolist()))

    @pytest.mark.parametrize("name", ["tpe", "random", "nsga2"])
    def test_rows_alone_are_trained_and_learnt_from(self, name: str) -> None:
        bed, seen = rows_bed(), []

        def make(problem: Problem) -> Player:
            inner = make_player(name, problem)

            def sampler_of(seed: int) -> optuna.samplers.BaseSampler:
                sampler = inner(seed)
                sampler.after_trial, after = (  # type: ignore[method-assign]
                    lambda study, trial, state, values: (seen.append(trial.params), after(study, trial, state, values)),  # type: ignore[func-returns-value]
                    sampler.after_trial,
                )
                return sampler

            return sampler_of

        played = play(bed, make, Rules(trials=20), 1)
        pool = {tuple(row) for row in np.asarray(bed.pool).tolist()}
        assert len(set(places(played))) == 20
        assert set(places(played)) <= pool
        assert {TINY.encode(TINY.from_params(params)) for params in seen} == set(places(played))

    def test_a_batch_is_asked_before_its_results_are_told(self) -> None:
        counts = []

        def make(problem: Problem) -> Player:
            def sampler_of(seed: int) -> optuna.samplers.BaseSampler:
                sampler = make_player("random", problem)(seed)
                before = sampler.before_trial

                def counted(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
                    counts.append(sum(each.state.is_finished() for each in study.get_trials(deepcopy=False)))
                    before(study, trial)

                sampler.before_trial = counted  # type: ignore[method-assign]
                return sampler

            return sampler_of

        play(tiny_bed(), make, Rules(trials=12, batch=4), 0)
        assert counts[:4] == [0] * 4
        assert max(counts) >= 8

    def test_noise_is_paired_and_hides_the_truth_alone(self) -> None:
        rules = Rules(trials=25, noise=0.01)
        for name in ("random", "tpe"):
            for training in game(name, rules=rules).trainings:
                assert training.observed != training.reward
        one, other = (
            {training.places: training.observed for training in game(name, rules=rules).trainings}
            for name in ("random", "tpe")
        )
        shared = one.keys() & other.keys()
        assert shared
        assert all(one[member] == other[member] for member in shared)

    def test_the_final_choice_pays_for_its_retrainings(self) -> None:
        rules = Rules(trials=20, noise=0.05, final_choice=FINAL_CHOICES["retrain-4"])
        played = game("random", rules=rules)
        assert list(played.chosen) == [20]
        assert played.chosen[20] in places(played)[:16]
        plain = game("random", rules=replace(rules, final_choice=FINAL_CHOICES["best-observed"]))
        assert plain.chosen[20] == max(plain.trainings, key=lambda training: training.observed).places

    def test_several_objectives_are_told_in_their_directions(self) -> None:
        told = []

        def make(problem: Problem) -> Player:
            assert tuple(problem.objectives) == ("accuracy", "step_time", "params")

            def sampler_of(seed: int) -> optuna.samplers.BaseSampler:
                sampler = make_player("nsga2", problem)(seed)
                sampler.after_trial = lambda study, trial, state, values: told.append((study.directions, values))  # type: ignore[method-assign]
                return sampler

            return sampler_of

        played = play(tiny_bed(), make, Rules(trials=10, objectives=("accuracy", "step_time", "params")), 0)
        directions, values = told[-1]
        last = played.trainings[-1]
        assert [direction.name for direction in directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
        assert list(values) == [last.accuracy, last.step_time_s, last.params]


def rows_for(
    sampler: str, gaps: list[float], *, seed: int = 0, budget: int | None = None, **changes: object
) -> list[Row]:
    match = Match(
        bed="tiny", objectives="reward", noise=False, batch=1, final_choice="best-observed", sampler=sampler, seed=seed
    )
    return [
        replace(
            Row(
                bed=match.bed, objectives=match.objectives, noise=False, batch=1, final_choice=match.final_choice,
                sampler=sampler, seed=seed, budget=budget or len(gaps), trainings=len(gaps), training=number + 1,
                places="000", gap=gap, observed_gap=gap, chosen_gap=None, hypervolume=None, seconds=0.1,
            ),
            **changes,
        )
        for number, gap in enumerate(gaps)
    ]  # fmt: skip


def frame(*played: list[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        [{name: getattr(row, name) for name in Row.__dataclass_fields__} for each in played for row in each]
    )


class TestGames:
    MATCHES = tuple(
        Match(
            bed="tiny",
            objectives="reward",
            noise=False,
            batch=1,
            final_choice="best-observed",
            sampler=sampler,
            seed=seed,
        )
        for seed in range(2)
        for sampler in ("random", "tpe")
    )

    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(games, "load_bed", lambda source, name: tiny_bed())

    def test_rows_tell_the_gap_so_far(self) -> None:
        rows = play_match(BedSource(), self.MATCHES[1], 15)
        bed = tiny_bed()
        rewards = [bed.rewards(np.array([list(map(int, row.places))]))[0] for row in rows]
        for number, row in enumerate(rows, start=1):
            assert row.gap == pytest.approx(1 - max(rewards[:number]) / bed.optimum)
            assert row.training == number
            assert row.trainings == row.budget == 15

    def test_what_was_played_is_not_played_again(self, tmp_path: Path) -> None:
        file = GamesFile(tmp_path / "samplers.csv")
        assert file.missing(self.MATCHES, 10) == list(self.MATCHES)
        for rows in itertools.islice(play_all(BedSource(), self.MATCHES, 10, jobs=1), 3):
            file.append(rows)
        assert file.missing(self.MATCHES, 10) == [self.MATCHES[3]]
        assert file.missing(self.MATCHES, 5) == [self.MATCHES[3]]
        assert file.missing(self.MATCHES, 11) == list(self.MATCHES)
        assert file.missing([replace(self.MATCHES[0], noise=True)], 10) == [replace(self.MATCHES[0], noise=True)]

    @pytest.mark.parametrize("cut", [30, 200])
    def test_a_game_that_a_kill_has_cut_is_played_again(self, tmp_path: Path, cut: int) -> None:
        file = GamesFile(tmp_path / "samplers.csv")
        for match in self.MATCHES[:2]:
            file.append(play_match(BedSource(), match, 10))
        whole = file.read()
        file.path.write_bytes(file.path.read_bytes()[:-cut])
        assert file.missing(self.MATCHES[:2], 10) == [self.MATCHES[1]]
        file.append(play_match(BedSource(), self.MATCHES[1], 10))
        again = file.read()
        assert file.missing(self.MATCHES[:2], 10) == []
        columns = ["sampler", "training", "places", "gap"]
        assert again[columns].to_numpy().tolist() == whole[columns].to_numpy().tolist()

    def test_a_game_that_found_nothing_new_counts_as_played(self, tmp_path: Path) -> None:
        file = GamesFile(tmp_path / "samplers.csv")
        file.append(rows_for("random", [0.1, 0.1], budget=50))
        match = self.MATCHES[0]
        assert file.missing([match], 50) == file.missing([match], 500) == []

    def test_of_two_equal_games_the_longer_one_counts(self, tmp_path: Path) -> None:
        file = GamesFile(tmp_path / "samplers.csv")
        file.append(rows_for("random", [0.1] * 3))
        file.append(rows_for("random", [0.1] * 5))
        assert len(file.read()) == 5

    def test_a_file_of_something_else_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "samplers.csv"
        path.write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match="must have the columns"):
            GamesFile(path).read()

    def test_everything_from_the_command_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(benchmark, "load_bed", lambda source, name: tiny_bed())
        monkeypatch.setattr(benchmark, "BED_NAMES", ("tiny",))
        monkeypatch.setattr(benchmark, "_notes", lambda plan, found: iter(["Notes."]))
        plan = make_plan(
            data=None, run=None, beds=("tiny",), samplers=("random", "tpe"), seeds=3, trials=22, noise=True,
            final_choice="best-observed", batch=2, pareto=False, out=tmp_path, jobs=1,
        )  # fmt: skip
        run_benchmark(plan)
        printed = capsys.readouterr().out
        assert "@20" in printed
        assert "best observed @22" in printed
        assert len(pd.read_csv(tmp_path / "samplers.csv")) == 2 * 3 * 22
        page = (tmp_path / "report.html").read_text()
        assert "gaps-0" in page
        assert "seed noise" in page
        before = (tmp_path / "samplers.csv").read_bytes()
        run_benchmark(plan)
        assert (tmp_path / "samplers.csv").read_bytes() == before

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"beds": ("tinny",)}, "no bed 'tinny'"),
            ({"samplers": ("tpee",)}, "unknown sampler 'tpee'; did you mean 'tpe'"),
            ({"final_choice": "retrain-5"}, "unknown final choice 'retrain-5'; did you mean 'retrain-4'"),
        ],
    )
    def test_a_mistake_is_told_in_a_line(self, tmp_path: Path, changes: dict[str, object], message: str) -> None:
        settings = {
            "data": None, "run": None, "beds": ("trees",), "samplers": ("random",), "seeds": 3, "trials": 22,
            "noise": False, "final_choice": "best-observed", "batch": 1, "pareto": False, "out": tmp_path, "jobs": 1,
        }  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make_plan(**settings | changes)  # type: ignore[arg-type]


@pytest.mark.slow
def test_other_processes_play_the_same_games(tmp_path: Path) -> None:
    fake_search.run(fake_search.config(tmp_path / "run", finalists=0))
    source = BedSource(run=tmp_path / "run")
    assert source.run_bed is not None
    matches = [
        Match(
            bed=source.run_bed, objectives="reward", noise=True, batch=2, final_choice="best-observed",
            sampler="random", seed=seed,
        )
        for seed in range(3)
    ]  # fmt: skip

    def played(jobs: int) -> set[tuple[int, int, str, float]]:
        games_played = play_all(source, matches, 10, jobs)
        return {(row.seed, row.training, row.places, row.gap) for rows in games_played for row in rows}

    assert len(played(1)) == 30
    assert played(1) == played(2)


class TestStandings:
    def test_gaps_are_means_over_seeds_with_their_errors(self) -> None:
        (contest,) = contests(
            frame(*(rows_for("random", [0.5, gap], seed=seed) for seed, gap in enumerate([0.1, 0.3])))
        )
        (sheet,) = sheets_of(contest, {})
        # Standard error of two values: half of their difference.
        assert list(sheet.rows["random"]) == ["20.00 ± 10.00", "> 2", "> 2", "0.100"]
        console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        console.print(sheet.on_console())
        assert "20.00 ± 10.00" in console.export_text()

    def test_a_game_that_ended_early_keeps_its_last_gap(self) -> None:
        (contest,) = contests(frame(rows_for("random", [0.5, 0.2], budget=4), rows_for("random", [0.4] * 4, seed=1)))
        assert contest.standings[0].gap.tolist() == [[0.5, 0.2, 0.2, 0.2], [0.4] * 4]

    def test_trainings_to_a_gap(self) -> None:
        gap = np.array([[0.03, 0.01, 0.0], [0.03, 0.02, 0.01], [0.01, 0.0, 0.0], [0.3, 0.3, 0.3]])
        assert trainings_to(gap, 0.01) == 2.5
        assert trainings_to(gap, 0.001) == math.inf

    def test_differences_are_paired_by_seed(self) -> None:
        """Seeds that play alike for both give a narrow interval, however much seeds differ among themselves."""
        levels = [0.1, 0.5, 0.9, 0.2]
        played = [
            rows_for(name, [level + extra], seed=seed)
            for seed, level in enumerate(levels)
            for name, extra in (("known-cost", 0.0), ("tpe", 0.01))
        ]
        (contest,) = contests(frame(*reversed(played)))
        reference = contest.reference
        assert reference is not None
        standing = next(each for each in contest.standings if each.sampler == "tpe")
        found = paired_difference(standing, reference, 1)
        assert found is not None
        assert (found.low, found.mean, found.high) == pytest.approx((0.01, 0.01, 0.01))
        assert paired_difference(standing, reference, 2) is None

    def test_the_bootstrap_is_about_the_normal_interval(self) -> None:
        values = np.random.default_rng(0).normal(1.0, 2.0, 400)
        found = bootstrap(values)
        assert found.low == pytest.approx(values.mean() - 1.96 * 0.1, abs=0.03)
        assert found.high == pytest.approx(values.mean() + 1.96 * 0.1, abs=0.03)

    def test_how_many_times_fewer_trainings(self) -> None:
        def volumes(name: str, values: list[float], seed: int) -> list[Row]:
            return [
                replace(row, hypervolume=value)
                for row, value in zip(rows_for(name, values, seed=seed), values, strict=True)
            ]

        played = [
            each
            for seed in range(2)
            for each in (
                volumes("known-cost", [1.0, 2.0, 3.0, 4.0], seed),
                volumes("nsga2", [0.5, 1.0, 1.5, 2.0], seed),
            )
        ]
        (contest,) = contests(frame(*played))
        reference, rival = contest.standings
        found = speed_up(rival, reference, 4)
        assert found is not None
        assert found.mean == 2.0


class TestPareto:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize("seed", range(5))
    def test_volume_is_optunas(self, dimensions: int, seed: int) -> None:
        points = np.random.default_rng(seed).uniform(-0.2, 1, (30, dimensions)).round(1)
        inside = points[(points > 0).all(axis=1)]
        theirs = compute_hypervolume(-inside, np.zeros(dimensions))
        assert hypervolume(points) == pytest.approx(theirs), f"seed {seed}"
        assert hypervolumes(points)[-1] == pytest.approx(theirs)
        assert hypervolumes(points)[9] == pytest.approx(hypervolume(points[:10]))

    def test_no_point_means_no_volume(self) -> None:
        assert hypervolume(np.array([[-1.0, 2.0]])) == 0

    @pytest.mark.parametrize("seed", range(5))
    def test_a_front_is_what_nothing_beats(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        points = rng.integers(5, size=(60, 3)).astype(float)
        front = merged(merged(np.empty((0, 3)), points[:30]), points[30:])
        beaten = [any((other >= point).all() and (other > point).any() for other in points) for point in points]
        expected = {tuple(point) for point, is_beaten in zip(points, beaten, strict=True) if not is_beaten}
        assert {tuple(point) for point in front} == expected, f"seed {seed}"
        assert len(front) == len(expected)

    def test_a_long_run_finds_the_front_of_a_tiny_space(self) -> None:
        from experiments.bench.samplers.pareto import gains

        bed, objectives = tiny_bed(), ("accuracy", "step_time")
        everything = gains(bed, accuracy(EVERYTHING), COSTS(EVERYTHING), objectives)
        assert hypervolume(long_run_front(bed, objectives)) == pytest.approx(hypervolume(everything), rel=0.01)


def test_benchmarks_have_options_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, code, text in (
        (["samplers", "--help"], 0, "--batch"),
        (["overhead", "--help"], 0, "--quick"),
        (["samplers", "--batsh", "3"], 2, "No such option"),
        (["samplers", "--seeds", "0"], 2, "greater than or equal to 1"),
    ):
        monkeypatch.setattr("sys.argv", ["nas", "bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert ended.value.code == code
        assert text in captured.out + captured.err


def test_budgets_rise() -> None:
    assert list(BUDGETS) == sorted(set(BUDGETS))
