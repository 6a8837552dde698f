"""Every data source owes the same; what is wrong with files is one line with the path."""

import gzip
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data_sets import (
    NUM_PER_CLASS,
    write_cars,
    write_cifar,
    write_fashion_mnist,
    write_flowers,
    write_folder,
    write_hugging_face,
    write_idx,
    write_imagenet,
)
from torchvision import datasets
from torchvision.datasets import cifar

from proxies.data.fashion_mnist import DEBIAN_FASHION_MNIST
from proxies.data.images import Images, LabelledImages, PixelImages, digest_of
from proxies.data.sources import load_images
from proxies.data.split import split_images

Load = Callable[[], Images]


def write_parts(folder: Path) -> Path:
    write_folder(folder / "train")
    return write_folder(folder / "val").parent


FOLDERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "imagefolder-flat": ("imagefolder", write_folder),
    "imagefolder-parts": ("imagefolder", write_parts),
    "imagefolder-grey": ("imagefolder", lambda folder: write_folder(folder, mode="L")),
    "imagenet": ("imagenet", write_imagenet),
    "stanford-cars": ("stanford-cars", lambda folder: write_cars(folder / "cars")),
    "stanford-cars-classes": ("stanford-cars", lambda folder: write_folder(folder)),
    "hf-flat": ("hf", lambda folder: write_hugging_face(folder / "saved", ("train",))),
    "hf-parts": ("hf", lambda folder: write_hugging_face(folder / "saved", ("train", "test"))),
    "hf-grey": ("hf", lambda folder: write_hugging_face(folder / "saved", ("train",), mode="L")),
}
"""Sources that need a path, and what writes them."""


@pytest.fixture(params=["digits", "fashion-mnist", "cifar10", "cifar100", "flowers102", *FOLDERS])
def load(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A function that loads the source anew."""
    name = request.param
    if name in FOLDERS:
        kind, write = FOLDERS[name]
        source = f"{kind}:{write(tmp_path)}"
        return lambda: load_images(source)
    if name == "fashion-mnist":
        write_fashion_mnist(tmp_path)
    elif name.startswith("cifar"):
        write_cifar(tmp_path, monkeypatch, num_classes=int(name.removeprefix("cifar")))
    elif name == "flowers102":
        write_flowers(tmp_path, monkeypatch)
    return lambda: load_images(name, root=None if name == "digits" else tmp_path)


class TestSourceContract:
    """What the rest relies on, whatever the source."""

    def test_every_class_has_images_and_every_label_a_class(self, load: Load) -> None:
        images = load()
        assert set(images.train.labels.tolist()) == set(range(len(images.class_names)))
        assert images.train.labels.dtype == torch.int64

    def test_images_come_at_the_size_asked_for(self, load: Load) -> None:
        images = load().train.subset(torch.tensor([0, 2]))
        pixels = images.at_size(16)
        assert pixels.shape == (2, images.in_channels, 16, 16)
        assert pixels.dtype == torch.uint8

    def test_a_subset_keeps_images_and_labels_together(self, load: Load) -> None:
        whole = load().train
        chosen = torch.tensor([4, 1, 3])
        part = whole.subset(chosen)
        assert part.labels.tolist() == whole.labels[chosen].tolist()
        assert torch.equal(part.at_size(8), whole.at_size(8)[chosen])

    def test_the_digest_is_stable_and_follows_a_label(self, load: Load) -> None:
        images = load()
        digest = digest_of(images.class_names, images.train)
        again = load()
        assert digest_of(again.class_names, again.train) == digest
        assert digest_of(again.class_names, relabelled(again.train)) != digest

    def test_they_are_split_and_nothing_is_skipped(self, load: Load) -> None:
        parts = split_images(load(), minival_share=0.2, test_share=0.2, seed=0)
        assert min(len(parts.train), len(parts.minival), len(parts.read_test())) > 0
        assert parts.skipped == ()

    def test_a_test_part_has_the_same_classes(self, load: Load) -> None:
        images = load()
        if images.read_test is None:
            pytest.skip("has no test part")
        test = images.read_test()
        assert test.in_channels == images.train.in_channels
        assert set(test.labels.tolist()) <= set(range(len(images.class_names)))


def relabelled(images: LabelledImages) -> LabelledImages:
    labels = images.labels.clone()
    labels[0] = 1 - labels[0].clamp(max=1)
    return replace(images, labels=labels)


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    ours = load_images("digits").train
    assert isinstance(ours, PixelImages)
    assert np.abs(ours.pixels[:, 0].numpy() / 255 * 16 - theirs.images).max() < 0.05
    assert ours.labels.tolist() == theirs.target.tolist()


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_the_debian_package_equals_torchvisions_reading(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in DEBIAN_FASHION_MNIST.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    theirs = datasets.FashionMNIST(tmp_path, train=False)
    images = load_images("fashion-mnist")
    assert images.read_test is not None
    ours = images.read_test()
    assert isinstance(ours, PixelImages)
    assert torch.equal(ours.pixels[:, 0], theirs.data)
    assert torch.equal(ours.labels, theirs.targets)
    assert len(images.train) == 60_000


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_found_where_torchvision_puts_it(tmp_path: Path, suffix: str) -> None:
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", suffix)
    assert len(load_images("fashion-mnist", root=tmp_path).train) == 10 * NUM_PER_CLASS


def test_the_test_files_are_not_opened_before_they_are_asked_for(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    for path in tmp_path.glob("t10k*"):
        path.write_bytes(b"broken")
    images = load_images("fashion-mnist", root=tmp_path)
    assert images.read_test is not None
    with pytest.raises(ValueError, match="t10k-images"):
        images.read_test()


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        pytest.param("digit", "did you mean 'digits'", id="near"),
        pytest.param("cifar-10", "did you mean 'cifar10'", id="hyphen"),
        pytest.param("svhn", "data source 'svhn'", id="unknown"),
        pytest.param("imagenet", "did you mean 'imagenet:PATH'", id="path-forgotten"),
        pytest.param("imagefolders:x", "did you mean 'imagefolder:PATH'", id="near-with-path"),
        pytest.param("hf:", "hf needs a path", id="no-path-of-hf"),
        pytest.param("imagefolder:", "needs a path", id="no-path"),
    ],
)
def test_an_unknown_source_is_refused_with_a_hint(source: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as refusal:
        load_images(source)
    assert "\n" not in str(refusal.value)


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cifar, "download_and_extract_archive", unreachable)
    with pytest.raises(ValueError, match=r"cifar10 cannot be downloaded.*no route to host.*root") as refusal:
        load_images("cifar10")
    assert "\n" not in str(refusal.value)


def break_idx_magic(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\1\2\3\4"))


def break_idx_gzip(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:40])


def break_idx_length(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))


def break_idx_count(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8))


def break_idx_label(folder: Path) -> None:
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(10 * NUM_PER_CLASS, 10))


def remove_idx(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage", [break_idx_magic, break_idx_gzip, break_idx_length, break_idx_count, break_idx_label, remove_idx]
)
def test_broken_idx_files_are_refused_in_one_line_with_the_path(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    write_fashion_mnist(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=str(tmp_path)) as refusal:
        load_images("fashion-mnist", root=tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_root_without_cifar_is_refused_in_one_line_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)) as refusal:
        load_images("cifar10", root=tmp_path)
    assert "\n" not in str(refusal.value)
