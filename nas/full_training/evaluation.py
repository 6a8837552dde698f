"""A trained network judged on images: top-1, top-5 and class by class, at the sizes asked for.

The test images are read here, and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from proxies.classification import Classification, classify
from proxies.data.batches import Batches, make_batches
from proxies.data.images import LabelledImages
from proxies.data.normalisation import Normalisation, normalisation_of
from proxies.data.split import Splits
from proxies.device import Device
from proxies.execution import Dtype, ExecutionMode
from proxies.proxy_data import GIB, load_splits
from proxies.training.config import DataConfig

from .trained_network import TrainedNetwork

Part = Literal["test", "minival", "train"]
BATCH_SIZE = 128
NAMED_CLASSES = 60
"""Characters of a class name in a message, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a network reached, with everything that the figures must be cited with."""

    architecture: str
    weights: str
    source: str
    """Of the images."""
    part: Part
    normalisation: Normalisation
    normalised_as: str
    """Where mean and deviation come from."""
    mode: str
    device: str
    class_names: tuple[str, ...]
    results: tuple[Classification, ...]
    """One for each size."""
    num_skipped: int = 0
    """Images of the part that could not be read and were left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """A network and the images it is to be judged on; making one checks that they belong together."""

    trained: TrainedNetwork
    data: DataConfig
    part: Part
    splits: Splits
    sizes: tuple[int, ...]
    normalisation: Normalisation
    normalised_as: str


def prepare(
    trained: TrainedNetwork,
    data: DataConfig,
    *,
    part: Part = "test",
    sizes: Sequence[int] = (),
    normalisation: Normalisation | None = None,
) -> Exam:
    """Load the images and make sure that the network can be judged on them.

    Args:
        trained: The network.
        data: Which images, and how they are split.
        part: Which of their parts.
        sizes: Pixels per side; by default the network's test size.
        normalisation: In place of the one that the network was trained with.

    Raises:
        ValueError: In one line, if a size is too small, or images, classes or channels are not the network's.
    """
    sizes = tuple(dict.fromkeys(sizes)) or (trained.test_size,)
    stride = trained.settings.architecture.total_stride
    for size in sizes:
        if size < stride:
            raise ValueError(f"size must be at least the total stride {stride}, got {size}")
    splits = load_splits(data)
    _require_same_classes(trained, splits)
    if normalisation is not None:
        told = "as asked"
    elif trained.normalisation is not None:
        normalisation, told = trained.normalisation, "as in training"
    else:
        normalisation, told = normalisation_of(splits.train), "of these training images, since the weights tell none"
    if len(normalisation.mean) != splits.in_channels:
        raise ValueError(
            f"mean and deviation must be given for {splits.in_channels} image channels, got {len(normalisation.mean)}"
        )
    return Exam(
        trained=trained, data=data, part=part, splits=splits, sizes=sizes, normalisation=normalisation,
        normalised_as=told,
    )  # fmt: skip


def _require_same_classes(trained: TrainedNetwork, splits: Splits) -> None:
    settings = trained.settings
    if settings.num_classes != splits.num_classes:
        raise ValueError(f"the network has {settings.num_classes} classes, but {splits.name} has {splits.num_classes}")
    if settings.in_channels != splits.in_channels:
        raise ValueError(
            f"the network takes {settings.in_channels} image channels, but {splits.name} has {splits.in_channels}"
        )
    for number, (ours, theirs) in enumerate(zip(trained.class_names or (), splits.class_names, strict=False)):
        if ours != theirs:
            raise ValueError(
                f"classes must be those of the training, in their order; class {number} was "
                f"{ours[:NAMED_CLASSES]!r}, but {splits.name} has {theirs[:NAMED_CLASSES]!r}"
            )


def judge(
    exam: Exam,
    *,
    device: Device,
    dtype: Dtype | None = None,
    batch_size: int = BATCH_SIZE,
    on_size: Callable[[int], object] = lambda size: None,
) -> Evaluation:
    """Classify the images at every size.

    Args:
        exam: Network and images.
        device: Where.
        dtype: Of the arithmetic; by default as in training, where the device can do it.
        batch_size: Images at once.
        on_size: Told each size before it begins.

    Raises:
        InfeasibleError: If memory does not suffice.
        ImageError: If an image cannot be read, and is not to be skipped.
    """
    trained, mode = exam.trained, _mode(exam.trained.mode, dtype, device)
    images = _images(exam)
    batches = _batches(exam, images, device)
    results = []
    with device.out_of_memory_is_infeasible():
        network = mode.place(trained.network, device.torch_device)
        for size in exam.sizes:
            on_size(size)
            results.append(
                classify(
                    network, batches, num_classes=exam.splits.num_classes, batch_size=batch_size, resolution=size,
                    mode=mode, device=device,
                )
            )  # fmt: skip
    return Evaluation(
        architecture=str(trained.settings.architecture),
        weights=trained.weights,
        source=exam.data.source,
        part=exam.part,
        normalisation=exam.normalisation,
        normalised_as=exam.normalised_as,
        mode=str(mode),
        device=str(device.identity()),
        class_names=exam.splits.class_names,
        results=tuple(results),
        num_skipped=len(batches) - results[-1].score.num_images,
    )


def _images(exam: Exam) -> LabelledImages:
    splits = exam.splits
    return {"test": splits.read_test, "minival": lambda: splits.minival, "train": lambda: splits.train}[exam.part]()


def _batches(exam: Exam, images: LabelledImages, device: Device) -> Batches:
    return make_batches(
        images,
        normalisation=exam.normalisation,
        augment=False,
        mirror=False,
        device=device,
        memory_limit_bytes=exam.data.memory_limit_gib * GIB,
        num_workers=exam.data.num_workers,
    )


def _mode(trained_in: ExecutionMode, dtype: Dtype | None, device: Device) -> ExecutionMode:
    """As in training, but for number formats that this device does not do well; nothing is compiled for one pass."""
    if dtype is None:
        dtype = trained_in.dtype if trained_in.dtype in device.mixed_dtypes else "float32"
    small_maps = trained_in.small_maps and device.slow_on_small_maps
    return replace(trained_in, dtype=dtype, small_maps=small_maps, compile=False)
