"""Batches: every image as often as promised, with its own label, at the size asked for."""

import itertools
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, UntypedStorage
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from proxies.data.augment import Draws, crop_and_mirror, pad_by_reflection
from proxies.data.batches import (
    Batch,
    Batches,
    LimitedBatches,
    MemoryBatches,
    Normalisation,
    ResizedBatches,
    StreamedBatches,
    make_batches,
    normalisation_of,
    num_steps,
)
from proxies.data.encoded import EncodedImages
from proxies.data.folders import read_folder
from proxies.data.images import LabelledImages, PixelImages
from proxies.data.passes import TrainingPass
from proxies.device import find_device

NUM_IMAGES = 10
IDENTITY = Normalisation(mean=(0.0,), std=(1.0,))


def grey_levels() -> PixelImages:
    """Image i is flat with the grey level 10 i and has the label i."""
    numbers = torch.arange(NUM_IMAGES)
    pixels = (10 * numbers).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous()
    return PixelImages(pixels=pixels, labels=numbers)


def grey_files(folder: Path) -> LabelledImages:
    for number in range(NUM_IMAGES):
        path = folder / f"class{number}" / "only.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (9, 7), 10 * number).save(path)
    return read_folder(folder).train


def batches_of(images: LabelledImages, *, augment: bool = True, memory_limit_bytes: float = 1e9) -> Batches:
    return make_batches(
        images, normalisation=IDENTITY, augment=augment, mirror=True, device=find_device("cpu"),
        memory_limit_bytes=memory_limit_bytes, num_workers=1,
    )  # fmt: skip


KINDS = ("memory", "resized", "files-in-memory", "streamed")


def batches_of_kind(kind: str, pixels: PixelImages, files: LabelledImages) -> Batches:
    limit = 0 if kind in ("resized", "streamed") else 1e9
    return batches_of(pixels if kind in ("memory", "resized") else files, memory_limit_bytes=limit)


@pytest.fixture(params=KINDS)
def batches(request: pytest.FixtureRequest, tmp_path: Path) -> Batches:
    return batches_of_kind(request.param, grey_levels(), grey_files(tmp_path))


@pytest.fixture(params=KINDS)
def textured(request: pytest.FixtureRequest, tmp_path: Path) -> Batches:
    """Every shift, crop and mirror image looks different."""
    return batches_of_kind(request.param, random_pixels(0), textured_files(tmp_path))


def textured_files(folder: Path) -> EncodedImages:
    generator = np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        path = folder / f"class{number}" / "only.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 256, (14, 11, 3), dtype=np.uint8)).save(path)
    images = read_folder(folder).train
    assert isinstance(images, EncodedImages)
    return images


def streamed(images: EncodedImages) -> StreamedBatches:
    return StreamedBatches(
        images=images, normalisation=Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3), augment=True, mirror=True,
        device=find_device("cpu"), num_workers=2,
    )  # fmt: skip


