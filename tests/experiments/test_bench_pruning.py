"""The pruning benchmark counts what it says, and its searches carry on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.bench.proxy.pruning import plan_pruning, run_pruning
from experiments.bench.proxy.pruning_cells import WITH, WITHOUT, Cell, Completed, read_rows, write_rows
from experiments.bench.proxy.pruning_replay import Training, coverage, coverage_table, replay, replay_table
from experiments.bench.proxy.pruning_report import cells_table, interval, verdicts

SETTING = "10 candidates"


def cell(variant: str, seed: int = 0, **changes: object) -> Cell:
    plain = Cell(
        setting=SETTING, variant=variant, seed=seed, num_complete=10, num_untrained=0, num_stopped=0, epochs=30,
        train_seconds=100.0, cost=100.0, full_cost=100.0, final_cost=50.0, best="a", best_reward=0.8,
        best_observed=0.82,
    )  # fmt: skip
    return replace(plain, **changes)


def completed(number: int, seed: int = 0, **changes: object) -> Completed:
    plain = Completed(
        setting=SETTING, seed=seed, number=number, epochs=1, reward=0.7, best_then=0.8, is_same=True,
    )  # fmt: skip
    return replace(plain, **changes)


def trainings(count: int, rng: np.random.Generator) -> list[Training]:
    """Three epochs, each a blurred view of what comes; the first is the best."""
    level = rng.normal(math.log(0.15), 0.1, count)
    level[0] = math.log(0.1)
    noise = rng.normal(0, 1, (count, 3)) * np.array([0.05, 0.03, 0.0])
    curves = 1 - np.exp(level[:, None] + np.array([0.8, 0.4, 0.0]) + noise)
    return [
        Training(number=n, reward_factor=float(np.exp(rng.normal(0, 0.01))), curve=tuple(map(float, row)), cost=12.0)
        for n, row in enumerate(curves)
    ]


class TestReplay:
    def test_what_is_saved_is_what_is_not_trained(self) -> None:
        found = replay(trainings(40, np.random.default_rng(0)), 0.9)
        assert found.num_candidates == 40
        assert found.num_wrong == 0
        assert found.lost == 0.0
        pruned = found.num_untrained + found.num_stopped
        assert pruned > 10
        assert found.saved <= (found.num_untrained + found.num_stopped * 2 / 3) / 40 + 1e-9
        assert found.saved >= (found.num_untrained + found.num_stopped * 1 / 3) / 40 - 1e-9

    def test_a_late_bloomer_is_pruned_wrongly_and_its_loss_is_counted(self) -> None:
        played = trainings(30, np.random.default_rng(1))
        bloomer = Training(number=30, reward_factor=1.0, curve=(0.5, 0.5, 0.95), cost=12.0)
        found = replay([*played, bloomer], 0.9)
        assert found.num_wrong == 1
        best = max(training.reward for training in played)
        assert found.lost == pytest.approx(1 - best / 0.95)

    def test_too_few_lose_and_save_nothing(self) -> None:
        found = replay(trainings(8, np.random.default_rng(2)), 0.9)
        assert (found.saved, found.num_wrong, found.num_stopped) == (0.0, 0, 0)

    def test_bounds_are_exceeded_as_often_as_they_say_where_the_law_holds(self) -> None:
        seed, searches = 3, 15
        rng = np.random.default_rng(seed)
        games = [trainings(21, rng)[1:] for _ in range(searches)]
        for epoch in (0, 1, 2):
            found = coverage(games, epoch, 0.1)
            assert found.num_forecasts == searches * 20
            spread = 4 * math.sqrt(0.1 * 0.9 / found.num_forecasts)
            assert abs(found.num_exceeded / found.num_forecasts - 0.1) < spread, f"seed {seed}"

    def test_tables_have_a_row_for_each_confidence_and_epoch(self) -> None:
        games = [trainings(20, np.random.default_rng(4))]
        assert replay_table(games, (0.8, 0.9)).row_count == 2
        assert coverage_table(games).row_count == 3
        assert coverage_table([games[0][:5]]).row_count == 0


class TestRows:
    def test_rows_come_back(self, tmp_path: Path) -> None:
        path, rows = tmp_path / "a.csv", [cell(WITH, best_reward=0.1 + 0.2), cell(WITHOUT, 3)]
        write_rows(path, Cell, rows)
        assert read_rows(path, Cell, setting=SETTING) == rows
        pruned = [completed(3), completed(4, is_same=False)]
        write_rows(path, Completed, pruned)
        assert read_rows(path, Completed, setting=SETTING) == pruned
        assert read_rows(tmp_path / "none.csv", Cell, setting=SETTING) == []

    def test_another_setting_and_damage_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        write_rows(path, Cell, [cell(WITH)])
        with pytest.raises(ValueError, match=r"must hold cells of 'other', got '10 candidates'; take another --out$"):
            read_rows(path, Cell, setting="other")
        path.write_text(path.read_text().replace("100.0", "many"))
        with pytest.raises(ValueError, match=r"^cannot read the cells of .*a\.csv: "):
            read_rows(path, Cell, setting=SETTING)


class TestReport:
    CELLS = (
        cell(WITHOUT, 0),
        cell(WITH, 0, num_complete=6, num_untrained=1, num_stopped=3, epochs=21, cost=60.0, full_cost=96.0),
        cell(WITHOUT, 1),
        cell(WITH, 1, num_complete=8, num_untrained=0, num_stopped=2, epochs=26, cost=80.0, best_reward=0.808),
        cell(WITHOUT, 2),
    )
    COMPLETED = (
        completed(3, epochs=0),
        completed(4),
        completed(5),
        completed(6, reward=0.84),
        completed(7, 1),
    )

    def test_what_is_saved_is_paired_by_seed(self) -> None:
        lines = list(verdicts(self.CELLS, self.COMPLETED))
        assert lines[0].startswith("training saved against searches without: 30 [-97, 157] % of epochs × ")
        assert "over 2 seeds (asked for: 30 %)" in lines[0]
        assert lines[1].endswith("20 [-65, 105] %")
        assert lines[2].endswith("29 [-82, 140] %")
        assert "+0.50 [-5.85, +6.85] % of its reward" in lines[3]

    def test_what_was_pruned_wrongly_is_named(self) -> None:
        last = list(verdicts(self.CELLS, self.COMPLETED))[-1]
        assert last == "pruned wrongly: 1 of 5, trained to the end, would have led; seed 0, trial 6: by 5.00 %"
        differing = [*self.COMPLETED, completed(9, 1, is_same=False)]
        assert list(verdicts(self.CELLS, differing))[-1].startswith("1 of them did not repeat the epochs")

    def test_a_table_has_a_row_for_each_pair(self) -> None:
        table = cells_table(self.CELLS, self.COMPLETED)
        assert table.row_count == 2
        assert list(table.columns[10].cells) == ["1 of 4", "0 of 1"]

    def test_nothing_follows_from_searches_without_a_counterpart(self) -> None:
        assert list(verdicts([cell(WITHOUT)], [])) == []

    def test_the_interval_is_student_s(self) -> None:
        """Of 1, 2, 3: mean 2, standard error 1/√3, t with two degrees 4.303."""
        found = interval([1.0, 2.0, 3.0])
        assert (found.mean, found.half_width) == pytest.approx((2.0, 4.3027 / math.sqrt(3)), rel=1e-4)
        assert interval([1.0]).text("{:.1f}") == "1.0"


RECIPE = """
space:
  resolution: 16
  stem_channels: 4
  head_channels: 16
  stages:
    - {out_channels: 4, stride: 2, num_repeats: [1, 2], kernel_size: [3, 5], expand_ratio: [1, 4]}
    - {out_channels: 8, stride: 2, num_repeats: [1, 2], kernel_size: [3, 5], expand_ratio: [1, 4]}
