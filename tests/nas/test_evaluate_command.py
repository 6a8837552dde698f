"""``nas evaluate`` on a real training of digits, against a plain loop and scikit-learn's metrics."""

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn import metrics
from sklearn.datasets import load_digits
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms
from typer.testing import CliRunner, Result

from nas.cli import app
from nas.full_training.config import make_training_config
from nas.full_training.directory import TrainingDirectory
from nas.full_training.evaluation import judge, prepare
from nas.full_training.record import read_record
from nas.full_training.run import train
from nas.full_training.trained_network import Layers, read_foreign
from nas.reference import find_network
from proxies.data.encoded import EncodedImages
from proxies.data.images import PixelImages
from proxies.device import find_device
from proxies.proxy_data import load_splits
from proxies.training.config import DataConfig
from search_spaces.architecture import parse
from search_spaces.network import build

ARCHITECTURE = "stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e2_c12-ir_r1_k3_s2_e3_c16_se0.25-head32@16"
CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingDirectory:
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    config = make_training_config(
        {
            "architecture": ARCHITECTURE,
            "epochs": 3,
            "test_size": 20,
            "device": "cpu",
            "threads": 1,
            "mode": "float32-channels_last",
            "out": str(folder),
            "progressive": {"resize": "fixed", "num_stages": 1, "image_size": [16, 16], "randaugment": [0, 0],
                            "mixup": [0, 0], "cutmix": [0, 0], "dropout": [0, 0]},
            "train": {"ema_decay": 0.97, "batch_size": 64, "lr": 0.005},
        },
        {},
    )  # fmt: skip
    train(config)
    return TrainingDirectory(folder)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def told(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """The JSON file of an evaluation."""
    out = tmp_path / "evaluation.json"
    done = run(*arguments, *CPU, "--out", out)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def refused(*arguments: object) -> str:
    """The line that a mistake ends with."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    return done.stderr


def part(name: str) -> PixelImages:
    splits = load_splits(DataConfig())
    images = splits.read_test() if name == "test" else getattr(splits, name)
    assert isinstance(images, PixelImages)
    return images


def plain_logits(
    directory: TrainingDirectory, state: Mapping[str, Tensor], images: PixelImages, size: int, batch: int = 60
) -> Tensor:
    """Build, load, resize, normalise, classify: a loop of its own."""
    network = build(parse(ARCHITECTURE), num_classes=10, in_channels=1)
    network.load_state_dict(dict(state))
    network.eval()
    record = read_record(directory.record_file)
    (mean,), (std,) = record.normalisation_mean, record.normalisation_std
    pixels = transforms.resize(images.pixels, [size, size], antialias=True).float()
    with torch.no_grad():
        return torch.cat([network(part) for part in ((pixels - mean) / std).split(batch)])


def require_same(found: dict[str, Any], logits: Tensor, labels: Tensor) -> None:
    """One image may lie on the border between two classes."""
    guesses, truth = logits.argmax(1).numpy(), labels.numpy()
    slack = 1.5 / len(truth)
    assert found["top1"]["num_images"] == len(truth)
    assert found["top1"]["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guesses), abs=slack)
    top = metrics.top_k_accuracy_score(truth, logits.numpy(), k=5)
    assert found["top5"]["accuracy"] == pytest.approx(top, abs=slack)
    confusion = metrics.confusion_matrix(truth, guesses)
    assert [each["num_images"] for each in found["classes"]] == confusion.sum(1).tolist()
    differences = [abs(each["num_correct"] - confusion[place, place]) for place, each in enumerate(found["classes"])]
    assert sum(differences) <= 1


def test_the_parts_are_of_the_real_digits() -> None:
    """What is compared below is scikit-learn's images, each in one part."""
    digits = load_digits()
    labels = torch.cat([part(name).labels for name in ("train", "minival", "test")])
    assert sorted(labels.tolist()) == sorted(digits.target.tolist())


@pytest.mark.parametrize(("flag", "entry"), [("--ema", "ema"), ("--raw", "network")])
def test_best_weights_on_test_images(trained: TrainingDirectory, tmp_path: Path, flag: str, entry: str) -> None:
    found = told(tmp_path, trained.path, flag, "--size", 16, "--size", 20)
    assert [each["resolution"] for each in found["sizes"]] == [16, 20]
    state = torch.load(trained.best_checkpoint, weights_only=True)[entry]
    images = part("test")
    for each in found["sizes"]:
        assert each["top1"]["accuracy"] > 0.2, "it should have learned something"
        require_same(each, plain_logits(trained, state, images, each["resolution"]), images.labels)


def test_by_default_the_average_at_the_test_size(trained: TrainingDirectory, tmp_path: Path) -> None:
    plain, asked = told(tmp_path, trained.path), told(tmp_path, trained.path, "--ema", "--size", 20, "--split", "test")
    assert plain == asked
    assert plain["weights"].endswith("averaged")


def test_minival_gives_the_accuracy_that_the_training_saw(trained: TrainingDirectory, tmp_path: Path) -> None:
    record = read_record(trained.record_file)
    assert record.best is not None
    for flag, correct in (("--ema", record.best.ema_num_correct), ("--raw", record.best.num_correct)):
        found = told(tmp_path, trained.path, "--split", "minival", flag)
        assert abs(found["sizes"][0]["top1"]["num_correct"] - correct) <= 1


def test_last_checkpoint(trained: TrainingDirectory, tmp_path: Path) -> None:
    found = told(tmp_path, trained.path, "--weights", "last", "--raw", "--size", 16, "--split", "train")
    state = torch.load(trained.last_checkpoint, weights_only=True)["training"]["network"]
    images = part("train")
    require_same(found["sizes"][0], plain_logits(trained, state, images, 16), images.labels)


def test_weights_from_elsewhere_carry_their_normalisation(trained: TrainingDirectory, tmp_path: Path) -> None:
    weights = shutil.copy(trained.weights_file, tmp_path / "elsewhere.safetensors")
    found = told(tmp_path, ARCHITECTURE, "--weights", weights, "--data", "digits")
    ours = told(tmp_path, trained.path)
    assert found["normalisation"]["origin"] == "as in training"
    assert found["sizes"] == ours["sizes"], "the same images at the same test size"


def test_weights_without_a_word_take_the_datas_own_normalisation(trained: TrainingDirectory, tmp_path: Path) -> None:
    state = torch.load(trained.best_checkpoint, weights_only=True)["ema"]
    torch.save(state, tmp_path / "bare.pt")
    bare = (ARCHITECTURE, "--weights", tmp_path / "bare.pt", "--data", "digits", "--norm-eps", 0.001, "--padding", "")
    found = told(tmp_path, *bare)
    assert found["normalisation"]["origin"].startswith("of these training images")
    images = part("test")
    require_same(found["sizes"][0], plain_logits(trained, state, images, 16), images.labels)
    other = told(tmp_path, *bare, "--mean", "0.5", "--std", "0.5")
    assert other["normalisation"] == {"mean": [127.5], "std": [127.5], "origin": "as asked"}
    assert other["sizes"] != found["sizes"]


def test_a_file_of_weights_for_a_training(trained: TrainingDirectory, tmp_path: Path) -> None:
    found = told(tmp_path, trained.path, "--weights", trained.weights_file)
    assert found["sizes"] == told(tmp_path, trained.path)["sizes"]


def test_csv_has_a_row_for_each_class_and_size(trained: TrainingDirectory, tmp_path: Path) -> None:
    sizes = ("--size", 16, "--size", 20)
    assert run(trained.path, *sizes, *CPU, "--out", tmp_path / "classes.csv").exit_code == 0
    with (tmp_path / "classes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = told(tmp_path, trained.path, *sizes)
    assert [(int(row["resolution"]), row["name"]) for row in rows] == [(s, str(c)) for s in (16, 20) for c in range(10)]
    correct = [each["num_correct"] for size in found["sizes"] for each in size["classes"]]
    assert [int(row["num_correct"]) for row in rows] == correct


def test_what_is_printed(trained: TrainingDirectory, tmp_path: Path) -> None:
    found = told(tmp_path, trained.path)["sizes"][0]
    shown = run(trained.path, "--per-class", *CPU).output
    top = found["top1"]
    assert f"{100 * top['accuracy']:.1f} ± {100 * top['standard_error']:.1f} %" in shown
    assert "digits, test" in shown
    assert "class, at 20 px" in shown
    assert ARCHITECTURE in shown


@pytest.mark.parametrize("memory_limit_gib", [1.0, 0.0])
def test_only_images_of_the_part_count_as_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_limit_gib: float
) -> None:
    """Of a set that is too large to be read beforehand: those of the others are met, too, but are not asked for."""
    monkeypatch.setattr("proxies.data.encoded.FULLY_READ", 0)
    write_pictures(tmp_path / "images")
    source = f"imagefolder:{tmp_path / 'images'}"
    data = DataConfig(source=source, corrupt_images="skip", memory_limit_gib=memory_limit_gib, num_workers=1)
    expected = {"train": 3, "minival": 2, "test": 1}
    damage(data, expected)
    weights = bare_weights(tmp_path, num_classes=2, in_channels=3)
    trained = read_foreign(find_network(ARCHITECTURE), weights, Layers(padding="", norm_eps=1e-3))
    exam = prepare(trained, data, sizes=(16,))
    parts = ("train", "minival", "test")
    judged = {part: judge(replace(exam, part=part), device=find_device("cpu")) for part in parts}
    assert {part: each.num_skipped for part, each in judged.items()} == expected
    assert sum(each.results[0].score.num_images for each in judged.values()) == 40 - sum(expected.values())


def write_pictures(folder: Path) -> None:
    for number in range(40):
        path = folder / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (6 * number,) * 3).save(path)


