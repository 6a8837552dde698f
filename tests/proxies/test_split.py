"""Splits: stratified, seeded, disjoint, and the test part left alone."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from proxies.data.images import Images, LabelledImages, PixelImages
from proxies.data.sources import load_images
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


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shares", [(0.25, 0.1), (0.1, 0.1), (1 / 3, 0.2)])
def test_each_class_and_each_part_keep_their_share_to_less_than_an_image(
    seed: int, shares: tuple[float, float]
) -> None:
    rng = random.Random(seed)
    counts = [rng.randint(10, 60) for _ in range(rng.choice([2, 5, 40]))]
    parts = split(counts, seed=seed, shares=shares)
    for part, share in ((parts.minival, shares[0]), (parts.read_test(), shares[1])):
        assert abs(len(part) - share * sum(counts)) < 1, f"{seed=} {counts=}"
        for label, count in enumerate(counts):
            assert abs(int((part.labels == label).sum()) - share * count) < 1, f"{seed=} {label=}"
    assert parts.note is None


def test_of_equal_classes_some_give_one_more() -> None:
    """Half of 25 × 0.1 rounded down in every class would lose every fifth image of the part."""
    counts = [25] * 10
    sizes = [int((split(counts).minival.labels == label).sum()) for label in range(10)]
    assert sorted(sizes) == [2] * 5 + [3] * 5


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (15, (11, 2, 2))]
)
def test_a_small_class_trains_first_then_tests_then_judges(count: int, expected: tuple[int, int, int]) -> None:
    parts = split([40, 40, count])
    found = tuple(int((part.labels == 2).sum()) for part in (parts.train, parts.minival, parts.read_test()))
    assert found == expected


def test_large_shares_leave_an_image_of_each_class_to_train_on() -> None:
    parts = split([40, 4, 3], shares=(0.5, 0.4))
    for part in (parts.train, parts.minival, parts.read_test()):
        assert set(part.labels.tolist()) == {0, 1, 2}


def test_a_note_names_the_classes_that_are_not_in_every_part() -> None:
    assert split([40, 1, 40, 2, 3]).note == (
        "2 of 5 classes have too few images for every part of the split: 'c1' (1), 'c3' (2)"
    )
    assert split([40, 1, 40, 2, 3], has_test=True).note == (
        "1 of 5 classes have too few images for every part of the split: 'c1' (1)"
    )
    note = split([40] + [1] * 9).note
    assert note is not None
    assert note.endswith("'c5' (1) and 4 more")


@pytest.mark.parametrize("seed", range(5))
def test_a_long_tail_of_classes_is_split_without_losing_an_image(seed: int) -> None:
    counts = [max(1, round(500 * 0.8**label)) for label in range(40)]
    parts = split(counts, seed=seed)
    together = numbers_of(parts.train) + numbers_of(parts.minival) + numbers_of(parts.read_test())
    assert sorted(together) == list(range(sum(counts)))
    assert set(parts.train.labels.tolist()) == set(range(40))


def test_digits_are_split_as_ever() -> None:
    """Runs that were started before the totals of parts were matched know this split by its digest."""
    parts = split_images(load_images("digits"), minival_share=0.1, test_share=0.1, seed=0)
    assert parts.digest() == "90c60b8479435fcbb6603cbf20fe4d12669440aca4f97108c9b3898a6c24309b"


def test_a_data_set_may_bound_what_judges_candidates() -> None:
    images = replace(data_set([50, 50], has_test=True), most_minival=6)
    parts = split_images(images, minival_share=0.1, test_share=0.1, seed=0)
    assert (len(parts.train), len(parts.minival)) == (94, 6)
    assert len(split_images(images, minival_share=0.02, test_share=0.1, seed=0).minival) == 2


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


@pytest.mark.parametrize("has_test", [False, True])
def test_a_class_without_images_is_refused_by_name(has_test: bool) -> None:
    with pytest.raises(ValueError, match="needs an image to train on, got none of class 'c1'"):
        split([20, 0, 9], has_test=has_test)


def test_shares_that_leave_nothing_for_training_are_refused() -> None:
    with pytest.raises(ValueError, match=r"less than 1, got 0\.6 \+ 0\.4"):
        split([20, 20], shares=(0.6, 0.4))


def test_the_digest_follows_seed_and_class_names() -> None:
    parts = split([20, 20], seed=0)
    assert parts.digest() == split([20, 20], seed=0).digest()
    assert parts.digest() != split([20, 20], seed=1).digest()


def test_parts_come_in_ascending_order() -> None:
    for part in stratified_parts(torch.tensor([0, 1] * 20), [0.3], num_classes=2, seed=5):
        assert part.tolist() == sorted(part.tolist())


def test_a_smaller_share_lies_within_a_larger_one_and_keeps_every_class() -> None:
    images = numbered_images([40, 20, 3])
    shares = [numbers_of(stratified_share(images, share, num_classes=3, seed=1)) for share in (0.05, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [2 + 1 + 1, 10 + 5 + 1, 20 + 10 + 2, 63]
    for smaller, larger in itertools.pairwise(shares):
        assert set(smaller) <= set(larger)