def assert_equal(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for (images, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, expected_labels)


class TestBatchesContract:
    """What the loop relies on, wherever the images are."""

    def test_an_epoch_has_whole_batches_of_different_images_with_their_labels(self, batches: Batches) -> None:
        found: list[int] = []
        for images, labels in batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=16)):
            assert images.shape == (4, 1, 16, 16)
            assert images.dtype == torch.float32
            # Flat images survive every shift, crop and mirror.
            assert torch.equal(images[:, 0, 5, 5], 10.0 * labels)
            found += labels.tolist()
        assert len(found) == 4 * num_steps(NUM_IMAGES, 4) == 8
        assert len(set(found)) == 8

    def test_in_order_every_image_comes_once(self, batches: Batches) -> None:
        labels = [label for _, some in batches.in_order(batch_size=4, resolution=8) for label in some.tolist()]
        assert labels == list(range(NUM_IMAGES))

    def test_the_seed_decides_the_order(self, batches: Batches) -> None:
        def order(seed: int) -> list[int]:
            epoch = batches.shuffled(TrainingPass(seed=seed, batch_size=2, resolution=8))
            return [label for _, labels in epoch for label in labels.tolist()]

        assert order(1) == order(1)
        assert order(1) != order(2)

    def test_the_default_generator_neither_decides_nor_moves(self, batches: Batches) -> None:
        training_pass = TrainingPass(seed=0, batch_size=5, resolution=8)
        before = torch.get_rng_state()
        first = list(batches.shuffled(training_pass))
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        assert_equal(list(batches.shuffled(training_pass)), first)

    @pytest.mark.parametrize("first_step", [0, 1, 2, 3, 4])
    def test_a_pass_goes_on_from_any_step(self, textured: Batches, first_step: int) -> None:
        training_pass = TrainingPass(seed=3, batch_size=3, resolution=12, randaugment=15, cutout=0.25)
        whole = list(textured.shuffled(training_pass))
        rest = list(textured.shuffled(replace(training_pass, first_step=first_step)))
        assert len(whole) == num_steps(len(textured), 3) >= 3
        assert_equal(rest, whole[first_step:])

    @pytest.mark.parametrize("world_size", [2, 3, 5])
    @pytest.mark.parametrize("first_step", [0, 1])
    def test_processes_share_the_batches_of_one(self, textured: Batches, world_size: int, first_step: int) -> None:
        """Parts as PyTorch's own tensor_split makes them, pixel by pixel."""
        training_pass = TrainingPass(
            seed=5, batch_size=5, resolution=12, randaugment=15, cutout=0.25, first_step=first_step
        )
        whole = list(textured.shuffled(training_pass))
        parts = [
            list(textured.shuffled(replace(training_pass, rank=rank, world_size=world_size)))
            for rank in range(world_size)
        ]
        for number, (images, labels) in enumerate(whole):
            theirs = zip(images.tensor_split(world_size), labels.tensor_split(world_size), strict=True)
            assert_equal([part[number] for part in parts], list(theirs))

    def test_cutout_blanks_a_square_of_each_image(self, batches: Batches) -> None:
        """Of flat images: all that is neither grey nor blank would be a fault of the order of the steps."""
        for images, labels in batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=16, cutout=0.5)):
            for image, label in zip(images, labels.tolist(), strict=True):
                blank = image == 128
                assert 1 / 16 - 1e-6 <= blank.float().mean() <= 1 / 4
                assert torch.equal(image[~blank], torch.full_like(image[~blank], 10.0 * label))

    def test_randaugment_leaves_order_and_labels_and_changes_most_images(self, textured: Batches) -> None:
        training_pass = TrainingPass(seed=1, batch_size=5, resolution=12)
        for plain, changed in zip(
            textured.shuffled(training_pass), textured.shuffled(replace(training_pass, randaugment=10)), strict=True
        ):
            assert torch.equal(plain[1], changed[1])
            assert (plain[0] != changed[0]).flatten(1).any(dim=1).sum() >= 3

    def test_every_pass_blanks_other_places(self, textured: Batches) -> None:
        blank = []
        for seed in range(3):
            images, _ = next(textured.shuffled(TrainingPass(seed=seed, batch_size=5, resolution=12, cutout=0.5)))
            blank.append(images == 128)
        for one, other in itertools.combinations(blank, 2):
            assert not torch.equal(one, other)

    def test_more_processes_than_images_of_a_batch_are_refused(self, batches: Batches) -> None:
        training_pass = TrainingPass(seed=0, batch_size=4, resolution=8, rank=4, world_size=5)
        with pytest.raises(ValueError, match="an image for each of 5 processes, got 4 images"):
            list(batches.shuffled(training_pass))

    @pytest.mark.parametrize("world_size", [2, 11])
    def test_in_order_each_image_comes_in_one_process(self, batches: Batches, world_size: int) -> None:
        shares = [
            [label for _, some in batches.in_order(batch_size=2, resolution=8, rank=rank, world_size=world_size)
             for label in some.tolist()]
            for rank in range(world_size)
        ]  # fmt: skip
        assert sorted(itertools.chain(*shares)) == list(range(NUM_IMAGES))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1

    def test_the_resolution_is_that_of_each_call(self, batches: Batches) -> None:
        for resolution in (8, 20, 12, 8):
            images, _ = next(iter(batches.in_order(batch_size=2, resolution=resolution)))
            assert images.shape[-2:] == (resolution, resolution)

    def test_settled_batches_are_the_same_at_the_size_they_are_settled_on(self, textured: Batches) -> None:
        training_pass = TrainingPass(seed=0, batch_size=4, resolution=12)
        before = list(textured.shuffled(training_pass))
        textured.settle(12)
        assert_equal(list(textured.shuffled(training_pass)), before)

    def test_a_batch_larger_than_the_set_is_the_set(self, batches: Batches) -> None:
        training_pass = TrainingPass(seed=0, batch_size=64, resolution=8)
        assert [len(labels) for _, labels in batches.shuffled(training_pass)] == [NUM_IMAGES]


