"""timm's training as its ``train.py`` runs it: its loader, transforms, mixup, losses, optimizer and average of weights.

The script is no part of the installed package. The order of its operations is followed here, with the parts that the
package has: batch, forward, loss, backward, optimizer, loss read, zero_grad, average, learning rate.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from timm.data import FastCollateMixup, create_loader
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import AverageMeter, ModelEmaV3, NativeScaler
from torch import Tensor, nn
from torch.utils.data import Dataset

from proxies.data.batches import Batch, normalisation_of
from proxies.data.images import PixelImages
from proxies.data.split import Splits
from proxies.device import Device
from proxies.execution import ExecutionMode
from proxies.training.config import TrainConfig
from proxies.training.progressive import ProgressiveStage

from .turns import Steps

MANY_STEPS = 1_000_000


def timm_batches(
    splits: Splits, images: PixelImages, stage: ProgressiveStage, config: TrainConfig, device: Device, *, workers: int
) -> Iterator[Batch]:
    """Epoch after epoch of timm's loader: random crops, mirror images, RandAugment and mixup.

    Args:
        splits: Classes and statistics.
        images: Those that train.
        stage: Size, batch size and strength of regularisation.
        config: Label smoothing, which its mixup applies.
        device: Where batches are brought to.
        workers: Processes that read; 0: this one.
    """
    normalisation = normalisation_of(splits.train)
    loader = create_loader(
        PillowImages(images),  # type: ignore[arg-type]  # any data set whose transform can be set
        input_size=(splits.in_channels, stage.resolution, stage.resolution),
        batch_size=stage.batch_size,
        is_training=True,
        hflip=0.5 if splits.mirror_keeps_label else 0.0,
        auto_augment=f"rand-m{stage.randaugment:g}-mmax30-n2-p1",
        mean=tuple(value / 255 for value in normalisation.mean),
        std=tuple(value / 255 for value in normalisation.std),
        num_workers=workers,
        collate_fn=FastCollateMixup(
            mixup_alpha=stage.mixup, label_smoothing=config.label_smoothing, num_classes=splits.num_classes
        ),
        pin_memory=device.kind == "cuda",
        device=device.torch_device,
    )
    while True:
        yield from loader


class PillowImages(Dataset[tuple[object, int]]):
    """Images from memory, through Pillow, with the transform that timm's loader sets."""

    transform: object = None

    def __init__(self, images: PixelImages) -> None:
        self.arrays = images.pixels.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.labels = images.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[object, int]:
        assert callable(self.transform)
        return self.transform(Image.fromarray(self.arrays[index])), self.labels[index]


@dataclass(slots=True)
class _NoScaler:
    """Backward and step, as timm does them without loss scaling."""

    def __call__(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        loss.backward()
        optimizer.step()


def timm_steps(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    config: TrainConfig,
    mode: ExecutionMode,
    device: Device,
    mixed: bool,
) -> Steps:
    """Train on the batches, one after another.

    Args:
        network: Of the classes and channels of the images.
        batches: Images and labels, or targets where they are mixed; on the device.
        config: Optimizer, learning rate, average and label smoothing.
        mode: Number format and layout.
        device: Where.
        mixed: Whether the batches carry targets, smoothed by mixup, in place of labels.
    """
    network = network.to(device.torch_device).to(memory_format=mode.memory_format).train()
    optimizer = create_optimizer_v2(
        network, opt=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, momentum=0.9
    )
    scaler = NativeScaler(device=device.kind) if mode.dtype == "float16" else _NoScaler()
    assert config.ema_decay is not None
    average = ModelEmaV3(network, decay=config.ema_decay, use_warmup=True)
    loss_of = SoftTargetCrossEntropy() if mixed else LabelSmoothingCrossEntropy(config.label_smoothing)
    scheduler = CosineLRScheduler(optimizer, t_initial=MANY_STEPS, t_in_epochs=False)
    losses = AverageMeter()
    for num_updates, (images, targets) in enumerate(batches, start=1):
        images = images.contiguous(memory_format=mode.memory_format)
        with mode.autocast(device.torch_device):
            loss = loss_of(network(images), targets)
        scaler(loss, optimizer)
        losses.update(loss.item(), len(images))
        optimizer.zero_grad()
        average.update(network, step=num_updates)
        scheduler.step_update(num_updates=num_updates, metric=losses.avg)
        yield len(images)
