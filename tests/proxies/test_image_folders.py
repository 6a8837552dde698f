"""A user's own folder of images: read as it is, or refused in one line with the path."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proxies.data.decoding import covering_square, open_image, to_channels
from proxies.data.encoded import EncodedImages
from proxies.data.folders import read_folder
from proxies.data.images import digest_of


def write_png(path: Path, *, mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def write_classes(folder: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 2) -> Path:
    for name in names:
        for number in range(count):
            write_png(folder / name / f"{number}.png")
    return folder


def missing(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()


def one_class(folder: Path) -> None:
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()


def empty_class(folder: Path) -> None:
    (folder / "horse").mkdir()


def class_without_images(folder: Path) -> None:
    (folder / "horse").mkdir()
    (folder / "horse" / "notes.txt").write_text("soon")


def zero_bytes(folder: Path) -> None:
    (folder / "cat" / "empty.png").touch()


def not_an_image(folder: Path) -> None:
    (folder / "cat" / "text.png").write_text("no image")


def truncated(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = folder / "cat" / "cut.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])


def corrupt_chunk(folder: Path) -> None:
    path = folder / "cat" / "0.png"
    content = bytearray(path.read_bytes())
    content[30] ^= 0xFF
    path.write_bytes(bytes(content))


def sixteen_bits(folder: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "cat" / "deep.png")


def loose_image(folder: Path) -> None:
    write_png(folder / "loose.png")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (missing, "photos"),
        (one_class, "photos"),
        (empty_class, "horse"),
        (class_without_images, "horse"),
        (zero_bytes, "empty.png"),
        (not_an_image, "text.png"),
        (truncated, "cut.png"),
        (corrupt_chunk, "0.png"),
        (sixteen_bits, "deep.png"),
        (loose_image, "loose.png"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_with_the_path(
    tmp_path: Path, damage: Callable[[Path], None], named: str
) -> None:
    folder = write_classes(tmp_path / "photos")
    damage(folder)
    with pytest.raises(ValueError, match=named) as refusal:
        read_folder(folder)
    text = str(refusal.value)
    assert str(folder) in text
    assert "\n" not in text


def test_classes_are_the_folders_in_alphabetical_order(tmp_path: Path) -> None:
    images = read_folder(write_classes(tmp_path, ("zebra", "ant", "10", "2")))
    assert images.class_names == ("10", "2", "ant", "zebra")
    assert isinstance(images.train, EncodedImages)
    for position, label in zip(images.train.positions.tolist(), images.train.labels.tolist(), strict=True):
        assert Path(images.train.store.name(position)).parent.name == images.class_names[label]


def test_hidden_files_are_passed_over_and_nested_ones_found(tmp_path: Path) -> None:
    folder = write_classes(tmp_path)
    (folder / ".git").mkdir()
    (folder / "cat" / ".DS_Store").write_text("")
    (folder / "cat" / "._0.png").write_text("")
    write_png(folder / "cat" / "more" / "3.JPG")
    images = read_folder(folder)
    assert images.class_names == ("cat", "dog")
    assert len(images.train) == 5


@pytest.mark.parametrize("part", ["val", "test", "validation", "Val"])
def test_with_one_more_part_it_is_the_test_split(tmp_path: Path, part: str) -> None:
    write_classes(tmp_path / "train", count=3)
    write_classes(tmp_path / part, count=1)
    images = read_folder(tmp_path)
    assert images.minival is None
    assert images.read_test is not None
    assert (len(images.train), len(images.read_test())) == (6, 2)


def test_with_three_parts_val_judges_candidates(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_classes(tmp_path / part, count=count)
    images = read_folder(tmp_path)
    assert images.minival is not None
    assert images.read_test is not None
    assert (len(images.train), len(images.minival), len(images.read_test())) == (6, 4, 2)


@pytest.mark.parametrize("names", [("cat", "dogs"), ("cat",), ("cat", "dog", "horse")])
def test_parts_with_other_classes_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", names)
    with pytest.raises(ValueError, match=r"class folders must be those of train, got '(dog|dogs|horse)' .*val"):
        read_folder(tmp_path)


def test_a_stranger_beside_train_and_val_is_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "extra"):
        write_classes(tmp_path / name)
    with pytest.raises(ValueError, match="extra"):
        read_folder(tmp_path)


def test_the_test_part_is_not_read_before_it_is_asked_for(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val")
    (tmp_path / "val" / "cat" / "0.png").write_text("broken")
    images = read_folder(tmp_path)
    digest_of(images.class_names, images.train)
    assert images.read_test is not None
    with pytest.raises(ValueError, match=r"0\.png"):
        images.read_test().at_size(8)


def test_only_a_wholly_grey_set_has_one_channel(tmp_path: Path) -> None:
    folder = write_classes(tmp_path)
    for path in folder.rglob("*.png"):
        write_png(path, mode="L")
    assert read_folder(folder).train.in_channels == 1
    write_png(folder / "cat" / "colour.png", mode="P")
    assert read_folder(folder).train.in_channels == 3


def test_a_moved_folder_is_the_same_data_and_a_changed_pixel_is_not(tmp_path: Path) -> None:
    first = read_folder(write_classes(tmp_path / "a"))
    second = read_folder(write_classes(tmp_path / "b"))
    digest = digest_of(first.class_names, first.train)
    assert digest_of(second.class_names, second.train) == digest
    Image.new("RGB", (12, 10), (1, 0, 0)).save(tmp_path / "b" / "cat" / "0.png")
    assert digest_of(second.class_names, second.train) != digest


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (20, 20), (7, 5)])
def test_a_picture_covers_the_square_and_keeps_its_middle(tmp_path: Path, size: tuple[int, int]) -> None:
    """A picture with a white middle half is white in the middle and black at the long ends that are cut."""
    width, height = size
    picture = Image.new("L", size, 0)
    picture.paste(255, (width // 4, height // 4, width - width // 4, height - height // 4))
    picture.save(tmp_path / "x.png")
    image = open_image(tmp_path / "x.png", name="x")
    pixels = covering_square(to_channels(image, 1), 10)
    assert pixels.shape == (1, 10, 10)
    assert pixels[0, 4:6, 4:6].min() == 255
    assert abs(int(pixels[0, 5, 0]) - int(pixels[0, 5, -1])) <= 60  # centred