def damage(data: DataConfig, counts: Mapping[str, int]) -> None:
    """Empty the files of so many images of each part."""
    splits = load_splits(data)
    for name, images in {"train": splits.train, "minival": splits.minival, "test": splits.read_test()}.items():
        assert isinstance(images, EncodedImages)
        for position in images.positions[: counts[name]].tolist():
            Path(images.store.name(position)).write_bytes(b"")


# What is refused, in a line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--size", 3), "size must be at least the total stride 8, got 3"),
        (("--split", "valid"), "--split must be one of test, minival, train, got 'valid'"),
        (("--dtype", "int8"), "--dtype must be one of"),
        (("--data", "fashion-mnist"), "class 0 was '0'"),
        (("--weights", "gone.safetensors"), "got gone.safetensors"),
        (("--weights", "gone.pt", "--raw"), "--ema and --raw are for checkpoints of a training"),
        (("--padding", "same"), "are for files of weights"),
        (("--mean", "0.5"), "--mean and --std must be given together"),
        (("--mean", "0.5", "--std", "0"), "--std must be as many positive numbers"),
        (("--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"), "must be given for 1 image channels, got 3"),
        (("--mean", "123", "--std", "50"), "--mean must be of pixels from 0 to 1, got 123"),
        (("--out", "table.xlsx"), "--out must end in .json or .csv"),
        (("--device", "tpu"), "device must be"),
    ],
)
def test_mistakes(trained: TrainingDirectory, arguments: tuple[object, ...], reason: str) -> None:
    if "fashion-mnist" in arguments:
        pytest.importorskip("torchvision")
        if not Path("/usr/share/datasets/fashion-mnist").exists():
            pytest.skip("needs Fashion-MNIST")
    assert reason in refused(trained.path, *arguments)


