"""The images of a search, split and ready to be fed to any candidate."""

from dataclasses import dataclass

from .data.batches import Batches, Normalisation, make_batches, normalisation_of
from .data.images import LabelledImages
from .data.sources import load_images
from .data.split import Splits, split_images, stratified_share
from .device import Device
from .training.config import DataConfig, Fidelity, TrainConfig

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProxyData:
    """The images of a search, ready to be fed to any candidate."""

    num_classes: int
    in_channels: int
    normalisation: Normalisation
    train: Batches
    minival: Batches


def load_splits(data: DataConfig) -> Splits:
    """Load a data set and split it as configured.

    Raises:
        ValueError: In one line, if the images cannot be had or split.
    """
    images = load_images(data.source, root=data.root, skip_corrupt=data.corrupt_images == "skip")
    return split_images(images, minival_share=data.minival_share, test_share=data.test_share, seed=data.split_seed)


def make_proxy_data(
    splits: Splits,
    *,
    config: TrainConfig,
    fidelity: Fidelity,
    device: Device,
    data_seed: int,
    memory_limit_bytes: float,
    num_workers: int,
) -> ProxyData:
    """Batches of train, reduced to the fidelity's share and augmented, and of minival, as it is."""
    train = stratified_share(splits.train, fidelity.data_share, num_classes=splits.num_classes, seed=data_seed)
    normalisation = normalisation_of(splits.train)

    def batches(images: LabelledImages, augment: bool) -> Batches:
        return make_batches(
            images,
            normalisation=normalisation,
            augment=augment,
            mirror=splits.mirror_keeps_label,
            device=device,
            memory_limit_bytes=memory_limit_bytes,
            num_workers=num_workers,
            smallest_crop=config.crop_area,
        )

    return ProxyData(
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
        normalisation=normalisation,
        train=batches(train, config.augment),
        minival=batches(splits.minival, False),
    )
