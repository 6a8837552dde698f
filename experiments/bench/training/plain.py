"""The loop of many tutorials: float32, a DataLoader over Pillow images, torchvision's transforms, AdamW as it comes."""

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from proxies.data.batches import normalisation_of
from proxies.data.images import PixelImages
from proxies.data.split import Splits
from proxies.device import Device
from proxies.training.config import TrainConfig
from search_spaces.architecture import Architecture

from .networks import RESOLUTION, network_for
from .turns import Steps


def plain_training(
    splits: Splits, architecture: Architecture, config: TrainConfig, device: Device, *, workers: int
) -> Steps:
    """Train for ever."""
    loader = DataLoader(
        PillowImages(splits, augment=config.augment),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    network = network_for(splits, architecture).to(device.torch_device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    while True:
        for images, labels in loader:
            images, labels = images.to(device.torch_device), labels.to(device.torch_device)
            loss = functional.cross_entropy(network(images), labels, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(labels)


class PillowImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's own small data sets give them: from memory, through Pillow, one at a time."""

    def __init__(self, splits: Splits, *, augment: bool) -> None:
        assert isinstance(splits.train, PixelImages)
        self.arrays = splits.train.pixels.squeeze(1).numpy()
        self.labels = splits.train.labels.tolist()
        shift = [transforms.RandomCrop(RESOLUTION, padding=RESOLUTION // 8, padding_mode="reflect")] if augment else []
        mirror = [transforms.RandomHorizontalFlip()] if augment and splits.mirror_keeps_label else []
        normalisation = normalisation_of(splits.train)
        mean, std = ([value / 255 for value in values] for values in (normalisation.mean, normalisation.std))
        self.transform = transforms.Compose(
            [transforms.Resize(RESOLUTION), *shift, *mirror, transforms.ToTensor(), transforms.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]
