"""What a worker does, on real images: digits, and an image folder that is streamed from disk by processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_search
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from nas.config import SearchConfig
from nas.evaluation import Evaluator, threads_of_worker, worker_device
from nas.evaluation_tasks import (
    AccuracyRecord,
    EpochReport,
    Evaluation,
    Inspect,
    Inspection,
    Judge,
    Preparation,
    Prepare,
    Retrain,
)
from nas.executors.interface import RefusedError
from nas.observer import Observer
from nas.search import run_search
from nas.study import Ending
from proxies import short_training, training_step
from proxies.training.config import Fidelity
from search_spaces.architecture import parse

STEP = {"batch_size": 4, "num_pairs": 3, "visits": 1, "budget_s": 0.0, "calibration_s": 0.0}
FAST = {"fidelity": {"epochs": 2, "data_share": 0.3}, "step_time": STEP, "threads": 1}


def config(out: Path, **changes: Any) -> SearchConfig:
    return SearchConfig.model_validate(FAST | {"space": fake_search.TINY_SPACE, "device": "cpu", "out": out} | changes)


def digits_folder(folder: Path, classes: int = 2, images: int = 30) -> Path:
    """Real digits as PNG files, one folder for each class."""
    digits = load_digits()
    for label in range(classes):
        (folder / str(label)).mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == label][:images]):
            Image.fromarray((pixels * 15).astype("uint8")).save(folder / str(label) / f"{number:03}.png")
    return folder


def test_a_worker_prepares_judges_and_retrains(tmp_path: Path) -> None:
    evaluator = Evaluator(config(tmp_path, checkpoint_every_s=0.0), 0)
    said: list[str] = []

    def report(fraction: float, doing: str, found: object = None) -> None:
        said.append(doing)

    inspection = evaluator(Inspect(), report)
    assert isinstance(inspection, Inspection)
    data = inspection.data
    assert (data.num_classes, data.in_channels, data.num_minival) == (10, 1, 179)
    preparation = evaluator(Prepare(inspection=inspection), report)
    assert isinstance(preparation, Preparation)
    assert preparation.mode in preparation.mode_seconds
    text = str(config(tmp_path).search_space().backbone)
    preparation = replace(preparation, step_mode="float32-contiguous")
    evaluation = evaluator(Judge(architecture=text, seed=1, preparation=preparation, measure=True), report)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.step_time is not None
    assert evaluation.step_time.mode == "float32-contiguous"
    assert evaluation.step_time.reference_s == preparation.canary_s
    assert len(evaluation.accuracy.curve) == len(evaluation.accuracy.losses) == 2
    assert said[-3:] == ["step time", "epoch 1/2", "epoch 2/2"]
    again = evaluator(Retrain(architecture=text, seed=1, preparation=preparation), report)
    assert isinstance(again, AccuracyRecord)
    assert again.losses == evaluation.accuracy.losses, "the same seed"
    other = evaluator(Retrain(architecture=text, seed=2, preparation=preparation), report)
    assert other.losses != again.losses  # type: ignore[attr-defined]


def test_the_size_of_a_task_reaches_its_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network is shown: the fidelity's 16 pixels, or the task's own, in training and in judging."""
    seen: set[tuple[int, ...]] = set()
    real = short_training.build

    def watched(*args: Any, **settings: Any) -> Any:
        network = real(*args, **settings)
        network.register_forward_pre_hook(lambda module, images: seen.add(tuple(images[0].shape[2:])))
        return network

    monkeypatch.setattr(short_training, "build", watched)
    settings = config(tmp_path, fidelity={"epochs": 1, "data_share": 0.1, "resolution": 16})
    evaluator, text = Evaluator(settings, 0), str(settings.search_space().backbone)
    preparation = replace(fake_search.PREPARATION, mode="float32-contiguous")
    for train_size, expected in ((None, 16), (24, 24), (16, 16)):
        seen.clear()
        work = Judge(architecture=text, seed=1, preparation=preparation, measure=False, train_size=train_size)
        evaluation = evaluator(work, lambda fraction, doing, found=None: None)
        assert isinstance(evaluation, Evaluation)
        assert seen == {(expected, expected)}


def test_a_task_may_train_otherwise_than_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its epochs, share of the images, batch and width; the next task is the search's own again."""
    widths: list[int] = []
    real = short_training.build

    def watched(architecture: Any, **settings: Any) -> Any:
        widths.append(architecture.stages[-1].out_channels)
        return real(architecture, **settings)

    monkeypatch.setattr(short_training, "build", watched)
    space = {
        **fake_search.SPACE,
        "stem_channels": 16,
        "stages": [{"out_channels": 32, "stride": 2, "num_repeats": [1, 2]}],
    }
    settings = config(tmp_path, space=space, fidelity={"epochs": 1, "data_share": 0.2}, train={"batch_size": 64})
    evaluator, text = Evaluator(settings, 0), str(settings.search_space().backbone)
    preparation = replace(fake_search.PREPARATION, mode="float32-contiguous")
    own = Retrain(architecture=text, seed=1, preparation=preparation)
    other = replace(
        own,
        fidelity=Fidelity(epochs=3, data_share=0.1, width=0.5),
        train=settings.train.model_copy(update={"batch_size": 16}),
    )
    steps: list[int] = []
    real_step = training_step.TrainingStep.__call__

    def counted(self: Any, images: torch.Tensor, *rest: Any, **named: Any) -> Any:
        steps.append(len(images))
        return real_step(self, images, *rest, **named)

    monkeypatch.setattr(training_step.TrainingStep, "__call__", counted)
    found: list[EpochReport] = []

    def report(fraction: float, doing: str, told: object = None) -> None:
        if isinstance(told, EpochReport):
            found.append(told)

    results = [evaluator(work, report) for work in (own, other, own)]
    assert widths == [32, 16, 32]
    assert [len(result.curve) for result in results] == [1, 3, 1]  # type: ignore[attr-defined]
    assert results[0].losses == results[2].losses  # type: ignore[attr-defined]
    sizes = set(steps)
    assert {16, 64} <= sizes
    assert [(each.epoch, each.num_epochs) for each in found] == [(1, 1), (1, 3), (2, 3), (3, 3), (1, 1)]
    assert found[-1].num_correct == results[2].num_correct  # type: ignore[attr-defined]


