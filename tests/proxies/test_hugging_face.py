"""Folders that the package datasets has written: read as it reads them, or refused in one line."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_sets import NUM_PER_CLASS, write_hugging_face
from PIL import Image

from proxies.data.hugging_face import read_saved_dataset
from proxies.data.images import digest_of
from proxies.data.split import split_images

hugging_face = pytest.importorskip("datasets")


def saved(folder: Path, columns: dict[str, tuple[Any, list[Any]]]) -> Path:
    features = hugging_face.Features({name: feature for name, (feature, _) in columns.items()})
    rows = {name: values for name, (_, values) in columns.items()}
    hugging_face.Dataset.from_dict(rows, features=features).save_to_disk(str(folder))
    return folder


def photos(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(count)]


def test_images_and_labels_are_what_the_package_reads(tmp_path: Path) -> None:
    theirs = hugging_face.load_from_disk(str(write_hugging_face(tmp_path / "saved", ("train",))))
    images = read_saved_dataset(tmp_path / "saved")
    assert images.class_names == ("cat", "dog")
    assert images.train.labels.tolist() == theirs["animal"][:]
    expected = np.stack([np.asarray(photo)[:, 1:11] for photo in theirs["photo"]])
    assert np.array_equal(images.train.at_size(10).permute(0, 2, 3, 1).numpy(), expected)


def test_rows_come_in_the_order_they_were_shuffled_to(tmp_path: Path) -> None:
    loaded = hugging_face.load_from_disk(str(write_hugging_face(tmp_path / "saved", ("train",))))
    shuffled = loaded.shuffle(seed=3)
    shuffled.save_to_disk(str(tmp_path / "shuffled"))
    images = read_saved_dataset(tmp_path / "shuffled")
    assert images.train.labels.tolist() == shuffled["animal"][:]
    colours = [photo.getpixel((0, 0))[0] for photo in shuffled["photo"]]
    assert images.train.at_size(8)[:, 0, 0, 0].tolist() == colours


def test_images_outside_the_table_are_read_from_their_files(tmp_path: Path) -> None:
    files = []
    for number in range(4):
        files.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(files[-1])
    folder = saved(
        tmp_path / "saved",
        {"x": (hugging_face.Image(), files), "y": (hugging_face.ClassLabel(names=["a", "b"]), [0, 1, 0, 1])},
    )
    assert read_saved_dataset(folder).train.at_size(8)[:, 0, 0, 0].tolist() == [0, 50, 100, 150]


@pytest.mark.parametrize(
    ("parts", "has_minival"),
    [(("train", "validation"), False), (("train", "test"), False), (("train", "validation", "test"), True)],
)
def test_parts_are_used_as_those_of_a_folder(tmp_path: Path, parts: tuple[str, ...], has_minival: bool) -> None:
    images = read_saved_dataset(write_hugging_face(tmp_path / "saved", parts))
    assert (images.minival is not None) is has_minival
    assert images.read_test is not None
    assert len(images.read_test()) == 2 * NUM_PER_CLASS


def test_one_part_is_split_into_three(tmp_path: Path) -> None:
    images = read_saved_dataset(write_hugging_face(tmp_path / "saved", ("train",)))
    parts = split_images(images, minival_share=0.3, test_share=0.3, seed=0)
    found = [part.at_size(8)[:, 0, 0, 0].tolist() for part in (parts.train, parts.minival, parts.read_test())]
    assert sorted(sum(found, [])) == sorted(images.train.at_size(8)[:, 0, 0, 0].tolist())  # noqa: RUF017


def test_only_a_wholly_grey_set_has_one_channel(tmp_path: Path) -> None:
    assert read_saved_dataset(write_hugging_face(tmp_path / "grey", ("train",), mode="L")).train.in_channels == 1
    assert read_saved_dataset(write_hugging_face(tmp_path / "colour", ("train",))).train.in_channels == 3


def test_the_digest_follows_a_pixel_and_not_the_place(tmp_path: Path) -> None:
    labels = (hugging_face.ClassLabel(names=["a", "b"]), [0, 1, 0, 1])
    changed = photos(4)
    changed[2].putpixel((3, 3), (0, 9, 0))
    digests = [
        digest_of(images.class_names, images.train)
        for name, some in (("one", photos(4)), ("two", photos(4)), ("three", changed))
        for images in [read_saved_dataset(saved(tmp_path / name, {"x": (hugging_face.Image(), some), "y": labels}))]
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"y": (hugging_face.ClassLabel(names=["a"]), [0])}, "one column of type Image, got none"),
        (
            {"x": (hugging_face.Image(), photos(1)), "z": (hugging_face.Image(), photos(1)),
             "y": (hugging_face.ClassLabel(names=["a"]), [0])},
            r"one column of type Image, got \['x', 'z'\]",
        ),
        (
            {"x": (hugging_face.Image(), photos(1)), "y": (hugging_face.Value("int64"), [0])},
            "one column of type ClassLabel, got none",
        ),
        (
            {"x": (hugging_face.Image(), photos(2)), "y": (hugging_face.ClassLabel(names=["a", "b"]), [0, -1])},
            "every image needs a label, got none in row 1",
        ),
    ],
)  # fmt: skip
def test_other_columns_are_refused_in_one_line(tmp_path: Path, columns: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refusal:
        read_saved_dataset(saved(tmp_path / "saved", columns))
    assert "\n" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("parts", [("train", "extra"), ("test", "validation"), ("train", "val", "validation")])
def test_other_parts_are_refused_in_one_line(tmp_path: Path, parts: tuple[str, ...]) -> None:
    folder = write_hugging_face(tmp_path / "saved", parts)
    with pytest.raises(ValueError, match=f"part.* got {', '.join(parts)} in") as refusal:
        read_saved_dataset(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_of_something_else_is_refused_in_one_line_with_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"written by save_to_disk, got {tmp_path / name}") as refusal:
        read_saved_dataset(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"^hf:PATH needs .* pip install 'training-aware-nas\[data\]'$"):
        read_saved_dataset(tmp_path)


def test_threads_read_the_rows_they_ask_for(tmp_path: Path) -> None:
    count = 200
    labels = (hugging_face.ClassLabel(names=["a", "b"]), [number % 2 for number in range(count)])
    folder = saved(tmp_path / "saved", {"x": (hugging_face.Image(), photos(count)), "y": labels})
    pixels = read_saved_dataset(folder).train.at_size(8)
    assert torch.equal(pixels[:, 0, 4, 4].long(), torch.arange(count))
