"""The progressive benchmark trains like with like, carries on, and counts what it says."""

import gzip
import math
from pathlib import Path

import pytest
import torch

from experiments.bench.progressive import benchmark
from experiments.bench.progressive.benchmark import (
    DROPOUT,
    RANDAUGMENT,
    VARIANTS,
    CpuSeconds,
    Plan,
    make_plan,
    run_benchmark,
    training_of,
)
from experiments.bench.progressive.cells import Cell, read_cells, write_cells
from experiments.bench.progressive.fewer_images import write_fewer_images
from experiments.bench.progressive.report import accuracy_gain, paired, spread, table, time_ratios, verdicts
from nas.full_training.stages import stages_of
from proxies.data.images import PixelImages
from proxies.data.sources import load_images
from proxies.training.progressive import ProgressiveStage

SETTING = "2 epochs of 640 images"


def cell(
    variant: str, seed: int, num_correct: int = 80, train_seconds: float = 10.0, cpu_seconds: float | None = None
) -> Cell:
    return Cell(
        setting=SETTING, variant=variant, seed=seed, num_correct=num_correct, num_judged=100,
        train_seconds=train_seconds, cpu_seconds=cpu_seconds, num_trained=1280,
    )  # fmt: skip


class TestTrainings:
    def test_variants_differ_in_sizes_and_in_strengths_on_the_way_only(self, tmp_path: Path) -> None:
        stages = {name: planned(plan_in(tmp_path, epochs=8), name) for name in VARIANTS}
        assert [stage.resolution for stage in stages["fixed"]] == [40]
        assert [stage.resolution for stage in stages["progressive"]] == [16, 24, 32, 40]
        assert [stage.resolution for stage in stages["adaptive"]] == [16, 24, 32, 40]
        for name in ("fixed", "progressive", "random"):
            assert {(stage.randaugment, stage.drop_rate) for stage in stages[name]} == {(RANDAUGMENT[1], DROPOUT[1])}
        strengths = {
            stage.resolution: (stage.randaugment, stage.drop_rate)
            for stage in (*stages["adaptive"], *stages["random-adaptive"])
        }
        assert strengths[16] == (RANDAUGMENT[0], DROPOUT[0])
        assert strengths[40] == (RANDAUGMENT[1], DROPOUT[1])
        assert {sum(stage.epochs for stage in each) for each in stages.values()} == {8}
        assert len({stage.batch_size for each in stages.values() for stage in each}) == 1

    def test_a_benchmark_carries_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = plan_in(tmp_path, epochs=4, variants=("fixed", "adaptive"))
        run_benchmark(plan)
        cells = read_cells(plan.cells_file, setting=plan.setting)
        assert [(each.variant, each.seed, each.num_judged) for each in cells] == [("fixed", 0, 20), ("adaptive", 0, 20)]
        assert {each.num_trained for each in cells} == {4 * 64}
        assert all(each.cpu_seconds for each in cells)
        monkeypatch.setattr(benchmark, "train", lambda *_: pytest.fail("all cells were trained before"))
        run_benchmark(plan)
        assert read_cells(plan.cells_file, setting=plan.setting) == cells

    def test_cpu_time_leaves_judging_out(self) -> None:
        times = iter([10.0, 13.0, 20.0, 24.0, 30.0])
        observer = CpuSeconds(clock=lambda: next(times))
        observer.planned(None, notes=(), steps_done=0, num_steps=2)  # type: ignore[arg-type]
        for _ in range(2):
            observer.judging(None)  # type: ignore[arg-type]
            observer.epoch(None, None, is_best=False)  # type: ignore[arg-type]
        assert observer.seconds == 7.0
        assert observer.has_seen_all

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            ({"variants": "fixed,growing"}, "variants must be some of fixed, .*, got 'growing'"),
            ({"mode": "fast"}, "an execution mode reads like"),
        ],
    )
    def test_what_was_asked_for_is_checked(self, tmp_path: Path, asked: dict[str, str], message: str) -> None:
        defaults = {"out": tmp_path, "variants": "fixed", "mode": "float32-contiguous", "device": "cpu"}
        numbers = {"seeds": None, "epochs": None, "images": None}
        with pytest.raises(ValueError, match=message):
            make_plan(**{**defaults, **numbers, "threads": 1, "quick": True, **asked})  # type: ignore[arg-type]


def plan_in(folder: Path, *, epochs: int, variants: tuple[str, ...] = tuple(VARIANTS)) -> Plan:
    root = folder / "whole"
    if not root.exists():
        fashion_mnist(root, 200, 20)
    return Plan(
        out=folder / "out", variants=variants, num_seeds=1, epochs=epochs, num_images=100, device="cpu",
        mode="float32-channels_last", threads=1, data_root=root,
    )  # fmt: skip