@pytest.mark.parametrize("memory_limit_gib", [pytest.param(2.0, marks=pytest.mark.slow), 0.0])
def test_a_whole_search_on_an_image_folder(tmp_path: Path, memory_limit_gib: float) -> None:
    """In a worker process; without memory, the worker's own processes read the files."""
    folder = digits_folder(tmp_path / "images")
    data = {"source": f"imagefolder:{folder}", "memory_limit_gib": memory_limit_gib, "minival_share": 0.2}
    changes = {"train": {"batch_size": 8}, "step_time": STEP | {"inference": True}}
    search = config(tmp_path / "run", data=data, trials=2, finalists=1, finalist_seeds=1, **changes)
    run, ending = run_search(search, observer=Observer())
    assert ending is Ending.COMPLETE
    assert run.preparation.data.num_classes == 2
    assert len(run.leaderboard()) == 2
    assert max(entry.num_trainings for entry in run.leaderboard()) == 2, "the leader of the first trainings"
    (table,) = run.tables
    assert table.covers(search.search_space())
    assert table.canary_s == run.preparation.canary_s
    assert table.device.threads == run.preparation.step_threads == 1
    assert 1 <= len(run.measurements) <= 2, "the leader, and the backbone where that is another"
    for number, measurement in run.measurements.items():
        entry = next(entry for entry in run.leaderboard() if entry.number == number)
        assert entry.step_time_s == measurement.step_time.median_s > 0
        assert entry.predicted_step_time_s == table.predict(parse(entry.architecture)).median_s
        assert measurement.inference is not None
        assert measurement.inference.median_s < entry.step_time_s
        assert measurement.peak_memory_bytes is not None
        assert entry.peak_memory_bytes / 3 < measurement.peak_memory_bytes < 3 * entry.peak_memory_bytes


@pytest.mark.parametrize("memory_limit_gib", [2.0, 0.0])
def test_an_image_that_breaks_later_ends_the_search_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_limit_gib: float
) -> None:
    folder = digits_folder(tmp_path / "images")
    data = {"source": f"imagefolder:{folder}", "memory_limit_gib": memory_limit_gib, "minival_share": 0.2}
    evaluator = Evaluator(config(tmp_path / "run", data=data, train={"batch_size": 8}, fidelity={"epochs": 1}), 0)
    for broken in folder.rglob("*.png"):
        broken.write_bytes(broken.read_bytes()[:40])
    text = str(config(tmp_path).search_space().backbone)
    with pytest.raises(RefusedError, match=r"^cannot read image .*\.png: ") as refused:
        evaluator(
            Retrain(architecture=text, seed=0, preparation=fake_search.PREPARATION),
            lambda fraction, doing, found=None: None,
        )
    assert "\n" not in str(refused.value)


def test_missing_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="nowhere"):
        Evaluator(config(tmp_path, data={"source": f"imagefolder:{tmp_path / 'nowhere'}"}), 0)


def test_a_loss_that_is_not_finite_is_infeasible_and_the_search_goes_on(tmp_path: Path) -> None:
    train = {"optimizer": "sgd", "lr": 1e30, "warmup_epochs": 0.0}
    search = config(tmp_path / "run", train=train, trials=2, finalists=0, step_time=STEP | {"method": "macs"})
    run, ending = fake_search.run(search, fake_search.InlineExecutor(Evaluator(search, 0)))
    assert ending is Ending.COMPLETE
    assert {record.reason for record in run.records} == {"loss is not finite in epoch 1"}


def test_threads_are_shared_by_the_workers(tmp_path: Path) -> None:
    assert threads_of_worker(config(tmp_path, threads=3)) == 3
    assert threads_of_worker(config(tmp_path, threads=None, workers=1000)) == 1


def test_several_gpus_are_dealt_out_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    class Gpu:
        kind = "cuda"
        torch_device = None

    def find(name: str) -> Any:
        found.append(name)
        return Gpu()

    monkeypatch.setattr("nas.evaluation.find_device", find)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    for worker in range(3):
        worker_device("auto", worker)
    assert [name for name in found if ":" in name] == ["cuda:0", "cuda:1", "cuda:0"]
    found.clear()
    worker_device("cuda:1", 0)
    assert found == ["cuda:1"], "a named device is that device for every worker"
