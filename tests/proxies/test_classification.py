"""Counts by class against scikit-learn's metrics, on real digits with a network that has learned something."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from proxies.classification import TOP, Classification, ClassScore, classify
from proxies.data.batches import make_batches
from proxies.data.images import PixelImages
from proxies.data.normalisation import Normalisation, normalisation_of
from proxies.data.sources import load_images
from proxies.device import find_device
from proxies.evaluation import evaluate
from proxies.execution import PLAIN, ExecutionMode

SIZE, SEED = 8, 0
DEVICE = find_device("cpu")


@pytest.fixture(scope="module")
def digits() -> PixelImages:
    images = load_images("digits").train
    assert isinstance(images, PixelImages)
    return images


@pytest.fixture(scope="module")
def network(digits: PixelImages) -> nn.Module:
    """One linear layer, a few steps of it on the first thousand images: right often, but by no means always."""
    torch.manual_seed(SEED)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(SIZE // 2), nn.Flatten(), nn.Linear(SIZE * SIZE // 4, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
    inputs = normalisation_of(digits).apply(digits.pixels[:1000])
    for _ in range(20):
        nn.functional.cross_entropy(network(inputs), digits.labels[:1000]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def classified(
    network: nn.Module,
    images: PixelImages,
    normalisation: Normalisation,
    *,
    num_classes: int = 10,
    batch_size: int = 50,
) -> Classification:
    batches = make_batches(
        images, normalisation=normalisation, augment=False, mirror=False, device=DEVICE, memory_limit_bytes=1e9,
        num_workers=1,
    )  # fmt: skip
    return classify(
        network, batches, num_classes=num_classes, batch_size=batch_size, resolution=SIZE, mode=PLAIN, device=DEVICE
    )


@pytest.fixture(scope="module")
def logits(network: nn.Module, digits: PixelImages) -> Tensor:
    with torch.no_grad():
        return network(normalisation_of(digits).apply(digits.pixels))


@pytest.fixture(scope="module")
def found(network: nn.Module, digits: PixelImages) -> Classification:
    return classified(network, digits, normalisation_of(digits))


def test_top_1_and_top_5_are_scikit_learns(found: Classification, logits: Tensor, digits: PixelImages) -> None:
    labels, guesses = digits.labels.numpy(), logits.argmax(1).numpy()
    assert found.score.num_images == 1797
    assert 0.3 < found.score.accuracy < 0.97, "the network should be right often, but not always"
    assert found.score.accuracy == pytest.approx(metrics.accuracy_score(labels, guesses), abs=1e-12)
    assert found.top_score is not None
    top = metrics.top_k_accuracy_score(labels, logits.numpy(), k=TOP)
    assert found.top_score.accuracy == pytest.approx(top, abs=1e-12)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, guesses), abs=1e-12)


def test_every_class_is_scikit_learns(found: Classification, logits: Tensor, digits: PixelImages) -> None:
    labels, guesses = digits.labels.numpy(), logits.argmax(1).numpy()
    recalls = metrics.recall_score(labels, guesses, average=None)
    precisions = metrics.precision_score(labels, guesses, average=None)
    confusion = metrics.confusion_matrix(labels, guesses)
    for place, each in enumerate(found.classes):
        assert each.num_images == confusion[place].sum()
        assert each.num_predicted == confusion[:, place].sum()
        assert each.num_correct == confusion[place, place]
        assert each.accuracy == pytest.approx(recalls[place])
        assert each.precision == pytest.approx(precisions[place])


@pytest.mark.parametrize("batch_size", [1, 7, 1797, 5000])
def test_batches_do_not_matter(network: nn.Module, digits: PixelImages, found: Classification, batch_size: int) -> None:
    again = classified(network, digits, normalisation_of(digits), batch_size=batch_size)
    ours = np.array([each.num_correct for each in again.classes])
    theirs = np.array([each.num_correct for each in found.classes])
    # Sums in another order may turn an image on the border between two classes.
    assert np.abs(ours - theirs).sum() <= 1


def test_it_agrees_with_evaluate(network: nn.Module, digits: PixelImages, found: Classification) -> None:
    batches = make_batches(
        digits, normalisation=normalisation_of(digits), augment=False, mirror=False, device=DEVICE,
        memory_limit_bytes=1e9, num_workers=1,
    )  # fmt: skip
    assert evaluate(network, batches, batch_size=50, resolution=SIZE, mode=PLAIN, device=DEVICE) == found.score


def test_a_class_without_images_has_no_accuracy(network: nn.Module, digits: PixelImages) -> None:
    some = digits.subset(torch.nonzero(digits.labels != 3).flatten())
    result = classified(network, some, normalisation_of(digits))
    assert result.classes[3].accuracy is None
    assert result.classes[3].standard_error is None
    assert result.balanced_accuracy == pytest.approx(sum(each.accuracy or 0 for each in result.classes) / 9)


def test_a_class_that_is_never_named_has_no_precision() -> None:
    assert ClassScore(num_images=3, num_correct=0, num_predicted=0).precision is None


def test_few_classes_have_no_top_5(digits: PixelImages) -> None:
    few = digits.subset(torch.nonzero(digits.labels < TOP).flatten())
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, TOP))
    result = classified(network, few, normalisation_of(digits), num_classes=TOP)
    assert result.num_in_top is None
    assert result.top_score is None


class _NoImages:
    def in_order(self, **settings: int) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(())


def test_no_image_is_an_error(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="there must be an image to classify, got none"):
        classify(
            network, _NoImages(), num_classes=10, batch_size=4, resolution=SIZE, mode=PLAIN, device=DEVICE  # type: ignore[arg-type]
        )  # fmt: skip


def test_training_mode_is_put_back(network: nn.Module, digits: PixelImages) -> None:
    network.train()
    classified(network, digits, normalisation_of(digits))
    assert network.training
    network.eval()


@pytest.mark.gpu
def test_a_gpu_counts_the_same_and_no_batch_waits(
    network: nn.Module, digits: PixelImages, found: Classification
) -> None:
    """CUDA is told to complain of every wait inside the loop."""
    device = find_device("cuda")
    mode = ExecutionMode(channels_last=True)
    batches = make_batches(
        digits, normalisation=normalisation_of(digits), augment=False, mirror=False, device=device,
        memory_limit_bytes=1e9, num_workers=1,
    )  # fmt: skip
    placed = mode.place(network, device.torch_device)
    list(batches.in_order(batch_size=50, resolution=SIZE))  # moves the images there
    add_up = torch.zeros(2, device=device.torch_device)
    add_up.sum()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with pytest.warns(UserWarning, match="synchroniz") as warned:
            result = classify(
                placed, batches, num_classes=10, batch_size=50, resolution=SIZE, mode=mode, device=device
            )  # fmt: skip
    finally:
        torch.cuda.set_sync_debug_mode("default")
        network.to("cpu")
    assert len([each for each in warned if "synchroniz" in str(each.message)]) <= 4, "two sums at the end"
    ours, theirs = ([each.num_correct for each in each_.classes] for each_ in (result, found))
    assert sum(abs(one - other) for one, other in zip(ours, theirs, strict=True)) <= 2