def planned(plan: Plan, variant: str) -> tuple[ProgressiveStage, ...]:
    config = training_of(plan, variant, seed=0)
    return stages_of(config, num_images=90, peak_memory=lambda stage: 0, memory_bytes=1.0)


class TestCells:
    def test_cells_come_back(self, tmp_path: Path) -> None:
        cells = [cell("fixed", 0), cell("random-adaptive", 2, 91, 1 / 3, 0.1)]
        write_cells(tmp_path / "cells.csv", cells)
        assert read_cells(tmp_path / "cells.csv", setting=SETTING) == cells
        assert read_cells(tmp_path / "none.csv", setting=SETTING) == []

    def test_another_setting_is_refused(self, tmp_path: Path) -> None:
        write_cells(tmp_path / "cells.csv", [cell("fixed", 0)])
        with pytest.raises(ValueError, match=r"must hold cells of '9 epochs', got '2 epochs of 640 images'"):
            read_cells(tmp_path / "cells.csv", setting="9 epochs")

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "cells.csv").write_text("variant,seed\nfixed,one\n")
        with pytest.raises(ValueError, match=r"cannot read the cells of .*cells\.csv"):
            read_cells(tmp_path / "cells.csv", setting=SETTING)


class TestReport:
    CELLS = (
        cell("fixed", 0, 80, 10.0), cell("fixed", 1, 84, 20.0, 18.0),
        cell("progressive", 0, 80, 5.0), cell("progressive", 1, 83, 12.0),
        cell("adaptive", 1, 85, 12.8, 9.0), cell("adaptive", 0, 83, 5.0, 4.0), cell("adaptive", 2, 99, 1.0),
    )  # fmt: skip

    def test_pairs_have_one_seed(self) -> None:
        pairs = paired(self.CELLS, "adaptive", "fixed")
        assert [(first.seed, second.seed) for first, second in pairs] == [(0, 0), (1, 1)]
        assert time_ratios(self.CELLS, "adaptive") == pytest.approx([0.5, 0.64])

    def test_a_gain_is_in_points(self) -> None:
        gain = accuracy_gain(self.CELLS, "adaptive", "progressive")
        assert gain is not None
        assert (gain.mean, gain.std) == (pytest.approx(2.5), pytest.approx(math.sqrt(0.5)))
        assert accuracy_gain(self.CELLS, "random", "fixed") is None

    def test_one_seed_has_no_spread(self) -> None:
        assert spread([1.0]).text("{:+.2f}") == "+1.00"
        assert spread([1.0, 2.0]).text("{:+.2f}") == "+1.50 ± 0.71"

    def test_the_table_has_a_row_for_each_variant(self) -> None:
        shown = table(self.CELLS)
        assert list(shown.columns[0].cells) == ["fixed", "progressive", "adaptive"]
        assert list(shown.columns[5].cells) == ["1.00 [1.00–1.00]", "0.55 [0.50–0.60]", "0.57 [0.50–0.64]"]
        assert list(shown.columns[6].cells) == ["1.00 [1.00–1.00]", "", "0.50 [0.50–0.50]"]

    def test_both_claims_are_judged(self) -> None:
        gain, time = verdicts(self.CELLS)
        assert gain.startswith("adaptive − progressive: +2.50 ± 0.71 points over 2 seeds")
        assert time.startswith(
            "training time, adaptive ÷ fixed: 0.57 [0.50–0.64], in CPU time 0.50 [0.50–0.50] (expected"
        )
        assert verdicts(self.CELLS[:2]) == []


def fashion_mnist(folder: Path, num_train: int, num_test: int) -> Path:
    """A tiny data set in Fashion-MNIST's files; each image's pixels are its label and its place."""
    folder.mkdir()
    for part, count in (("train", num_train), ("t10k", num_test)):
        labels = bytes(place % 10 for place in range(count))
        pixels = b"".join(bytes([place % 10, place % 256]) * 392 for place in range(count))
        shape = [count.to_bytes(4, "big"), (28).to_bytes(4, "big"), (28).to_bytes(4, "big")]
        images = b"\0\0\x08\x03" + b"".join(shape) + pixels
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + shape[0] + labels))
    return folder


def test_fewer_images_are_the_first_ones_and_the_whole_test_set(tmp_path: Path) -> None:
    whole = fashion_mnist(tmp_path / "whole", 50, 20)
    write_fewer_images(tmp_path / "fewer", 30, root=whole)
    fewer, all_of_them = load_images("fashion-mnist", root=tmp_path / "fewer"), load_images("fashion-mnist", root=whole)
    assert isinstance(fewer.train, PixelImages)
    assert isinstance(all_of_them.train, PixelImages)
    assert torch.equal(fewer.train.pixels, all_of_them.train.pixels[:30])
    assert torch.equal(fewer.train.labels, all_of_them.train.labels[:30])
    assert fewer.read_test is not None
    assert len(fewer.read_test()) == 20
