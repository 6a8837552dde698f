"""The offline bed: rows as they were published, surrogates that rank, an optimum that is the best there is."""

import gzip
import itertools
import os
from pathlib import Path

import fake_search
import numpy as np
import pytest
from scipy.stats import kendalltau

from experiments.accel_nasbench import rows as rows_module
from experiments.accel_nasbench.bed import SEED_NOISE, Bed, cost_factors, reference_reward, seed_noise
from experiments.accel_nasbench.beds import Benchmark
from experiments.accel_nasbench.cache import kept
from experiments.accel_nasbench.local_search import find_optimum, one_exchanges, two_exchanges
from experiments.accel_nasbench.networks import fit_networks, thermometer_bits
from experiments.accel_nasbench.row_beds import NearestRow, make_row_bed
from experiments.accel_nasbench.rows import find_data, mnasnet_space, read_rows
from experiments.accel_nasbench.run_rows import RunRows, bed_of_rows
from experiments.accel_nasbench.stage_times import StageCells, fit_stage_times
from experiments.accel_nasbench.surrogates import NUM_HELD_OUT, split
from proxies.complexity import count_params
from proxies.costs import CostModel
from proxies.workload import Workload
from search_spaces.architecture import parse
from search_spaces.space_file import space_from_mapping

TINY = space_from_mapping(fake_search.SPACE)
NUM_VALUES = [len(values) for values in TINY.choices.values()]
EVERYTHING = np.array(list(itertools.product(*(range(count) for count in NUM_VALUES))))


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("NAS_DATA_DIR")
    if folder is None or not (path := Path(folder) / rows_module.FILE_NAME).is_file():
        pytest.skip("NAS_DATA_DIR does not lead to accel_nasbench.csv.gz")
    return path


class TestRows:
    def test_a_row_is_the_member_that_was_trained(self, data: Path) -> None:
        """By its published number of parameters, which only the very choices have."""
        rows = read_rows(data)
        space = mnasnet_space()
        assert len(rows.encoded) == 5_125
        for place in range(0, len(rows.encoded), 50):
            architecture = space.decode(rows.encoded[place].tolist())
            assert count_params(architecture) == pytest.approx(1e6 * rows.params_millions[place], abs=0.6)

    def test_figures_are_in_their_units(self, data: Path) -> None:
        rows = read_rows(data)
        assert 0.3 < rows.accuracy.min() < rows.accuracy.max() < 0.8
        assert np.nanmedian(rows.train_time_s) > 1_000
        assert np.nanmedian(rows.rtx3090_images_per_s) > 1_000

    def test_what_is_missing_is_named_with_its_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NAS_DATA_DIR", raising=False)
        with pytest.raises(ValueError, match=r"accel_nasbench\.csv\.gz .*Accel-NASBench.*NAS_DATA_DIR is not set"):
            find_data()
        monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path))
        with pytest.raises(ValueError, match=f"there is no {tmp_path}"):
            find_data()
        (tmp_path / rows_module.FILE_NAME).touch()
        assert find_data() == tmp_path / rows_module.FILE_NAME == find_data(tmp_path)

    def test_a_file_of_something_else_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "other.csv"
        path.write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match=r"must have the columns of Accel-NASBench, .* is missing"):
            read_rows(path)
        path.write_bytes(gzip.compress(b"a,b\n")[:-6])
        with pytest.raises(ValueError, match="must be a CSV file"):
            read_rows(path)

    def test_the_split_is_always_the_same_and_leaves_nothing_out(self, data: Path) -> None:
        rows = read_rows(data)
        fitted, held_out = split(rows)
        assert len(held_out) == NUM_HELD_OUT
        assert sorted([*fitted, *held_out]) == list(range(len(rows.encoded)))
        assert np.array_equal(split(rows)[1], held_out)


