"""Mixup and CutMix: what each image keeps of itself, and that its label says so."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from proxies.data.mixing import mix


def numbered(num_images: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Image i is flat with the value i, and of class i."""
    numbers = torch.arange(num_images)
    return numbers.float().view(-1, 1, 1, 1).expand(-1, 3, side, side).clone(), numbers


def mixed(num_images: int, *, seed: int = 0, side: int = 8, **alphas: float) -> tuple[Tensor, Tensor]:
    print(f"{seed=}")
    images, labels = numbered(num_images, side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return mix(images, labels, num_classes=num_images, **{"mixup": 0.0, "cutmix": 0.0, **alphas})


def test_without_mixing_everything_comes_back_as_it_was() -> None:
    images, labels = numbered(4)
    state = torch.get_rng_state()
    found, answers = mix(images, labels, mixup=0.0, cutmix=0.0, num_classes=9)
    assert found is images
    assert answers is labels
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_images", [1, 2, 7, 8])
@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_the_target_is_what_the_image_is_made_of(num_images: int, alphas: dict[str, float]) -> None:
    """Image i has value i, so the mean value of a mixture is the mean class of its target."""
    images, targets = mixed(num_images, **alphas)
    assert images.shape == (num_images, 3, 8, 8)
    assert targets.shape == (num_images, num_images)
    torch.testing.assert_close(targets.sum(1), torch.ones(num_images))
    assert (targets >= 0).all()
    torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(num_images).float(), rtol=1e-5, atol=1e-5)


def test_mixup_weighs_each_image_on_its_own() -> None:
    images, targets = mixed(8, mixup=1.0)
    assert (images.amax((1, 2, 3)) == images.amin((1, 2, 3))).all()
    own = targets.diagonal()
    assert (own >= 0.5).all()
    assert len(own.unique()) == 8
    assert torch.equal(targets.gather(1, torch.arange(7, -1, -1)[:, None])[:, 0], 1 - own)


def test_cutmix_pastes_one_box() -> None:
    images, _ = mixed(64, cutmix=1.0, side=32)
    for number, image in enumerate(images):
        pasted = image[0] == 63 - number
        assert torch.equal(pasted, image[0] != number)
        assert torch.equal(pasted, pasted.any(1)[:, None] & pasted.any(0)[None, :])
        for places in (pasted.any(1), pasted.any(0)):
            where = places.nonzero()
            assert len(where) == 0 or where[-1] - where[0] + 1 == len(where)


def test_with_both_each_half_is_mixed_in_its_way() -> None:
    images, targets = mixed(11, mixup=1.0, cutmix=1.0)
    partners = [4, 3, 2, 1, 0, 10, 9, 8, 7, 6, 5]
    for number, partner in enumerate(partners):
        others = [place for place in range(11) if place not in (number, partner)]
        assert targets[number, others].sum() == 0
    is_flat = images.amax((1, 2, 3)) == images.amin((1, 2, 3))
    assert is_flat[:5].all()
    assert set(images[5:].unique().tolist()) <= set(range(5, 11))


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0])
def test_mixups_weights_are_the_larger_of_a_beta_pair(alpha: float) -> None:
    _, targets = mixed(4000, mixup=alpha, side=1)
    found = targets.diagonal().sort().values.numpy()
    draws = np.random.default_rng(0).beta(alpha, alpha, 400_000)
    expected = np.quantile(np.maximum(draws, 1 - draws), (np.arange(4000) + 0.5) / 4000)
    # Kolmogorov's distance of 4000 draws would exceed this once in a million times.
    assert np.abs(np.searchsorted(np.sort(np.maximum(draws, 1 - draws)), found) / 4e5
                  - (np.arange(4000) + 0.5) / 4000).max() < 2.7 / 4000**0.5  # fmt: skip
    assert np.abs(found - expected).mean() < 0.01


def test_cutmixs_boxes_have_the_areas_of_googles_code() -> None:
    """Boxes whose side is √(1 - λ) of the image's, around a random pixel, cut at the edge: the same in numpy."""
    side, num_images = 32, 4000
    _, targets = mixed(num_images, cutmix=1.0, side=side)
    rng = np.random.default_rng(0)
    extent = (np.sqrt(1 - rng.beta(1.0, 1.0, 100_000)) * side).astype(int) // 2
    lengths = []
    for _ in range(2):
        middle = rng.integers(side, size=len(extent))
        lengths.append(np.minimum(middle + extent, side) - np.maximum(middle - extent, 0))
    kept = 1 - lengths[0] * lengths[1] / side**2
    found = targets.diagonal().numpy()
    assert found.mean() == pytest.approx(kept.mean(), abs=5 * kept.std() / num_images**0.5)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert np.quantile(found, share) == pytest.approx(np.quantile(kept, share), abs=0.03)


def test_the_same_seed_mixes_alike_and_another_does_not() -> None:
    first, again, other = (mixed(16, seed=seed, mixup=0.5, cutmix=0.5) for seed in (1, 1, 2))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_cross_entropy_takes_the_targets_with_label_smoothing() -> None:
    _, targets = mixed(6, mixup=1.0)
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    smoothed = 0.9 * targets + 0.1 / 6
    expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(functional.cross_entropy(logits, targets, label_smoothing=0.1), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_images_keep_their_type_and_targets_are_float32(dtype: torch.dtype) -> None:
    images, labels = numbered(6)
    found, targets = mix(images.to(dtype), labels, mixup=0.5, cutmix=0.5, num_classes=6)
    assert found.dtype == dtype
    assert targets.dtype == torch.float32


@pytest.mark.parametrize("alphas", [{"mixup": -0.1, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": float("nan")}])
def test_a_negative_alpha_is_refused(alphas: dict[str, float]) -> None:
    images, labels = numbered(2)
    with pytest.raises(ValueError, match=r"(mixup|cutmix) must be at least 0, got"):
        mix(images, labels, num_classes=2, **alphas)


@pytest.mark.gpu
def test_on_cuda_mixing_does_not_wait_for_the_device() -> None:
    images, labels = (value.cuda() for value in numbered(8))
    torch.cuda.set_sync_debug_mode("error")
    try:
        mix(images, labels, mixup=0.5, cutmix=0.5, num_classes=8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
