"""Small data sets in the layouts of the real ones."""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

NUM_PER_CLASS = 3


def write_png(path: Path, value: int, *, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)


def write_folder(folder: Path, class_names: tuple[str, ...] = ("cat", "dog"), *, mode: str = "RGB") -> Path:
    for label, name in enumerate(class_names):
        for number in range(NUM_PER_CLASS):
            write_png(folder / name / f"{number}.png", 40 * label + number, mode=mode)
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion_mnist(folder: Path, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("train", "t10k"):
        labels = np.repeat(np.arange(10), NUM_PER_CLASS)
        pixels = np.broadcast_to(labels[:, None, None] * 20, (len(labels), 28, 28))
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", labels)
    return folder


def write_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch, *, num_classes: int) -> Path:
    """CIFAR's own format, so small that its published checksums have to be replaced."""
    kind: type[datasets.CIFAR10] = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[num_classes]
    base = folder / kind.base_folder
    base.mkdir(parents=True)
    labels = np.repeat(np.arange(num_classes), NUM_PER_CLASS).tolist()
    batch = {
        "data": np.repeat(np.array(labels, np.uint8)[:, None], 3072, axis=1),
        "labels": labels, "fine_labels": labels,
    }  # fmt: skip
    names = {"label_names": [f"c{i}" for i in range(num_classes)]}
    names["fine_label_names"] = names["label_names"]

    def write(name: str, content: object) -> str:
        (base / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((base / name).read_bytes()).hexdigest()

    for attribute in ("train_list", "test_list"):
        monkeypatch.setattr(kind, attribute, [[name, write(name, batch)] for name, _ in getattr(kind, attribute)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": write(kind.meta["filename"], names)})
    return folder


WORDNET_IDS = ("n01440764", "n02012849", "n03126707")


def write_imagenet(folder: Path) -> Path:
    """Three classes, two of them called crane as in the real one."""
    write_folder(folder / "train", WORDNET_IDS)
    return write_folder(folder / "val", WORDNET_IDS).parent


def write_flowers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flowers-102's own format, so small that its published checksums have to be replaced."""
    base = folder / "flowers-102"
    # Numbers from 1 as in MATLAB; of each class one image trains, one judges, and the last is for the test.
    labels = np.tile(np.arange(1, 103), 3)
    parts = {"trnid": np.arange(1, 103), "valid": np.arange(103, 205), "tstid": np.arange(205, 307)}
    for number, label in enumerate(labels, start=1):
        write_png(base / "jpg" / f"image_{number:05d}.jpg", int(label))
    savemat(base / "imagelabels.mat", {"labels": labels[None]})
    savemat(base / "setid.mat", {name: numbers[None] for name, numbers in parts.items()})
    checksums = {
        content: (name, hashlib.md5((base / name).read_bytes()).hexdigest())
        for content, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    known = datasets.Flowers102._file_dict
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", {**known, **checksums})
    return folder


CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")


def write_cars(folder: Path, *, labelled_test: str = "cars_test_annos_withlabels.mat") -> Path:
    """Stanford Cars in its original layout, the labelled test list where torchvision wants it."""
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array([CARS], dtype=object)})
    for part, file in (("cars_train", "devkit/cars_train_annos.mat"), ("cars_test", labelled_test)):
        rows = []
        for number in range(2 * NUM_PER_CLASS):
            label = 1 + number // NUM_PER_CLASS
            write_png(folder / part / f"{number + 1:05d}.jpg", 40 * label + number)
            rows.append((1, 1, 12, 10, label, f"{number + 1:05d}.jpg"))
        fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        savemat(folder / file, {"annotations": np.array([rows], dtype=fields)})
    return folder


def write_hugging_face(folder: Path, parts: tuple[str, ...], *, mode: str = "RGB") -> Path:
    """As ``save_to_disk`` writes it: one part is a data set of its own."""
    hugging_face = pytest.importorskip("datasets")
    hugging_face.disable_progress_bars()
    features = hugging_face.Features(
        {"number": hugging_face.Value("int32"), "photo": hugging_face.Image(),
         "animal": hugging_face.ClassLabel(names=["cat", "dog"])}
    )  # fmt: skip
    labels = [label for _ in range(NUM_PER_CLASS) for label in (0, 1)]
    photos = [
        Image.new(mode, (12, 10), 40 * label + number if mode == "L" else (40 * label + number, 0, 9))
        for number, label in enumerate(labels)
    ]
    rows = {"number": list(range(len(labels))), "photo": photos, "animal": labels}
    whole = hugging_face.Dataset.from_dict(rows, features=features)
    saved = hugging_face.DatasetDict(dict.fromkeys(parts, whole)) if len(parts) > 1 else whole
    saved.save_to_disk(str(folder))
    return folder