class TestLocalSearch:
    @pytest.mark.parametrize("seed", range(5))
    def test_it_finds_what_brute_force_finds(self, seed: int) -> None:
        """On a rugged function of all pairs of choices."""
        tables = np.random.default_rng(seed).normal(size=(len(NUM_VALUES), len(NUM_VALUES), 9, 9))

        def rugged(members: np.ndarray) -> np.ndarray:
            pairs = itertools.combinations(range(len(NUM_VALUES)), 2)
            return np.asarray(sum(tables[a, b, members[:, a], members[:, b]] for a, b in pairs))

        values = rugged(EVERYTHING)
        found = find_optimum(rugged, NUM_VALUES, restarts=20, seed=seed)
        assert found.value == pytest.approx(values.max()), f"seed {seed}"
        assert found.places == tuple(EVERYTHING[values.argmax()])
        assert 1 <= found.hits <= found.restarts == 20

    def test_exchanges_are_all_members_that_differ_so_much(self) -> None:
        member = EVERYTHING[len(EVERYTHING) // 3]
        differ = (member != EVERYTHING).sum(axis=1)
        for exchanges, count in ((one_exchanges, 1), (two_exchanges, 2)):
            around = exchanges(member, NUM_VALUES)
            assert {tuple(row) for row in around} == {tuple(row) for row in EVERYTHING[differ == count]}
            assert len(around) == (differ == count).sum()


class TestSurrogates:
    def test_sums_over_stages_are_found_again(self) -> None:
        rng = np.random.default_rng(0)
        cells = StageCells(TINY)
        entries = rng.uniform(1, 3, cells.count)
        seconds = 5 + entries[cells(EVERYTHING)].sum(axis=1)
        assert cells(EVERYTHING).max() == cells.count - 1
        predict = fit_stage_times(TINY, EVERYTHING, seconds)
        assert predict.over(TINY)(EVERYTHING) == pytest.approx(seconds, rel=0.01)
        alone, _ = predict(TINY.decode(EVERYTHING[7].tolist()))
        assert alone == pytest.approx(seconds[7], rel=0.01)
        with pytest.raises(ValueError, match="fitted in the space"):
            predict.over(mnasnet_space())

    def test_bits_tell_how_far_a_choice_has_come(self) -> None:
        bits = thermometer_bits(np.array([[0, 0], [1, 1], [2, 1]]), [3, 2])
        assert bits.tolist() == [[-1, -1, -1], [1, -1, 1], [1, 1, 1]]

    def test_networks_learn_what_they_have_not_seen(self) -> None:
        rng = np.random.default_rng(0)
        members = rng.integers(3, size=(1_000, 8))
        truth = 0.6 + 0.01 * members.sum(axis=1) + 0.01 * members[:, 0] * members[:, 1]
        predict = fit_networks(members[:800], truth[:800], [3] * 8)
        assert kendalltau(predict(members[800:]), truth[800:]).statistic > 0.9
        assert predict(members[800:]).mean() == pytest.approx(truth[800:].mean(), abs=0.01)

    def test_what_is_kept_is_read_and_what_is_broken_is_made_again(self, tmp_path: Path) -> None:
        made = []

        def make() -> dict[str, np.ndarray]:
            made.append(1)
            return {"value": np.arange(3)}

        path = tmp_path / "deep" / "arrays.npz"
        for _ in range(2):
            assert kept(path, make)["value"].tolist() == [0, 1, 2]
        assert len(made) == 1
        path.write_bytes(path.read_bytes()[:50])
        assert kept(path, make)["value"].tolist() == [0, 1, 2]
        assert len(made) == 2
        assert [each.name for each in path.parent.iterdir()] == ["arrays.npz"]

    @pytest.mark.slow
    def test_they_rank_rows_they_have_not_seen(self, data: Path, tmp_path: Path) -> None:
        benchmark = Benchmark(data, tmp_path)
        tau = benchmark.surrogates.tau
        assert tau["trees"] > 0.92
        assert tau["networks"] > 0.92
        assert tau["train_time"] > 0.88
        assert tau["rtx3090"] > 0.97
        bed, other = benchmark.bed("network"), benchmark.bed("trees")
        for each in (bed, other):
            random = np.array([each.space.encode(each.space.backbone), *benchmark.rows.encoded[:500]])
            assert each.rewards(random).max() < each.optimum
            assert each.gap(float(each.rewards(np.array([each.best]))[0])) == pytest.approx(0, abs=1e-9)
        assert 0 < benchmark.resolution()["trees"] < 0.02
        again = Benchmark(data, tmp_path)
        assert np.array_equal(
            again.surrogates.trees(benchmark.rows.encoded[:9]), other.accuracy(benchmark.rows.encoded[:9])
        )
        assert again.bed("network").optimum == bed.optimum


def tiny_rows(count: int = 40) -> RunRows:
    chosen = np.random.default_rng(1).permutation(len(EVERYTHING))[:count]
    return RunRows(
        space=TINY,
        num_classes=10,
        in_channels=1,
        architectures=tuple(str(TINY.decode(EVERYTHING[place].tolist())) for place in chosen),
        accuracy=0.5 + 0.001 * np.arange(len(chosen)),
        step_time_s=0.01 * (1 + EVERYTHING[chosen].sum(axis=1)),
    )


class TestBeds:
    def test_the_backbone_has_its_own_accuracy_as_reward(self) -> None:
        bed = bed_of_rows("tiny", "tiny", tiny_rows())
        factor = cost_factors(bed.reward, bed.costs(np.array([bed.backbone])))
        assert factor[0] == pytest.approx(1.0)
        assert bed.reward.params_ref == count_params(TINY.backbone, num_classes=10, in_channels=1)

    def test_a_reward_is_that_of_the_product(self) -> None:
        bed = bed_of_rows("tiny", "tiny", tiny_rows())
        assert bed.pool is not None
        for row in bed.pool[:5]:
            costs = bed.costs(row[None])
            seconds, params = float(np.asarray(costs.step_time_s)[0]), int(costs.params[0])
            assert params == count_params(TINY.decode(row.tolist()), num_classes=10, in_channels=1)
            reward = bed.reward(accuracy=float(bed.accuracy(row[None])[0]), step_time_s=seconds, params=params)
            assert bed.rewards(row[None])[0] == pytest.approx(reward)

    def test_the_best_row_has_no_gap_and_all_others_have_one(self) -> None:
        bed = bed_of_rows("tiny", "tiny", tiny_rows())
        assert bed.pool is not None
        rewards = bed.rewards(bed.pool)
        assert bed.optimum == rewards.max()
        assert bed.gap(bed.optimum) == 0
        assert bed.gap(0.5 * bed.optimum) == pytest.approx(0.5)
        assert tuple(bed.pool[rewards.argmax()]) == bed.best

    def test_rows_have_their_own_figures_and_nothing_else_has_an_accuracy(self) -> None:
        rows = tiny_rows()
        bed = bed_of_rows("tiny", "tiny", rows)
        for text, accuracy, seconds in zip(rows.architectures, rows.accuracy, rows.step_time_s, strict=True):
            encoded = np.array([TINY.encode(parse(text))])
            assert bed.accuracy(encoded)[0] == accuracy
            assert np.asarray(bed.costs(encoded).step_time_s)[0] == seconds
        trained = {tuple(row) for row in np.asarray(bed.pool)}
        other = next(row for row in EVERYTHING if tuple(row) not in trained)
        assert np.asarray(bed.costs(other[None]).step_time_s)[0] > 0
        with pytest.raises(ValueError, match="rows alone"):
            bed.accuracy(other[None])

    def test_doubled_rows_are_refused(self) -> None:
        costs = CostModel(
            workload=Workload(),
            device_kind="cpu",
            step_times=fit_stage_times(TINY, EVERYTHING, np.ones(len(EVERYTHING))),
        ).over(TINY)
        rows = EVERYTHING[[0, 1, 0]]
        with pytest.raises(ValueError, match="different architectures, got 1 repeated"):
            make_row_bed("x", "x", TINY, rows=rows, accuracy=np.ones(3), step_time_s=None, costs=costs)
        assert reference_reward(TINY, costs).step_time_ref_s == pytest.approx(1, rel=0.02)

    def test_a_proposal_is_mapped_to_the_nearest_row_that_is_left(self) -> None:
        rows = np.array([[0, 0, 0], [0, 0, 1], [2, 2, 2]])
        nearest = NearestRow(rows, seed=0)
        assert nearest.take(np.array([2, 2, 1])) == (2, 2, 2)
        assert nearest.take(np.array([0, 0, 1])) == (0, 0, 1)
        assert nearest.take(np.array([2, 2, 2])) == (0, 0, 0)
        assert nearest.take(np.array([0, 0, 0])) is None

    def test_equally_near_rows_are_taken_in_an_order_of_the_seed(self) -> None:
        rows = np.eye(8, dtype=int)
        taken = {seed: NearestRow(rows, seed).take(np.zeros(8, dtype=int)) for seed in range(20)}
        assert len(set(taken.values())) > 3
        assert taken[3] == NearestRow(rows, 3).take(np.zeros(8, dtype=int))


def test_seed_noise_is_one_draw_for_each_training() -> None:
    assert seed_noise(0, (1, 2)) == seed_noise(0, (1, 2))
    drawn = np.array(
        [
            seed_noise(seed, (1, place), replicate)
            for seed, place, replicate in itertools.product(range(10), range(20), range(3))
        ]
    )
    assert len(set(drawn)) == len(drawn)
    assert drawn.std() == pytest.approx(SEED_NOISE, rel=0.1)
    assert abs(drawn.mean()) < 4 * SEED_NOISE / np.sqrt(len(drawn))


def test_a_bed_is_a_value() -> None:
    bed = bed_of_rows("tiny", "tiny", tiny_rows())
    assert isinstance(bed, Bed)
    with pytest.raises(AttributeError):
        bed.optimum = 1.0  # type: ignore[misc]
