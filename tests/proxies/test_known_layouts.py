"""ImageNet, Flowers-102 and Stanford Cars: read as torchvision reads them, or refused in one line with the path."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import (
    CARS,
    NUM_PER_CLASS,
    WORDNET_IDS,
    write_cars,
    write_flowers,
    write_folder,
    write_imagenet,
    write_png,
)
from scipy.io import savemat
from torchvision import datasets
from torchvision.datasets import ImageFolder

from proxies.data.encoded import EncodedImages
from proxies.data.files import image_names
from proxies.data.imagenet import read_imagenet
from proxies.data.images import Images, LabelledImages
from proxies.data.sources import load_images
from proxies.data.split import split_images
from proxies.data.stanford_cars import read_stanford_cars


def paths_and_labels(images: LabelledImages) -> list[tuple[str, int]]:
    assert isinstance(images, EncodedImages)
    names = map(images.store.name, images.positions.tolist())
    return list(zip(names, images.labels.tolist(), strict=True))


def held_out(images: Images) -> LabelledImages:
    assert images.read_test is not None
    return images.read_test()


class TestImageNet:
    def test_it_is_what_torchvision_finds(self, tmp_path: Path) -> None:
        images = read_imagenet(write_imagenet(tmp_path))
        assert paths_and_labels(images.train) == ImageFolder(tmp_path / "train").samples
        assert paths_and_labels(held_out(images)) == ImageFolder(tmp_path / "val").samples
        assert images.class_names == WORDNET_IDS

    def test_no_image_is_opened_and_none_is_asked_for_its_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_imagenet(tmp_path)
        for path in (tmp_path / "train").rglob("*.png"):
            path.write_bytes(b"")
        assert len(read_imagenet(tmp_path).train) == 3 * NUM_PER_CLASS

    def test_names_tell_two_cranes_apart(self, tmp_path: Path) -> None:
        write_imagenet(tmp_path)
        (tmp_path / "LOC_synset_mapping.txt").write_text(
            "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"
        )
        assert read_imagenet(tmp_path).class_names == ("tench (n01440764)", "crane (n02012849)", "crane (n03126707)")

    def test_minival_is_bounded_as_in_the_paper(self, tmp_path: Path) -> None:
        assert read_imagenet(write_imagenet(tmp_path)).most_minival == 25_000

    def test_a_flat_val_folder_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "train", WORDNET_IDS)
        write_png(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG", 1)
        with pytest.raises(ValueError, match=r"val unsorted: move each image .* LOC_val_solution\.csv") as refusal:
            read_imagenet(tmp_path)
        assert "\n" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("damage", "named"),
        [
            (lambda folder: shutil.rmtree(folder / "val"), "got no .*val"),
            (lambda folder: shutil.rmtree(folder), "got no .*train"),
            (lambda folder: shutil.rmtree(folder / "val" / WORDNET_IDS[1]), "'n02012849' missing in .*val"),
            (lambda folder: (folder / "train" / "tench").mkdir(), "WordNet ids .* got 'tench' in .*train"),
            (lambda folder: (folder / "train" / "n00000001").mkdir(), "n00000001"),
        ],
    )
    def test_what_is_missing_is_named_in_one_line(
        self, tmp_path: Path, damage: Callable[[Path], None], named: str
    ) -> None:
        folder = write_imagenet(tmp_path / "imagenet")
        damage(folder)
        with pytest.raises(ValueError, match=named) as refusal:
            read_imagenet(folder)
        assert "\n" not in str(refusal.value)


def test_files_are_listed_as_by_a_walk(tmp_path: Path) -> None:
    for name in (
        "a/x.png",
        "a/b/y.JPEG",
        "a/b-c/z.png",
        "a/.hidden.png",
        "a/notes.txt",
        "a/b/deep/w.webp",
        "other/v.png",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "other" / "v.png")
    (tmp_path / "a" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a" / "elsewhere").symlink_to(tmp_path / "other")
    expected = sorted(
        path.relative_to(tmp_path)
        for name in ("a/x.png", "a/b/y.JPEG", "a/b-c/z.png", "a/b/deep/w.webp", "a/link.png", "a/elsewhere/v.png")
        if (path := tmp_path / name).is_file()
    )
    assert image_names(tmp_path, "a") == [path.as_posix() for path in expected]


class TestFlowers:
    def test_they_are_what_torchvision_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        images = load_images("flowers102", root=write_flowers(tmp_path, monkeypatch))
        for split, part in (("train", images.train), ("val", images.minival), ("test", held_out(images))):
            theirs = datasets.Flowers102(tmp_path, split=split)
            assert part is not None
            assert len(part) == len(theirs) == 102
            assert part.labels.tolist() == [label for _, label in theirs]
            ours = part.at_size(10)[7].permute(1, 2, 0).numpy()
            assert np.array_equal(ours, np.asarray(theirs[7][0])[:, 1:11])

    def test_the_official_parts_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        images = load_images("flowers102", root=write_flowers(tmp_path, monkeypatch))
        parts = split_images(images, minival_share=0.3, test_share=0.3, seed=0)
        assert torch.equal(parts.train.labels, images.train.labels)
        assert parts.minival is images.minival

    def test_missing_files_are_refused_in_one_line_with_the_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=f"flowers102 is missing or broken in {tmp_path}") as refusal:
            load_images("flowers102", root=tmp_path)
        assert "\n" not in str(refusal.value)


class TestStanfordCars:
    def test_they_are_what_torchvision_reads(self, tmp_path: Path) -> None:
        images = read_stanford_cars(write_cars(tmp_path / "stanford_cars").parent)
        for split, part in (("train", images.train), ("test", held_out(images))):
            theirs = datasets.StanfordCars(tmp_path, split=split)
            assert paths_and_labels(part) == [(str(path), int(label)) for path, label in theirs._samples]
            assert tuple(theirs.classes) == images.class_names == CARS

    @pytest.mark.parametrize("place", ["cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"])
    def test_the_labelled_test_list_is_found_in_both_places(self, tmp_path: Path, place: str) -> None:
        images = read_stanford_cars(write_cars(tmp_path, labelled_test=place))
        assert len(held_out(images)) == 2 * NUM_PER_CLASS

    def test_class_folders_are_read_as_any_others(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            write_folder(tmp_path / part, CARS)
        images = read_stanford_cars(tmp_path)
        assert images.class_names == CARS
        assert len(held_out(images)) == 2 * NUM_PER_CLASS

    @pytest.mark.parametrize("missing", ["cars_train", "cars_test", "cars_test_annos_withlabels.mat", "devkit"])
    def test_what_is_missing_is_named_in_one_line(self, tmp_path: Path, missing: str) -> None:
        path = write_cars(tmp_path) / missing
        path.unlink() if path.is_file() else shutil.rmtree(path)
        with pytest.raises(ValueError, match=f"stanford-cars needs .*{missing}") as refusal:
            read_stanford_cars(tmp_path)
        assert "\n" not in str(refusal.value)

    def test_a_test_list_without_labels_is_refused(self, tmp_path: Path) -> None:
        write_cars(tmp_path)
        rows = np.array([[(1, "00001.jpg")]], dtype=[("bbox_x1", object), ("fname", object)])
        savemat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": rows})
        images = read_stanford_cars(tmp_path)
        with pytest.raises(ValueError, match="annotations must have class and fname"):
            held_out(images)

    @pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"MATLAB 5.0 MAT-file" + bytes(200)])
    def test_a_broken_list_is_refused_in_one_line_with_the_path(self, tmp_path: Path, content: bytes) -> None:
        write_cars(tmp_path)
        (tmp_path / "devkit" / "cars_train_annos.mat").write_bytes(content)
        with pytest.raises(ValueError, match=r"annotations in .*cars_train_annos\.mat, cannot read it") as refusal:
            read_stanford_cars(tmp_path)
        assert "\n" not in str(refusal.value)