def test_no_training_there(tmp_path: Path) -> None:
    assert "no training there" in refused(tmp_path)
    assert "no training there" in refused("efficientnetv2-s")
    assert "--data must name the images" in refused(
        ARCHITECTURE, "--weights", bare_weights(tmp_path), "--norm-eps", 0.001, "--padding", ""
    )


def test_other_numbers_of_classes_and_channels(tmp_path: Path) -> None:
    settings = ("--data", "digits", "--norm-eps", 0.001, "--padding", "")
    weights = bare_weights(tmp_path, num_classes=7)
    assert "has 7 classes, but digits has 10" in refused(ARCHITECTURE, "--weights", weights, *settings)
    weights = bare_weights(tmp_path, in_channels=3)
    assert "takes 3 image channels, but digits has 1" in refused(ARCHITECTURE, "--weights", weights, *settings)


def test_checkpoints_that_are_not_there_or_of_another_network(trained: TrainingDirectory, tmp_path: Path) -> None:
    copied = TrainingDirectory(Path(shutil.copytree(trained.path, tmp_path / "copy")))
    best = torch.load(copied.best_checkpoint, weights_only=True)
    torch.save(best | {"ema": None}, copied.best_checkpoint)
    assert "no average of the weights is kept" in refused(copied.path, "--ema")
    assert run(copied.path, *CPU).exit_code == 0, "without one the weights as trained are taken"
    torch.save(best | {"ema": {"other": torch.zeros(1)}}, copied.best_checkpoint)
    assert "got those of another network" in refused(copied.path)
    copied.best_checkpoint.unlink()
    assert "no checkpoint there" in refused(copied.path)


def bare_weights(folder: Path, *, num_classes: int = 10, in_channels: int = 1) -> Path:
    path = folder / "bare.pt"
    torch.save(build(parse(ARCHITECTURE), num_classes=num_classes, in_channels=in_channels).state_dict(), path)
    return path
