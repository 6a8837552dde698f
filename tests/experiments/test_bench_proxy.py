"""The proxy benchmark: τ of scores by slow twins, files that carry on, and searches that learn from scores."""

import csv
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_audit
import fake_search
import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import kendalltau
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from experiments.accel_nasbench.bed import Bed, cost_factors, reference_reward
from experiments.accel_nasbench.rows import mnasnet_space
from experiments.accel_nasbench.stage_times import fit_stage_times
from experiments.bench import proxy
from experiments.bench.proxy import scored, zero_cost_tables
from experiments.bench.proxy.accel_nasbench_scores import drawn_candidates
from experiments.bench.proxy.audited_scores import audited_candidates, image_probe
from experiments.bench.proxy.benchmark import TABLES
from experiments.bench.proxy.score_games import BUDGETS, Game, game_table, play_games, read_games
from experiments.bench.proxy.score_players import PLAIN, ScoreModel, WithScores, earlier_run, members_of, score_players
from experiments.bench.proxy.score_ranks import left_out, normal_scores, rank_table, residuals, score_ranks
from experiments.bench.proxy.scored import Candidate, ScoreTable, read_scored, score_all, table_of
from experiments.bench.samplers.game import Rules, play
from nas.cli import main
from nas.samplers.descriptors import Descriptor
from nas.samplers.problem import Problem
from proxies.costs import CostModel
from proxies.device import find_device
from proxies.proxy_data import load_splits
from proxies.workload import Workload
from proxies.zero_cost import SCORES, Probe
from search_spaces.architecture import parse
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
NUM_VALUES = [len(values) for values in SPACE.choices.values()]
EVERYTHING = np.array(list(itertools.product(*(range(count) for count in NUM_VALUES))))
COSTS = CostModel(
    workload=Workload(num_classes=10),
    device_kind="cpu",
    step_times=fit_stage_times(SPACE, EVERYTHING, 1.0 + EVERYTHING.sum(axis=1)),
).over(SPACE)
NETWORKS = ("stem8-ir_r1_k3_s2_e2_c8-head16@32", "stem8-ir_r2_k3_s2_e4_c8-head16@32")


def accuracy(encoded: np.ndarray) -> np.ndarray:
    return np.asarray(0.6 + 0.05 * encoded[:, 0] + 0.01 * encoded[:, 1:].sum(axis=1))


def bed() -> Bed:
    reward = reference_reward(SPACE, COSTS)
    rewards = accuracy(EVERYTHING) * cost_factors(reward, COSTS(EVERYTHING))
    best = int(rewards.argmax())
    return Bed(
        name="tiny", title="made up", space=SPACE, accuracy=accuracy, costs=COSTS, reward=reward,
        optimum=float(rewards[best]), best=tuple(map(int, EVERYTHING[best])),
    )  # fmt: skip


def table(count: int = 40, seed: int = 0) -> ScoreTable:
    """Members of the tiny space; SNIP is their accuracy, and the others are chance."""
    rng = np.random.default_rng(seed)
    members = EVERYTHING[rng.permutation(len(EVERYTHING))[:count]]
    return ScoreTable(
        candidates=tuple("".join(map(str, member)) for member in members),
        accuracy=accuracy(members),
        scores={name: accuracy(members) if name == "snip" else rng.lognormal(size=len(members)) for name in SCORES},
        seconds=dict.fromkeys(SCORES, 0.5),
    )


def candidates(*texts: str) -> list[Candidate]:
    return [
        Candidate(name=f"network{i}", architecture=parse(text), accuracy=0.5 + i / 10) for i, text in enumerate(texts)
    ]


def probe() -> Probe:
    return Probe.of_noise(num_images=4, resolution=32, num_classes=5, seed=0, device=find_device("cpu"))


