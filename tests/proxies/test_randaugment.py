"""RandAugment against timm's operations of Pillow; cutout against squares drawn one by one."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from timm.data import auto_augment
from torch import Tensor

from proxies.data.randaugment import GREY, OPERATIONS, RandAugmentDraws, cut_out, rand_augment

# Shears by 0.6 and 0.42 are left out: there sources lie on the border of two pixels, and either is right.
LEVELS = (0.0, 3.0, 5.0, 8.33, 10.0, 17.0, 25.0, 30.0)
# Shares of pixels. Colours come out of sums in float32, angles of Pillow out of 16 bits behind the point: now and then
# a number falls on the other side of an integer.
MOST_DIFFERENT = {"AutoContrast": 0.01, "Color": 0.005, "Contrast": 0.005, "Brightness": 0.005, "Sharpness": 0.005,
                  "Rotate": 0.002, "ShearX": 0.002, "ShearY": 0.002}  # fmt: skip
MOVES = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")


@cache
def pictures(channels: int) -> tuple[NDArray[np.uint8], ...]:
    """Photographs, or scanned digits; (H, W, 3) or (H, W), wider than high, and one with a flat channel."""
    if channels == 3:
        photos = [np.asarray(Image.fromarray(image).resize((48, 40))) for image in load_sample_images().images]
        return (*photos, photos[0] * np.array([1, 0, 1], dtype=np.uint8))
    digits = [(digit * 255 / 16).astype(np.uint8) for digit in load_digits().images[:3]]
    return tuple(np.asarray(Image.fromarray(digit).resize((48, 40), Image.Resampling.BICUBIC)) for digit in digits)


def as_tensor(images: list[NDArray[np.uint8]] | tuple[NDArray[np.uint8], ...]) -> Tensor:
    return torch.stack([torch.tensor(image).reshape(*image.shape[:2], -1).permute(2, 0, 1) for image in images])


def timms(image: NDArray[np.uint8], name: str, magnitude: float, *, negated: bool) -> NDArray[np.uint8]:
    """timm's operation, applied for certain, in the direction asked for."""
    settings = {"img_mean": (GREY,) * 3 if image.ndim == 3 else GREY, "interpolation": Image.Resampling.NEAREST}
    operation = auto_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams={**settings, "magnitude_max": 100})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "random", lambda: 0.9 if negated else 0.1)
        return np.asarray(operation(Image.fromarray(image)))


def draws_of(*names: tuple[str, str], negated: bool = False) -> RandAugmentDraws:
    operations = torch.tensor([[OPERATIONS.index(name) for name in pair] for pair in names])
    return RandAugmentDraws(operations=operations, negated=torch.full(operations.shape, negated))


def test_the_operations_are_timms_without_cutout() -> None:
    assert sorted(OPERATIONS) == sorted(auto_augment._RAND_TRANSFORMS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_timms(name: str, channels: int) -> None:
    """The other operation of each image, solarising, changes nothing from 10 on."""
    images = pictures(channels)
    for magnitude in LEVELS:
        if name == "Posterize" and magnitude < 2.5:
            continue  # No bit is left; Pillow refuses.
        for negated in (False, True) if name in MOVES else (False,):
            first = [timms(image, name, magnitude, negated=negated) for image in images]
            expected = as_tensor([timms(image, "Solarize", magnitude, negated=negated) for image in first])
            draws = draws_of(*[(name, "Solarize")] * len(images), negated=negated)
            found = rand_augment(as_tensor(images), draws, magnitude)
            assert found.dtype == torch.uint8
            difference = (found.int() - expected.int()).abs()
            share = (difference > 0).float().mean().item()
            assert share <= MOST_DIFFERENT.get(name, 0.0), (magnitude, negated, share)
            # Below, a difference of one level at solarising's threshold becomes one of many.
            assert name in MOVES or magnitude < 10 or difference.max() <= 1, (magnitude, difference.max())


def test_operations_change_images_at_the_magnitudes_of_the_paper() -> None:
    images = as_tensor(pictures(3)[:2])
    for name in set(OPERATIONS) - {"Solarize"}:
        found = rand_augment(images, draws_of(*[(name, "Solarize")] * 2), 15.0)
        assert (found != images).float().mean() > 0.05, name


def test_posterizing_keeps_a_bit_where_none_is_left() -> None:
    found = rand_augment(as_tensor(pictures(3)), draws_of(*[("Posterize", "SolarizeAdd")] * 3), 0.0)
    assert set(found.unique().tolist()) == {0, 128}


def test_colour_leaves_a_grey_image_alone() -> None:
    images = as_tensor(pictures(1))
    assert torch.equal(rand_augment(images, draws_of(*[("Color", "Color")] * 3), 25.0), images)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_survive_every_operation(side: int) -> None:
    images = torch.arange(side * side, dtype=torch.uint8).view(1, 1, side, side).repeat(len(OPERATIONS), 1, 1, 1)
    draws = draws_of(*[(name, name) for name in OPERATIONS])
    assert rand_augment(images, draws, 15.0).shape == images.shape


@pytest.mark.parametrize("seed", range(3))
def test_each_image_gets_its_own_two_operations_in_order(seed: int) -> None:
    """A batch at once, against timm's operations image by image, one after the other."""
    print(f"{seed=}")
    num_images, magnitude = 40, 7.0
    images = [pictures(3)[number % 3] for number in range(num_images)]
    draws = RandAugmentDraws.draw(num_images, generator=torch.Generator().manual_seed(seed))
    expected = []
    for number, image in enumerate(images):
        for layer in range(2):
            name = OPERATIONS[int(draws.operations[number, layer])]
            image = timms(image, name, magnitude, negated=bool(draws.negated[number, layer]))
        expected.append(image)
    before = as_tensor(images)
    given = before.clone()
    found = rand_augment(given, draws, magnitude)
    assert torch.equal(given, before)
    shares = (found != as_tensor(expected)).float().mean((1, 2, 3))
    assert shares.max() < 0.02
    assert shares.mean() < 0.002


def test_a_batch_is_the_same_whatever_it_is_part_of() -> None:
    generator = torch.Generator().manual_seed(3)
    draws = RandAugmentDraws.draw(64, generator=generator)
    images = torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8, generator=generator)
    whole = rand_augment(images, draws, 12.5)
    for start, stop in ((0, 1), (1, 17), (17, 64), (5, 5)):
        part = rand_augment(images[start:stop], draws.slice(start, stop), 12.5)
        assert torch.equal(part, whole[start:stop])
    again = RandAugmentDraws.draw(64, generator=torch.Generator().manual_seed(3))
    assert torch.equal(again.operations, draws.operations)
    assert torch.equal(again.negated, draws.negated)