data: {source: digits, minival_share: 0.3}
train: {augment: false, lr: 0.016, label_smoothing: 0.0}
fidelity: {epochs: 3, data_share: 0.3}
step_time: {calibration_s: 0, visits: 1, budget_s: 0.5}
sampler: random
workers: 1
threads: 1
trials: 16
finalists: 1
finalist_seeds: 1
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_searches_are_pruned_completed_and_carried_on(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    plan = plan_pruning(tmp_path / "out", seeds=1, confidence=0.55, recipe=str(recipe))
    console = Console(width=200)
    with console.capture() as first:
        console.print(run_pruning(plan))
    rows = {file: file.read_text() for file in (tmp_path / "out").glob("*.csv")}
    pruned = rows[tmp_path / "out" / "known-cost-0-pruned.csv"]
    assert len(rows) == 3
    assert pruned.count("\n") > 3, "something was pruned"
    assert pruned.count("True") == pruned.count("\n") - 1, "what is trained to the end begins as it had begun"
    assert "over 1 seed" in first.get()
    with console.capture() as again:
        console.print(run_pruning(plan))
    assert again.get() == first.get()
    assert {file: file.read_text() for file in rows} == rows
    with pytest.raises(ValueError, match=r"take another --out$"):
        plan_pruning(tmp_path / "out", seeds=1, confidence=0.6, recipe=str(recipe))