class TestScoring:
    def test_a_file_carries_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, asked = tmp_path / "scores.csv", []
        real = scored.zero_cost_scores

        def counted(architecture: object, *rest: object) -> object:
            asked.append(architecture)
            return real(architecture, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(scored, "zero_cost_scores", counted)
        first = list(score_all(candidates(*NETWORKS[:1]), probe(), path, setting="mine"))
        both = list(score_all(candidates(*NETWORKS), probe(), path, setting="mine"))
        assert both[0].scores == first[0].scores
        assert [str(each) for each in asked] == [text for text in NETWORKS for _ in SCORES]
        assert [each.scores for each in read_scored(path)] == [each.scores for each in both]

    def test_a_cut_line_is_scored_again(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        whole = list(score_all(candidates(*NETWORKS), probe(), path, setting="mine"))
        path.write_text(path.read_text()[:-9])
        assert [each.candidate for each in read_scored(path)] == ["network0"]
        again = list(score_all(candidates(*NETWORKS), probe(), path, setting="mine"))
        assert [each.scores for each in again] == [each.scores for each in whole]
        assert len(path.read_text().splitlines()) == 3

    def test_accuracy_is_what_is_known_now(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        list(score_all(candidates(*NETWORKS), probe(), path, setting="mine"))
        further = [replace(each, accuracy=0.9) for each in candidates(*NETWORKS)]
        assert {each.accuracy for each in score_all(further, probe(), path, setting="mine")} == {0.9}

    def test_another_setting_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        list(score_all(candidates(NETWORKS[0]), probe(), path, setting="mine"))
        with pytest.raises(ValueError, match="must hold scores of 'yours', got 'mine'; take another --out"):
            read_scored(path, setting="yours")

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "scores.csv"
        path.write_text("setting,candidate\nmine,1\n")
        with pytest.raises(ValueError, match="must hold a column for each score, KeyError"):
            read_scored(path)

    def test_rows_are_drawn_from_the_benchmark(self, tmp_path: Path) -> None:
        path = rows_file(tmp_path / "rows.csv", 12)
        drawn = drawn_candidates(path, 8)
        assert [each.name for each in drawn[:5]] == [each.name for each in drawn_candidates(path, 5)]
        assert len({each.name for each in drawn}) == 8
        with path.open() as file:
            by_blocks = {blocks_of(row): float(row["val_top1"]) / 100 for row in csv.DictReader(file)}
        for each in drawn:
            assert by_blocks[str(each.architecture.stages[0].num_repeats) + each.name] == each.accuracy


def rows_file(path: Path, count: int) -> Path:
    """Random members as the benchmark's file has them."""
    space, rng = mnasnet_space(), np.random.default_rng(0)
    columns = [f"block{i}_{axis}" for i in range(7) for axis in ("e", "k", "l", "se")]
    others = ("val_top1", "train_time_s", "rtx3090_infer_img_s", "a100_infer_img_s", "params_m")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *others])
        writer.writeheader()
        for number in range(count):
            stages = space.decode(tuple(int(rng.integers(len(each))) for each in space.choices.values())).stages
            row: dict[str, object] = {}
            for i, stage in enumerate(stages):
                facts = (stage.expand_ratio, stage.kernel_size, stage.num_repeats, int(stage.se_ratio > 0))
                row |= {f"block{i}_{axis}": fact for axis, fact in zip(("e", "k", "l", "se"), facts, strict=True)}
            writer.writerow(row | dict.fromkeys(others, 1.0) | {"val_top1": 50.0 + number})
    return path


def blocks_of(row: dict[str, str]) -> str:
    """The first stage's layers, and every choice's place, in the order of the space."""
    places = {"num_repeats": "l", "kernel_size": "k", "expand_ratio": "e", "se_ratio": "se"}
    found = row["block0_l"]
    for name, values in mnasnet_space().choices.items():
        stage, _, axis = name.removeprefix("stage").partition("_")
        text = row[f"block{int(stage) - 1}_{places[axis]}"]
        found += text if axis == "se_ratio" else str([str(value) for value in values].index(text))
    return found


class TestAudit:
    def test_architectures_without_a_target_training_wait(self) -> None:
        whole = fake_audit.audit(fake_audit.config())
        target = whole.config.target.key
        some = {cell: record for cell, record in whole.trainings.items() if cell.training != target or cell.number < 7}
        found = audited_candidates(replace(whole, trainings=some))
        assert [each.name for each in found] == [each.architecture for each in whole.architectures[:7]]
        for number, each in enumerate(found):
            trained = [
                record.accuracy for cell, record in some.items() if (cell.training, cell.number) == (target, number)
            ]
            assert each.accuracy == pytest.approx(sum(trained) / len(trained))

    def test_a_probe_of_the_searchs_images(self) -> None:
        search = fake_audit.config().search
        one, other = (
            image_probe(search, resolution=16, num_images=20, seed=seed, device=find_device("cpu")) for seed in (0, 1)
        )
        train = load_splits(search.data).train
        assert one.images.shape == (20, 1, 16, 16)
        assert not torch.equal(one.images, other.images)
        assert one.num_classes == 10
        # Digits are 8 pixels wide: twice the size, averaged back, is the image as it was, normalised.
        pixels = torch.nn.functional.avg_pool2d(one.images, 2).flatten(1)
        known = train.at_size(8).float().flatten(1)
        likeness = torch.corrcoef(torch.cat([pixels, known]))[:20, 20:]
        nearest = likeness.argmax(dim=1)
        assert torch.equal(one.labels, train.labels[nearest])
        assert (likeness.max(dim=1).values > 0.9).all()

    def test_its_tables_are_printed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        results = fake_audit.audit(fake_audit.config(num_architectures=6, top=3))
        monkeypatch.setattr(zero_cost_tables, "read_audit", lambda _path: results)
        proxy.main(tables="audit", audit=tmp_path, images=4, out=tmp_path / "out")
        text = capsys.readouterr().out
        assert "6 architectures of the audit, scored with 4 of its images" in text
        assert all(name in text for name in (*SCORES, fake_audit.SHORT.key))
        assert {each.setting for each in read_scored(tmp_path / "out" / "audit_scores.csv")} == {
            "4 images of digits at 32 px, seed 0"
        }


class TestRanks:
    def test_beyond_what_is_known(self) -> None:
        """A score that says no more than MACs say has nothing left; one that knows the rest has all of it."""
        rng = np.random.default_rng(0)
        macs, params, rest = rng.lognormal(size=(3, 200))
        truth = np.log(macs) + 0.5 * np.log(params) + 0.3 * np.log(rest)
        scores = {name: rng.normal(size=200) for name in SCORES}
        scores |= {"macs": macs, "params": params, "zen": np.log(macs) + 0.1 * rng.normal(size=200), "snip": rest}
        data = ScoreTable(candidates=("x",) * 200, accuracy=truth, scores=scores, seconds=dict.fromkeys(SCORES, 1.0))
        found = {each.name: each for each in score_ranks(data)}
        assert found["macs"].beyond is None
        assert found["zen"].alone.tau > 0.5
        assert found["zen"].beyond is not None
        assert abs(found["zen"].beyond.tau) < 0.15
        assert found["snip"].beyond is not None
        assert found["snip"].beyond.tau > 0.85
        assert found["snip"].together.tau > 0.9 > found["macs"].together.tau
        for name, each in found.items():
            assert each.alone.tau == kendalltau(scores[name], truth).statistic

    def test_residuals_and_predictions_by_another_library(self) -> None:
        rng = np.random.default_rng(1)
        known, values = rng.normal(5, 2, size=(30, 2)), rng.normal(size=30)
        fitted = LinearRegression().fit(known, values)
        assert residuals(values, known) == pytest.approx(values - fitted.predict(known))
        expected = cross_val_predict(LinearRegression(), known, values, cv=LeaveOneOut())
        assert left_out(known, values) == pytest.approx(expected)

    def test_normal_scores_keep_the_order_alone(self) -> None:
        values = np.array([3.0, -1e9, 7.0, 1e12])
        assert list(np.argsort(normal_scores(values))) == list(np.argsort(values))
        assert np.array_equal(normal_scores(values), normal_scores(np.array([2.0, 1.0, 3.0, 4.0])))

    def test_a_table_is_printed(self) -> None:
        console = Console(width=160, record=True)
        console.print(rank_table(list(score_ranks(table())), "forty"))
        text = console.export_text()
        assert all(name in text for name in SCORES)


class TestPlayers:
    def test_a_model_of_a_sum_is_exact(self) -> None:
        effects = [np.random.default_rng(i).normal(size=count) for i, count in enumerate(NUM_VALUES)]
        scores = sum(each[EVERYTHING[:, i]] for i, each in enumerate(effects))
        drawn = np.random.default_rng(9).permutation(len(EVERYTHING))[: len(EVERYTHING) // 2]
        model = ScoreModel(SPACE, EVERYTHING[drawn], scores[drawn])
        others = np.setdiff1d(np.arange(len(EVERYTHING)), drawn)
        assert kendalltau(model(EVERYTHING[others]), scores[others]).statistic > 0.9

    def test_a_score_is_one_more_feature(self) -> None:
        data = table()
        model = ScoreModel(SPACE, members_of(data), data.scores["snip"])
        plain, more = Descriptor(SPACE, COSTS)(EVERYTHING), WithScores(SPACE, COSTS, [model])(EVERYTHING)
        assert np.array_equal(more.features[:, :-1], plain.features)
        assert np.array_equal(more.bits, plain.bits)
        assert np.corrcoef(more.features[:, -1], model(EVERYTHING))[0, 1] == pytest.approx(1.0)

    def test_an_earlier_run_ranks_as_its_score(self) -> None:
        data = table(150)
        run = earlier_run(data, "snip")
        assert len(run.members) == len(run.accuracies) == 100
        assert kendalltau(run.accuracies, data.scores["snip"][:100]).statistic == pytest.approx(1.0)
        assert ((run.accuracies > 0) & (run.accuracies < 1)).all()

    @pytest.mark.parametrize(("name", "trials"), [("prior snip", 2), ("feature snip", 5)])
    def test_knowing_the_accuracies_order_finds_the_best_sooner(self, name: str, trials: int) -> None:
        players = score_players(table(), ["snip"])
        gaps = {}
        for each in (name, PLAIN):
            played = play(bed(), players[each], Rules(trials=trials), 0)
            gaps[each] = bed().gap(max(training.reward for training in played.trainings))
        assert gaps[name] == 0.0 < gaps[PLAIN]


class TestGames:
    def test_games_are_played_once(self, tmp_path: Path) -> None:
        path, made = tmp_path / "games.csv", []
        both = score_players(table(), ["snip"])

        def counted(name: str) -> Callable[[Problem], object]:
            return lambda problem: (made.append(name), both[name](problem))[1]

        asked = {name: counted(name) for name in (PLAIN, "feature snip")}

        def games(seeds: int, trials: int) -> list[Game]:
            return list(play_games([bed()], asked, scored=40, seeds=seeds, trials=trials, path=path))  # type: ignore[arg-type]

        first = games(1, 10)
        assert games(2, 10)[:2] == first
        assert made == [PLAIN, "feature snip"] * 2
        assert [game.gaps[1:] for game in first] == [(None,) * (len(BUDGETS) - 1)] * 2
        longer = games(1, 20)
        assert [game.gaps[0] for game in longer] == [game.gaps[0] for game in first]
        assert all(game.gaps[1] is not None for game in longer)
        assert len(read_games(path)) == 6

    def test_differences_are_paired_by_seed(self) -> None:
        games = [
            Game(bed="b", scored=1, player=name, seed=seed, gaps=(gap + seed, None, None, None))
            for name, gap in ((PLAIN, 0.03), ("feature x", 0.01))
            for seed in range(5 if name == PLAIN else 4)
        ]
        console = Console(width=160, record=True)
        console.print(game_table(games, "b"))
        assert "-2.00 [-2.00, -2.00]" in console.export_text()


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--tables", "zero-coast"], "no table 'zero-coast'"),
            (["--tables", "audit"], "the audit table needs an audit's directory"),
            (["--scores", "snap"], "unknown score 'snap'"),
            (["--data", "nowhere"], "there is no nowhere"),
        ],
    )
    def test_what_cannot_be_is_said_in_one_line(
        self,
        arguments: list[str],
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        data = rows_file(tmp_path / "rows.csv", 12)
        given = ["--out", str(tmp_path / "out"), *([] if "--data" in arguments else ["--data", str(data)])]
        monkeypatch.setattr("sys.argv", ["nas", "bench", "proxy", *given, *arguments])
        with pytest.raises(SystemExit) as error:
            main()
        assert error.value.code == 2
        assert message in capsys.readouterr().err

    def test_the_table_is_printed_and_kept(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data, out = rows_file(tmp_path / "rows.csv", 6), tmp_path / "out"
        proxy.main(tables="zero-cost", architectures=5, resolution=32, images=2, data=data, out=out)
        assert "5 architectures of Accel-NASBench, 2 noise images of 32 px, seed 0" in capsys.readouterr().out
        found = table_of(read_scored(out / "zero_cost.csv"))
        assert found.candidates == tuple(each.name for each in drawn_candidates(data, 5))
        assert np.array_equal(found.accuracy, [each.accuracy for each in drawn_candidates(data, 5)])
        assert members_of(found).shape == (5, 28)

    def test_every_table_has_a_maker(self) -> None:
        assert {"zero-cost", "zero-cost-search", "audit", "pruning"} <= set(TABLES)
