"""Corrupt images by policy: the first one ends it and is named, or they are left out, counted and named."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import write_hugging_face
from PIL import Image
from torch import nn

from proxies.data.batches import Batches, Normalisation, make_batches
from proxies.data.encoded import EncodedImages
from proxies.data.folders import read_folder, read_part
from proxies.data.hugging_face import read_saved_dataset
from proxies.data.normalisation import normalisation_of
from proxies.data.passes import TrainingPass
from proxies.data.split import split_images
from proxies.device import find_device
from proxies.evaluation import evaluate
from proxies.execution import PLAIN
from proxies.proxy_data import load_splits
from proxies.training.config import DataConfig

NUM_IMAGES = 12
IDENTITY = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)


def jpeg(grey: int, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (grey,) * 3).save(buffer, "JPEG")
    return buffer.getvalue()


def cut_jpeg() -> bytes:
    """The header and some of the pixels of a picture that does not compress."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[:3000]


DAMAGES = {"cut": cut_jpeg(), "empty": b"", "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>"}


def write_images(folder: Path, corrupt: dict[int, bytes]) -> Path:
    """Image i is flat with the grey level 20 i, in one of two classes, the first six in the first."""
    for number in range(NUM_IMAGES):
        path = folder / ("cat" if number < NUM_IMAGES // 2 else "dog") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(corrupt.get(number, jpeg(20 * number)))
    return folder


def unread_images(folder: Path, *, skip: bool = True) -> EncodedImages:
    """As those of a large set, which is not read before it is needed."""
    return read_part(folder, folder, ("cat", "dog"), skip_corrupt=skip, refuse_empty=False)


def batches_of(images: EncodedImages, kind: str, *, num_workers: int = 1) -> Batches:
    return make_batches(
        images, normalisation=IDENTITY, augment=True, mirror=True, device=find_device("cpu"),
        memory_limit_bytes={"memory": 1e9, "streamed": 0}[kind], num_workers=num_workers,
    )  # fmt: skip


def numbers_in(images: torch.Tensor) -> list[int]:
    """Flat images survive every shift, crop and mirror; JPEG keeps a flat grey to a level or two."""
    return (images.mean(dim=(1, 2, 3)) / 20).round().int().tolist()


CORRUPT = {2: DAMAGES["cut"], 5: DAMAGES["empty"], 6: DAMAGES["html"], 11: DAMAGES["cut"]}
"""In the middle of a class, at its end and the next one's begin, and at the end of the set."""
STAND_INS = {2: 3, 5: 7, 6: 7, 11: 0}
NAMES = ("cat/02.jpg", "cat/05.jpg", "dog/06.jpg", "dog/11.jpg")


@pytest.fixture(params=["memory", "streamed"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("damage", DAMAGES)
def test_by_default_the_first_one_ends_it_and_is_named(tmp_path: Path, damage: str) -> None:
    folder = write_images(tmp_path, {4: DAMAGES[damage]})
    with pytest.raises(ValueError, match=r"^cannot read image .*cat/04\.jpg: [^\n]+$"):
        load_splits(DataConfig(source=f"imagefolder:{folder}"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_by_default_one_of_an_unread_set_ends_a_pass(tmp_path: Path, kind: str, damage: str) -> None:
    batches = batches_of(unread_images(write_images(tmp_path, {4: DAMAGES[damage]}), skip=False), kind)
    with pytest.raises(ValueError, match=r"^cannot read image .*cat/04\.jpg: [^\n]+$"):
        list(batches.shuffled(TrainingPass(seed=0, batch_size=NUM_IMAGES, resolution=8)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_set_that_is_read_at_once_loses_them_before_it_is_split(tmp_path: Path, damage: str) -> None:
    folder = write_images(tmp_path, {4: DAMAGES[damage], 9: DAMAGES[damage]})
    splits = load_splits(DataConfig(source=f"imagefolder:{folder}", corrupt_images="skip"))
    assert len(splits.train) + len(splits.minival) + len(splits.read_test()) == NUM_IMAGES - 2
    assert splits.skipped == (str(tmp_path / "cat" / "04.jpg"), str(tmp_path / "dog" / "09.jpg"))


class TestSkipping:
    """Of a set that is not read before it is needed, wherever its images are."""

    def batches(self, folder: Path, kind: str, num_workers: int = 1) -> Batches:
        return batches_of(unread_images(write_images(folder, CORRUPT)), kind, num_workers=num_workers)

    def test_in_training_the_next_readable_one_takes_the_place(self, tmp_path: Path, kind: str) -> None:
        batches = self.batches(tmp_path, kind)
        ((images, labels),) = batches.shuffled(TrainingPass(seed=0, batch_size=NUM_IMAGES, resolution=8))
        expected = sorted(STAND_INS.get(number, number) for number in range(NUM_IMAGES))
        assert sorted(numbers_in(images)) == expected
        assert labels.tolist() == [int(number >= NUM_IMAGES // 2) for number in numbers_in(images)]

    def test_batches_keep_their_shape_and_the_set_its_length(self, tmp_path: Path, kind: str) -> None:
        batches = self.batches(tmp_path, kind)
        before = len(batches)
        for _ in range(2):
            sizes = [len(images) for images, _ in batches.shuffled(TrainingPass(seed=1, batch_size=5, resolution=8))]
            assert sizes == [5, 5]
        assert len(batches) == before == NUM_IMAGES

    def test_in_judging_they_do_not_count(self, tmp_path: Path, kind: str) -> None:
        batches = self.batches(tmp_path, kind)
        found = [number for images, _ in batches.in_order(batch_size=5, resolution=8) for number in numbers_in(images)]
        assert found == [0, 1, 3, 4, 7, 8, 9, 10]
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
        device = find_device("cpu")
        score = evaluate(network, batches, batch_size=5, resolution=8, mode=PLAIN, device=device)
        assert score.num_images == 8

    def test_a_batch_of_corrupt_ones_alone_does_not_come(self, tmp_path: Path, kind: str) -> None:
        batches = batches_of(unread_images(write_images(tmp_path, dict.fromkeys((2, 3), b""))), kind)
        assert [len(labels) for _, labels in batches.in_order(batch_size=2, resolution=8)] == [2] * 5

    @pytest.mark.parametrize("world_size", [2, 3])
    def test_processes_judge_what_one_does(self, tmp_path: Path, kind: str, world_size: int) -> None:
        batches = self.batches(tmp_path, kind)
        found = [
            number
            for rank in range(world_size)
            for images, _ in batches.in_order(batch_size=2, resolution=8, rank=rank, world_size=world_size)
            for number in numbers_in(images)
        ]
        assert sorted(found) == [0, 1, 3, 4, 7, 8, 9, 10]

    @pytest.mark.parametrize("look", ["shuffled", "in_order"])
    def test_they_are_named(self, tmp_path: Path, kind: str, look: str) -> None:
        batches = self.batches(tmp_path, kind)
        assert batches.skipped == ()
        if look == "shuffled":
            list(batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=8)))
        else:
            list(batches.in_order(batch_size=4, resolution=8))
        assert batches.skipped == tuple(str(tmp_path / name) for name in NAMES)

    def test_what_is_known_of_them_changes_no_batch(self, tmp_path: Path, kind: str) -> None:
        training_pass = TrainingPass(seed=2, batch_size=4, resolution=8)
        fresh = list(self.batches(tmp_path, kind).shuffled(training_pass))
        batches = self.batches(tmp_path, kind, num_workers=2)
        list(batches.in_order(batch_size=3, resolution=8))
        for ours, theirs in zip(batches.shuffled(training_pass), fresh, strict=True):
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])

    def test_a_set_without_a_readable_image_ends_it(self, tmp_path: Path, kind: str) -> None:
        everything = dict.fromkeys(range(NUM_IMAGES), DAMAGES["html"])
        for look in (
            lambda batches: batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=8)),
            lambda batches: batches.in_order(batch_size=4, resolution=8),
        ):
            batches = batches_of(unread_images(write_images(tmp_path, everything)), kind)
            with pytest.raises(ValueError, match=r"^none of 12 images can be read, the first is .*jpg$"):
                list(look(batches))

    def test_mean_and_deviation_are_of_the_others(self, tmp_path: Path, kind: str) -> None:
        images = unread_images(write_images(tmp_path, CORRUPT))
        levels = [20.0 * number for number in range(NUM_IMAGES) if number not in CORRUPT]
        assert normalisation_of(images).mean == pytest.approx([np.mean(levels)] * 3, abs=2)
        assert normalisation_of(images).std == pytest.approx([np.std(levels)] * 3, abs=2)


def test_a_class_of_corrupt_images_alone_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_images(tmp_path, dict.fromkeys(range(6), DAMAGES["html"]))
    with pytest.raises(ValueError, match="needs an image to train on, got none of class 'cat'"):
        split_images(read_folder(folder, skip_corrupt=True), minival_share=0.1, test_share=0.1, seed=0)


def test_rows_of_a_saved_data_set_are_skipped_and_named(tmp_path: Path) -> None:
    hugging_face = pytest.importorskip("datasets")
    folder = write_hugging_face(tmp_path / "whole", ("train",))
    loaded = hugging_face.load_from_disk(str(folder))

    def damage(row: dict[str, object], number: int) -> dict[str, object]:
        return {**row, "photo": {"bytes": DAMAGES["cut"], "path": None}} if number == 3 else row

    features = loaded.features.copy()
    raw = loaded.cast_column("photo", hugging_face.Image(decode=False))
    raw.map(damage, with_indices=True).cast(features).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"^cannot read image row 3 of .*saved: "):
        read_saved_dataset(tmp_path / "saved")
    images = read_saved_dataset(tmp_path / "saved", skip_corrupt=True)
    assert len(images.train) == len(loaded) - 1
    assert images.train.skipped == (f"row 3 of {tmp_path / 'saved'}",)


@pytest.mark.parametrize("look", [EncodedImages.is_grey, lambda images: images.at_size(8)])
def test_threads_that_meet_several_remember_them_all(tmp_path: Path, look: Callable[[EncodedImages], object]) -> None:
    images = unread_images(write_images(tmp_path, CORRUPT))
    look(images)
    assert images.corrupt.positions == set(CORRUPT)
    assert torch.nonzero(~images.readable()).flatten().tolist() == sorted(CORRUPT)