def test_operations_are_equally_frequent_and_moves_go_both_ways() -> None:
    num_images = 30_000
    draws = RandAugmentDraws.draw(num_images, generator=torch.Generator().manual_seed(0))
    for layer in range(2):
        shares = torch.bincount(draws.operations[:, layer], minlength=15) / num_images
        # Five deviations of a binomial share.
        assert (shares - 1 / 15).abs().max() < 5 * (1 / 15 / num_images) ** 0.5
    pairs = torch.bincount(draws.operations[:, 0] * 15 + draws.operations[:, 1], minlength=225) / num_images
    assert (pairs - 1 / 225).abs().max() < 5 * (1 / 225 / num_images) ** 0.5
    assert draws.negated.float().mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), "pixels must be uint8"),
        (torch.zeros(2, 2, 4, 4, dtype=torch.uint8), "with 1 or 3 channels"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), r"got torch.uint8 \(3, 4, 4\)"),
        (torch.zeros(3, 1, 4, 4, dtype=torch.uint8), "draws for each image, got 2 for 3 images"),
    ],
)
def test_other_images_are_refused(pixels: Tensor, message: str) -> None:
    draws = RandAugmentDraws.draw(2, generator=torch.Generator())
    with pytest.raises(ValueError, match=message):
        rand_augment(pixels, draws, 5.0)
    with pytest.raises(ValueError, match=message):
        cut_out(pixels, torch.zeros(2, 2), 0.5)


@pytest.mark.parametrize("magnitude", [-1.0, float("nan")])
def test_a_negative_magnitude_is_refused(magnitude: float) -> None:
    with pytest.raises(ValueError, match=f"magnitude must be at least 0, got {magnitude}"):
        rand_augment(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), draws_of(("Rotate", "Rotate")), magnitude)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_cutout_blanks_a_square_around_each_centre(share: float) -> None:
    seed = 5
    print(f"{seed=}")
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (30, 3, 16, 16), dtype=torch.uint8, generator=generator)
    centres = torch.rand(30, 2, generator=generator)
    found, side = cut_out(images, centres, share), int(16 * share)
    for image, (row, column), ours in zip(images, (centres * 16).long().tolist(), found, strict=True):
        expected = image.clone()
        top, left = row - side // 2, column - side // 2
        expected[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = GREY
        assert torch.equal(ours, expected)


@pytest.mark.gpu
def test_on_cuda_the_same_images_come_without_waiting() -> None:
    draws = RandAugmentDraws.draw(256, generator=torch.Generator().manual_seed(0))
    centres = torch.rand(256, 2, generator=torch.Generator().manual_seed(0))
    images = torch.randint(256, (256, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = cut_out(rand_augment(images, draws, 15.0), centres, 0.5)
    on_device = images.cuda()
    rand_augment(on_device, draws, 15.0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = cut_out(rand_augment(on_device, draws, 15.0), centres, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found.cpu() != expected).float().mean() < 0.001
