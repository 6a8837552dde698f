"""The cluster benchmark counts what it says, and gives every engine the same to do."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import pytest
from typer.testing import CliRunner

from experiments.bench.cluster.asked import tables_of, workers_of
from experiments.bench.cluster.engines import on_processes, on_ray, run_ours, search_config
from experiments.bench.cluster.flatness import BLOCK, Block, bare_loop, flatness_table, trend
from experiments.bench.cluster.pace import Mark, Pace, chunk_paces, pace
from experiments.bench.no_op import gather
from nas.cli import app


def evenly(trials: int, wall_s: float, cpu_s: float) -> list[Mark]:
    """Ends of so many trials and the one before, each after so long."""
    return [Mark(100 + wall_s * number, 7 + cpu_s * number) for number in range(trials + 1)]


def test_a_pace_is_time_by_trials_between_the_ends() -> None:
    found = pace(evenly(10, 0.5, 0.25))
    assert (found.wall_s, found.cpu_s) == pytest.approx((0.5, 0.25))


def test_chunks_cover_the_trials_one_after_another() -> None:
    slow_then_fast = [Mark(wall, 0.0) for wall in (0, 2, 4, 6, 7, 8, 9)]
    assert [chunk.wall_s for chunk in chunk_paces(slow_then_fast, 2)] == [2.0, 1.0]
    assert [chunk.wall_s for chunk in chunk_paces(slow_then_fast, 3)] == [2.0, 1.5, 1.0]
    with pytest.raises(ValueError, match="7 chunks need as many trials, got 6"):
        chunk_paces(slow_then_fast, 7)


def test_nobody_passes_before_everybody_is_there(tmp_path: Path) -> None:
    passed: list[int] = []

    def come(number: int) -> None:
        gather(tmp_path, 3)
        passed.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(3)]
    for thread in threads[:2]:
        thread.start()
    time.sleep(0.5)
    assert passed == []
    threads[2].start()
    for thread in threads:
        thread.join(timeout=20)
    assert sorted(passed) == [0, 1, 2]
    gather(tmp_path, 3)  # whoever comes later need not wait


def blocks(*, growth_s: float, noise_s: float = 0.0) -> list[Block]:
    """A hundred, whose engine takes 10 ms at the beginning and so much more at the end; the bare loop doubles."""
    rng = np.random.default_rng(0)
    noise = noise_s * rng.standard_normal(100)
    return [
        Block(
            finished=finished,
            bare_s=0.05 * (1 + finished / 5_000),
            ours_s=0.05 * (1 + finished / 5_000) + 0.01 + growth_s * finished / 5_000 + float(noise[place]),
        )
        for place, finished in enumerate(range(BLOCK, 5_001, BLOCK))
    ]


def engine_s(block: Block) -> float:
    return block.engine_s


def test_growth_is_that_of_the_engine_alone() -> None:
    found = trend(blocks(growth_s=0.02), engine_s)
    assert (found.start_s, found.growth_s) == pytest.approx((0.01, 0.02))
    assert not found.is_flat


@pytest.mark.parametrize(("growth_s", "is_flat"), [(0.0, True), (0.0005, True), (0.004, False), (-0.004, True)])
def test_noise_is_no_growth(growth_s: float, is_flat: bool) -> None:
    assert trend(blocks(growth_s=growth_s, noise_s=0.002), engine_s).is_flat == is_flat


def test_other_work_in_a_few_blocks_is_no_growth() -> None:
    quiet = blocks(growth_s=0.0, noise_s=0.0005)
    disturbed = [replace(block, ours_s=block.ours_s + (0.3 if place > 60 and place % 8 == 0 else 0.0))
                 for place, block in enumerate(quiet)]  # fmt: skip
    assert trend(disturbed, engine_s).is_flat


def test_rows_of_flatness_hold_their_own_blocks() -> None:
    table = flatness_table(blocks(growth_s=0.02))
    ranges, engine = list(table.columns[0].cells), [float(str(cell)) for cell in table.columns[3].cells]
    assert ranges == ["0–500", "500–1000", "1000–2000", "2000–3000", "3000–4000", "4000–5000"]
    middles = [275, 775, 1525, 2525, 3525, 4525]
    assert engine == pytest.approx([10 + 20 * middle / 5_000 for middle in middles], abs=0.06)


def test_the_bare_loop_asks_and_tells_the_same_space(tmp_path: Path) -> None:
    config = search_config(tmp_path / "ours", trials=3, workers=1)
    one_trial = bare_loop(tmp_path, config)
    for _ in range(3):
        one_trial()
    [summary] = optuna.get_all_study_summaries(storage=f"sqlite:///{tmp_path}/bare/study.db")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{tmp_path}/bare/study.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3
    assert all(set(trial.params) == set(config.search_space().choices) for trial in study.trials)


def test_a_search_without_trainings_marks_every_trial(tmp_path: Path) -> None:
    marks = run_ours(tmp_path, workers=2, trials=5, executor=on_processes)
    assert len(marks) == 5
    assert [mark.wall_s for mark in marks] == sorted(mark.wall_s for mark in marks)
    assert len(list(tmp_path.glob("task-*"))) == 2, "the first two waited for each other"
    assert (tmp_path / "run" / "report.html").exists(), "it is the whole of a search"


def test_what_is_asked_for_is_checked() -> None:
    assert tables_of("flatness, throughput") == ("flatness", "throughput")
    assert workers_of("2, 128") == (2, 128)
    for arguments in (["--tables", "speed"], ["--workers", "2,none"], ["--workers", "0"]):
        result = CliRunner().invoke(app, ["bench", "cluster", *arguments])
        assert result.exit_code == 2
        assert repr(arguments[1].split(",")[-1]) in result.output


class TestThroughput:
    """Skipped where there is no Ray."""

    @pytest.fixture(autouse=True)
    def need_ray(self) -> None:
        pytest.importorskip("ray")

    def test_a_worker_without_further_candidates_is_not_waited_for(self) -> None:
        from experiments.bench.cluster.throughput import mean_end

        # Two workers: one ends at 3 and 9, the other at 4 and 7.
        assert mean_end([3.0, 4.0, 7.0, 9.0], 2) == 8.0
        assert mean_end([3.0, 4.0, 7.0, 9.0], 1) == 9.0

    def test_efficiency_is_trials_by_time(self) -> None:
        from experiments.bench.cluster.throughput import Rates, throughput_table

        # 10 trials a round: 10 s and 40 s with one worker, 5 s and 25 s with two.
        rates = Rates(arm="ours, Ray", one=(1.0, 0.25), two=(2.0, 0.4))
        assert rates.efficiencies == pytest.approx((1.0, 0.8))
        assert rates.efficiency == pytest.approx((10 + 40) / (2 * (5 + 25)))
        bare = Rates(arm="bare processes", one=(1.0, 0.5), two=(2.0, 1.0))
        row = [next(iter(column.cells)) for column in throughput_table([rates, bare]).columns]
        assert row[:4] == ["ours, Ray", f"{3600 * 20 / 50:.0f}", f"{3600 * 20 / 30:.0f}", "0.833"]
        assert row[5:] == [f"{30 / 50:.3f}", f"{15 / 30:.3f}"]


class TestOverhead:
    """Of engines that take known times; skipped where there is no Ray Tune."""

    @pytest.fixture(autouse=True)
    def need_ray(self) -> None:
        pytest.importorskip("ray.tune")

    def test_engines_take_turns_and_warming_up_is_left_out(self) -> None:
        from experiments.bench.cluster.overhead import Engine, measure

        turns: list[str] = []

        def run(name: str, folder: Path, workers: int, trials: int) -> list[Mark]:
            assert not any(folder.iterdir())
            turns.append(name)
            # Workers take a minute to come, then trials end every 10 ms.
            return [Mark(60 + 0.01 * number, 0.0) for number in range(workers)] + [
                Mark(60 + 0.01 * number, 0.005 * number) for number in range(workers, trials)
            ]

        chosen = [Engine(name=name, run=partial(run, name), trials=16) for name in ("a", "b")]
        found = measure(chosen, 4, rounds=3)
        assert turns == ["a", "b", "b", "a", "a", "b"]
        assert [len(each.runs) for each in found] == [3, 3]
        assert all(each.wall_s == pytest.approx(0.01) for each in found)
        assert len(found[0].chunks) == 3 * 8

    @pytest.mark.parametrize(
        ("default", "reused", "words"), [(0.31, 0.1, ("met", "met")), (0.29, 0.09, ("missed",) * 2)]
    )
    def test_targets_hold_in_both_kinds_of_time(self, default: float, reused: float, words: tuple[str, str]) -> None:
        from experiments.bench.cluster.overhead import DEFAULT, OURS, REUSED, Overhead, overhead_table, verdict

        def overhead(name: str, cpu_s: float) -> Overhead:
            wall_and_cpu = Pace(max(cpu_s, 0.3 if name == DEFAULT else 0.1), cpu_s)
            return Overhead(engine=name, workers=2, runs=(wall_and_cpu,), chunks=(wall_and_cpu,) * 8)

        found = [overhead(OURS, 0.1), overhead(REUSED, reused), overhead(DEFAULT, default)]
        of_default, of_reused = verdict(found).split("; ")
        assert (f": {words[0]} (" in of_default, f": {words[1]} (" in of_reused) == (True, True)
        ratios = list(overhead_table(found).columns[6].cells)
        assert ratios == ["1.00", f"{reused / 0.1:.2f}", f"{default / 0.1:.2f}"]


@pytest.mark.cluster
class TestOnRay:
    """Both engines do as many trials as they were asked for, and each writes them."""

    @pytest.fixture(scope="class", autouse=True)
    def cluster(self) -> Iterator[None]:
        from experiments.bench.cluster.ray_session import simulated_cluster

        with simulated_cluster(2):
            yield

    def test_ours(self, tmp_path: Path) -> None:
        assert len(run_ours(tmp_path, workers=2, trials=5, executor=on_ray)) == 5

    def test_tune(self, tmp_path: Path) -> None:
        from experiments.bench.cluster.tune_engine import run_tune

        assert len(run_tune(tmp_path, workers=2, trials=5, reuse_actors=True)) == 5
        assert len(list(tmp_path.glob("task-*"))) == 2
        [summary] = optuna.get_all_study_summaries(storage=f"sqlite:///{tmp_path}/tune.db")
        study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{tmp_path}/tune.db")
        assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5
