"""Splits: stratified, seeded, disjoint, and the test part left alone."""

import itertools
import random

import pytest
import torch

from proxies.data.images import Images, LabelledImages, PixelImages
from proxies.data.split import Splits, split_images, stratified_parts, stratified_share


def numbered_images(counts: list[int]) -> PixelImages:
    """Images whose first two pixels say their number, so that each can be found again; classes are shuffled."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.Random(0).shuffle(labels)
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8).reshape(-1, 1, 1, 2)
    return PixelImages(pixels=pixels, labels=torch.tensor(labels))


def numbers_of(images: LabelledImages) -> list[int]:
    assert isinstance(images, PixelImages)
    pixels = images.pixels.long().flatten(1)
    return (pixels[:, 0] * 256 + pixels[:, 1]).tolist()


def data_set(counts: list[int], *, has_test: bool) -> Images:
    return Images(
        name="numbers",
        class_names=tuple(f"c{label}" for label in range(len(counts))),
        mirror_keeps_label=True,
        train=numbered_images(counts),
        read_test=(lambda: numbered_images([2] * len(counts))) if has_test else None,
    )


def split(
    counts: list[int], *, has_test: bool = False, seed: int = 0, shares: tuple[float, float] = (0.1, 0.1)
) -> Splits:
    images = data_set(counts, has_test=has_test)
    return split_images(images, minival_share=shares[0], test_share=shares[1], seed=seed)


@pytest.mark.parametrize("seed", range(5))
def test_every_image_is_in_exactly_one_part(seed: int) -> None:
    counts = [random.Random(seed).randint(3, 40) for _ in range(6)]
    parts = split(counts, seed=seed)
    together = numbers_of(parts.train) + numbers_of(parts.minival) + numbers_of(parts.read_test())
    assert sorted(together) == list(range(sum(counts))), f"{seed=}"


@pytest.mark.parametrize("seed", range(5))
def test_each_class_keeps_its_share_to_half_an_image(seed: int) -> None:
    counts = [random.Random(seed).randint(10, 60) for _ in range(5)]
    parts = split(counts, seed=seed, shares=(0.25, 0.1))
    for part, share in ((parts.minival, 0.25), (parts.read_test(), 0.1)):
        for label, count in enumerate(counts):
            assert abs(int((part.labels == label).sum()) - share * count) <= 0.5, f"{seed=} {label=}"


def test_the_seed_decides_the_split() -> None:
    assert numbers_of(split([30, 30], seed=3).minival) == numbers_of(split([30, 30], seed=3).minival)
    assert numbers_of(split([30, 30], seed=3).minival) != numbers_of(split([30, 30], seed=4).minival)


def test_a_data_set_with_a_test_part_gives_minival_from_train_only() -> None:
    parts = split([20, 20], has_test=True)
    assert (len(parts.train), len(parts.minival), len(parts.read_test())) == (36, 4, 4)


def test_the_test_part_is_not_read_by_splitting_or_digesting() -> None:
    def forbidden() -> LabelledImages:
        raise AssertionError("the test part was read")

    images = Images(
        name="x", class_names=("a", "b"), mirror_keeps_label=True, train=numbered_images([9, 9]), read_test=forbidden
    )
    split_images(images, minival_share=0.2, test_share=0.1, seed=0).digest()


def test_a_given_minival_is_taken_as_it_is() -> None:
    given = numbered_images([1, 1])
    images = Images(
        name="x", class_names=("a", "b"), mirror_keeps_label=True,
        train=numbered_images([5, 5]), minival=given, read_test=lambda: given,
    )  # fmt: skip
    parts = split_images(images, minival_share=0.5, test_share=0.4, seed=0)
    assert parts.minival is given
    assert len(parts.train) == 10


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_class_with_too_few_images_is_refused_by_name(count: int) -> None:
    with pytest.raises(ValueError, match=f"in each of 3 parts of the split, got {count} images of class 'c1'"):
        split([20, count])


def test_shares_that_leave_nothing_for_training_are_refused() -> None:
    with pytest.raises(ValueError, match=r"less than 1, got 0\.6 \+ 0\.4"):
        split([20, 20], shares=(0.6, 0.4))


def test_the_digest_follows_seed_and_class_names() -> None:
    parts = split([20, 20], seed=0)
    assert parts.digest() == split([20, 20], seed=0).digest()
    assert parts.digest() != split([20, 20], seed=1).digest()


def test_parts_come_in_ascending_order() -> None:
    for part in stratified_parts(torch.tensor([0, 1] * 20), [0.3], class_names=("a", "b"), seed=5):
        assert part.tolist() == sorted(part.tolist())


def test_a_smaller_share_lies_within_a_larger_one_and_keeps_every_class() -> None:
    images = numbered_images([40, 20, 3])
    shares = [numbers_of(stratified_share(images, share, num_classes=3, seed=1)) for share in (0.05, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [2 + 1 + 1, 10 + 5 + 1, 20 + 10 + 2, 63]
    for smaller, larger in itertools.pairwise(shares):
        assert set(smaller) <= set(larger)