def test_crops_of_streamed_images_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    images = textured_files(tmp_path)
    training_pass = TrainingPass(seed=1, batch_size=4, resolution=9)
    epochs = [
        list(replace(streamed(images), num_workers=workers).shuffled(training_pass)) for workers in (0, 1, 3)
    ]  # fmt: skip
    assert_equal(epochs[1], epochs[0])
    assert_equal(epochs[2], epochs[0])


def test_streamed_images_are_cropped_anew_in_every_pass(tmp_path: Path) -> None:
    batches = replace(streamed(textured_files(tmp_path)), num_workers=0)
    crops = []
    for seed in range(4):
        passed = batches.shuffled(TrainingPass(seed=seed, batch_size=NUM_IMAGES, resolution=9))
        images, labels = next(iter(passed))
        crops.append(images[labels.argsort()])
    for one, other in itertools.combinations(crops, 2):
        differing = (one != other).flatten(1).any(dim=1)
        assert differing.all()


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"), [(10, 4, 2), (10, 5, 2), (9, 8, 1), (5, 8, 1), (65, 32, 2), (33, 32, 1)]
)
def test_no_step_has_less_than_a_whole_batch(images: int, batch_size: int, steps: int) -> None:
    assert num_steps(images, batch_size) == steps


def test_files_are_streamed_only_at_sizes_that_do_not_fit(tmp_path: Path) -> None:
    batches = batches_of(grey_files(tmp_path), memory_limit_bytes=NUM_IMAGES * 16**2)
    assert isinstance(batches, LimitedBatches)
    assert isinstance(batches.at(16), MemoryBatches)
    assert isinstance(batches.at(17), StreamedBatches)


def test_settled_on_a_size_that_does_not_fit_files_are_streamed_at_every_size(tmp_path: Path) -> None:
    """One training has one augmentation, although its first sizes would fit: pixel by pixel that of the crops."""
    images = textured_files(tmp_path)
    limited = make_batches(
        images, normalisation=Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3), augment=True, mirror=True,
        device=find_device("cpu"), memory_limit_bytes=NUM_IMAGES * 3 * 10**2, num_workers=1,
    )  # fmt: skip
    small, large = (TrainingPass(seed=6, batch_size=4, resolution=resolution) for resolution in (8, 11))
    cropped = list(streamed(images).shuffled(small))
    assert not torch.equal(next(limited.shuffled(small))[0], cropped[0][0]), "images in memory are shifted"
    limited.settle(11)
    assert_equal(list(limited.shuffled(small)), cropped)
    assert_equal(list(limited.shuffled(large)), list(streamed(images).shuffled(large)))


def test_settled_on_a_size_that_fits_every_size_up_to_it_comes_from_memory(tmp_path: Path) -> None:
    batches = batches_of(grey_files(tmp_path), memory_limit_bytes=NUM_IMAGES * 16**2)
    assert isinstance(batches, LimitedBatches)
    batches.settle(16)
    assert all(isinstance(batches.at(resolution), MemoryBatches) for resolution in (8, 15, 16))
    assert isinstance(batches.at(17), StreamedBatches)


def test_pixels_come_from_memory_where_they_fit_whatever_is_settled() -> None:
    batches = batches_of(grey_levels(), memory_limit_bytes=NUM_IMAGES * 16**2)
    assert isinstance(batches, LimitedBatches)
    batches.settle(17)
    assert isinstance(batches.at(16), MemoryBatches)
    assert isinstance(batches.at(17), ResizedBatches)


def test_pixels_are_resized_batch_by_batch_only_at_sizes_that_do_not_fit() -> None:
    batches = batches_of(grey_levels(), memory_limit_bytes=NUM_IMAGES * 16**2)
    assert isinstance(batches, LimitedBatches)
    assert isinstance(batches.at(16), MemoryBatches)
    assert isinstance(batches.at(17), ResizedBatches)


def random_pixels(seed: int, *, height: int = 9, width: int = 12) -> PixelImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (13, 3, height, width), generator=generator).to(torch.uint8)
    return PixelImages(pixels=pixels, labels=torch.arange(13))


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("resolution", [9, 17, 24, 6])
@pytest.mark.parametrize("seed", range(2))
def test_resized_batches_equal_those_from_memory(seed: int, resolution: int, augment: bool) -> None:
    """Every pixel, shuffled, shifted and mirrored as the same seed says, and in order."""
    print(f"{seed=}")
    memory, resized = (
        batches_of(random_pixels(seed), augment=augment, memory_limit_bytes=limit) for limit in (1e9, 0.0)
    )
    epochs = [
        list(each.shuffled(TrainingPass(seed=seed, batch_size=4, resolution=resolution, randaugment=9, cutout=0.5)))
        + list(each.in_order(batch_size=4, resolution=resolution))
        for each in (memory, resized)
    ]
    assert len(epochs[0]) == len(epochs[1]) == 3 + 4
    assert_equal(*epochs)


def test_beyond_the_limit_no_tensor_holds_the_whole_set_at_the_working_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: PixelImages, resolution: int) -> torch.Tensor:
        raise AssertionError("the whole set was resized")

    monkeypatch.setattr(PixelImages, "at_size", forbidden)
    batches = batches_of(random_pixels(0), memory_limit_bytes=13 * 3 * 100**2 - 1)
    sizes = [len(images) for images, _ in batches.in_order(batch_size=4, resolution=100)]
    training_pass = TrainingPass(seed=0, batch_size=4, resolution=100)
    sizes += [len(images) for images, _ in batches.shuffled(training_pass)]
    assert sizes == [4, 4, 4, 1, 4, 4, 4]


def test_a_file_that_breaks_later_is_named_in_one_line(tmp_path: Path) -> None:
    batches = batches_of(grey_files(tmp_path), memory_limit_bytes=0)
    (tmp_path / "class3" / "only.png").write_text("broken")
    with pytest.raises(ValueError, match=r"^cannot read image .*class3/only.png: [^\n]*$"):
        list(batches.in_order(batch_size=2, resolution=8))


def test_a_daemonic_process_streams_without_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Python itself marks one: a real start of a child is refused from here on.
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError, match="daemonic processes are not allowed to have children"):
        multiprocessing.Process(target=print).start()
    batches = batches_of(grey_files(tmp_path), memory_limit_bytes=0)
    assert sum(len(labels) for _, labels in batches.in_order(batch_size=4, resolution=8)) == NUM_IMAGES


def test_normalised_training_images_have_mean_0_and_deviation_1() -> None:
    pixels = torch.randint(0, 256, (50, 3, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pixels[:, 1] //= 4
    images = PixelImages(pixels=pixels, labels=torch.zeros(50, dtype=torch.int64))
    normalisation = normalisation_of(images)
    theirs = pixels.double().numpy().transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(normalisation.mean, theirs.mean(axis=1))
    np.testing.assert_allclose(normalisation.std, theirs.std(axis=1))
    normalised = normalisation.apply(pixels)
    torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(dim=(0, 2, 3), correction=0), torch.ones(3))


def test_mean_and_deviation_are_brought_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    normalisation = Normalisation(mean=(1.25, 2.5), std=(2.0, 4.0))
    pixels = torch.full((1, 2, 1, 1), 9, dtype=torch.uint8)
    first = normalisation.apply(pixels)

    def forbidden(*args: object, **settings: object) -> torch.Tensor:
        raise AssertionError("the values were copied once more")

    monkeypatch.setattr(torch, "tensor", forbidden)
    assert torch.equal(normalisation.apply(pixels), first)
    assert first.flatten().tolist() == [3.875, 1.625]


def test_values_first_used_in_evaluation_serve_training_too() -> None:
    normalisation = Normalisation(mean=(3.125,), std=(2.0,))
    pixels = torch.full((1, 1, 2, 2), 9, dtype=torch.uint8)
    with torch.inference_mode():
        normalisation.apply(pixels)
    weight = torch.ones(1, requires_grad=True)
    (normalisation.apply(pixels) * weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 4 * (9 - 3.125) / 2


def test_blank_images_are_centred_and_not_divided_by_zero() -> None:
    blank = PixelImages(pixels=torch.full((4, 1, 3, 3), 7, dtype=torch.uint8), labels=torch.zeros(4, dtype=torch.int64))
    assert normalisation_of(blank).apply(blank.pixels).abs().max() < 1e-6


@pytest.mark.parametrize(("side", "margin"), [(5, 2), (8, 1), (32, 4), (3, 2), (4, 0)])
def test_padding_equals_pytorchs_reflection(side: int, margin: int) -> None:
    images = torch.randn(2, 3, side, side + 1)
    expected = functional.pad(images, (margin,) * 4, mode="reflect")
    assert torch.equal(pad_by_reflection(images, margin), expected)


def test_padding_wider_than_the_image_folds_again() -> None:
    row = pad_by_reflection(torch.arange(3.0).view(1, 1, 1, 3).expand(1, 1, 3, 3), 4)[0, 0, 0]
    assert row.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_crops_equal_those_of_a_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    margin, resolution = 2, 6
    padded = torch.randint(0, 256, (7, 3, 10, 10), generator=generator).to(torch.uint8)
    draws = Draws.draw(7, margin=margin, mirror=True, generator=generator)
    result = crop_and_mirror(padded, draws, resolution)
    for position, number in enumerate(draws.order.tolist()):
        top, left = draws.offsets[position].tolist()
        crop = padded[number, :, top : top + resolution, left : left + resolution]
        expected = torch.flip(crop, [2]) if draws.mirrored[position] else crop
        assert torch.equal(result[position], expected), f"{seed=}"


def test_nothing_is_mirrored_where_a_mirror_image_changes_the_label() -> None:
    draws = Draws.draw(1000, margin=4, mirror=False, generator=torch.Generator().manual_seed(0))
    assert not draws.mirrored.any()
    assert draws.offsets.min() == 0
    assert draws.offsets.max() == 8


def test_only_the_last_sizes_are_kept() -> None:
    batches = batches_of(grey_levels())
    assert isinstance(batches, LimitedBatches)
    for resolution in (8, 12, 16):
        next(iter(batches.in_order(batch_size=2, resolution=resolution)))
    assert list(batches.memory._padded) == [12, 16]


def test_the_oldest_size_is_gone_before_a_new_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = batches_of(grey_levels())
    assert isinstance(batches, LimitedBatches)
    held, resize = [], PixelImages.at_size

    def resize_and_look(self: PixelImages, resolution: int) -> Tensor:
        held.append(list(batches.memory._padded))
        return resize(self, resolution)

    monkeypatch.setattr(PixelImages, "at_size", resize_and_look)
    for resolution in (8, 12, 16, 12, 20):
        next(iter(batches.in_order(batch_size=2, resolution=resolution)))
    assert held == [[], [8], [12], [12]]


class LargeTensors(TorchDispatchMode):
    """Every piece of memory over a limit that an operation's result lies in, once."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.found: dict[int, UntypedStorage] = {}  # held, so that none takes the place of another

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and each.untyped_storage().nbytes() > self.limit:
                self.found.setdefault(each.untyped_storage().data_ptr(), each.untyped_storage())
        return result


@pytest.mark.parametrize("augment", [True, False])
def test_a_set_comes_to_a_size_in_one_copy(augment: bool) -> None:
    """Beside that one, whatever is made on the way is small."""
    count = 4096
    pixels = torch.randint(0, 256, (count, 1, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    batches = batches_of(PixelImages(pixels=pixels, labels=torch.zeros(count, dtype=torch.int64)), augment=augment)
    side = 20 if augment else 16
    with LargeTensors(count * side**2 // 5) as large:
        next(iter(batches.in_order(batch_size=2, resolution=16)))
    assert [each.nbytes() for each in large.found.values()] == [count * side**2]


@pytest.mark.parametrize("augment", [True, False])
def test_bytes_held_are_those_of_the_tensors(augment: bool, tmp_path: Path) -> None:
    """Two sizes from memory, counted in the tensors; the pixels where they are resized; nothing of what is streamed."""
    pixels, files = random_pixels(0), textured_files(tmp_path)
    for images in (pixels, files):
        batches = batches_of(images, augment=augment)
        assert isinstance(batches, LimitedBatches)
        for resolution in (12, 16, 24):
            next(iter(batches.in_order(batch_size=2, resolution=resolution)))
        smaller, larger = batches.memory._padded.values()
        assert smaller.nbytes + larger.nbytes <= batches.held_bytes(24) == 2 * larger.nbytes
    assert batches_of(pixels, augment=augment, memory_limit_bytes=0).held_bytes(24) == 13 * 3 * 9 * 12
    assert batches_of(files, augment=augment, memory_limit_bytes=0).held_bytes(24) == 0


def test_what_memory_held_is_gone_at_a_size_beyond_the_limit() -> None:
    batches = batches_of(random_pixels(0), memory_limit_bytes=13 * 3 * 16**2)
    assert isinstance(batches, LimitedBatches)
    next(batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=16)))
    assert batches.memory._padded
    next(batches.shuffled(TrainingPass(seed=0, batch_size=4, resolution=17)))
    assert not batches.memory._padded


@pytest.mark.gpu
def test_on_cuda_memory_never_holds_more_than_promised() -> None:
    """Three sizes of a set of 100 MB and more, as PyTorch's own count of the device's memory sees them."""
    count = 16_384
    pixels = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    batches = make_batches(
        PixelImages(pixels=pixels, labels=torch.zeros(count, dtype=torch.int64)),
        normalisation=Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3), augment=True, mirror=True,
        device=find_device("cuda"), memory_limit_bytes=1e9, num_workers=1,
    )  # fmt: skip
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for resolution in (48, 56, 64):
        next(iter(batches.in_order(batch_size=2, resolution=resolution)))
    copies_of_a_few = 3 * 256 * 3 * 80**2
    slack = copies_of_a_few + 8 * count + 2**22
    assert torch.cuda.max_memory_allocated() - before <= batches.held_bytes(64) + slack


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_on_cuda_a_pass_is_the_one_of_the_cpu(kind: str, tmp_path: Path) -> None:
    images = random_pixels(0) if kind in ("memory", "resized") else textured_files(tmp_path)
    training_pass = TrainingPass(seed=4, batch_size=4, resolution=12, cutout=0.5)
    passes = []
    for name in ("cpu", "cuda"):
        batches = make_batches(
            images, normalisation=IDENTITY, augment=True, mirror=True, device=find_device(name),
            memory_limit_bytes=0 if kind in ("resized", "streamed") else 1e9, num_workers=1,
        )  # fmt: skip
        passes.append([(pixels.cpu(), labels.cpu()) for pixels, labels in batches.shuffled(training_pass)])
    for (ours, labels), (theirs, expected) in zip(*passes, strict=True):
        assert torch.equal(labels, expected)
        # Antialiased resizing may round to the next grey level.
        assert (ours - theirs).abs().max() <= (1 if kind == "resized" else 0)
