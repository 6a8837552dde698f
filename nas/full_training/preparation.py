"""All that a full training needs, made from its configuration: images, schedule, network, and where it stands."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from proxies.activation_checkpointing import checkpoint_activations
from proxies.complexity import count_params
from proxies.data.batches import Batches
from proxies.data.passes import num_steps
from proxies.data.split import Splits
from proxies.device import Device
from proxies.device_lease import DeviceLease
from proxies.execution import PLAIN, ExecutionMode, parse_mode
from proxies.fastest_mode import find_fastest_mode
from proxies.memory import predict_peak_memory
from proxies.proxy_data import GIB, ProxyData, load_splits, make_proxy_data
from proxies.training.config import Fidelity
from proxies.training.distributed import Processes
from proxies.training.loop import Training
from proxies.training.progressive import ProgressiveStage, TrainingPlan
from proxies.training.schedule import learning_rate_of
from proxies.training_step import make_training_step
from search_spaces.architecture import parse
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import load_pretrained

from .config import TrainingConfig
from .record import TrainingRecord
from .stages import first_and_last_size, in_fitting_parts, num_epochs, stages_of

_SHARE_OF_MEMORY = 0.9
"""The rest is left to what no prediction counts: the allocator's gaps, cuDNN's working memory, other programs."""
_MODE_BUDGET_S = 20.0
_MODE_BATCH = 64
"""Images at most, of the steps that tell which mode is fastest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """What a training learns from and is judged by."""

    splits: Splits
    data: ProxyData

    @property
    def train(self) -> Batches:
        return self.data.train

    @property
    def minival(self) -> Batches:
        return self.data.minival


def read_images(config: TrainingConfig, device: Device) -> Images:
    """Load and split the images: as a search does, at fidelity 1.

    Raises:
        ValueError: In one line, if they cannot be had or split.
    """
    splits = load_splits(config.data)
    data = make_proxy_data(
        splits,
        config=config.train,
        fidelity=Fidelity(),
        device=device,
        data_seed=config.data.split_seed,
        memory_limit_bytes=config.data.memory_limit_gib * GIB,
        num_workers=config.data.num_workers,
    )
    return Images(splits=splits, data=data)


def plan_training(config: TrainingConfig, images: Images, *, device: Device, processes: Processes) -> TrainingRecord:
    """Decide what a training will do: its stages, and the mode its steps are executed in.

    Raises:
        ValueError: If the schedule cannot be made.
    """
    # Before anything is measured: the process keeps what it used then, and the system counts that as taken.
    sizes = first_and_last_size(config, len(images.train))
    memory_bytes = _memory_bytes(config, device, processes, images, sizes)
    if config.sync_batch_norm and (device.kind != "cuda" or processes.size == 1):
        raise ValueError(
            f"sync_batch_norm needs several processes on CUDA, got {processes.size} on {device.kind}; leave it false"
        )
    mode = processes.object_from_first(_find_mode(config, images, device) if processes.is_first else PLAIN)
    stages = stages_of(
        config,
        num_images=len(images.train),
        peak_memory=lambda stage: _peak_memory(config, images, stage, mode, device, processes.size),
        memory_bytes=memory_bytes,
        world_size=processes.size,
    )
    architecture = replace(config.parsed(), resolution=sizes[-1])
    return TrainingRecord(
        architecture=str(architecture),
        num_classes=images.splits.num_classes,
        in_channels=images.splits.in_channels,
        class_names=images.splits.class_names,
        source=config.data.source,
        data_digest=images.splits.digest(),
        num_train=len(images.train),
        num_judged=len(images.minival),
        judged_by="minival",
        normalisation_mean=images.data.normalisation.mean,
        normalisation_std=images.data.normalisation.std,
        test_size=config.test_size or architecture.resolution,
        initial_weights=None if config.weights is None else str(config.weights),
        mode=str(mode),
        device=str(device.identity()),
        world_size=processes.size,
        stages=stages,
    )


def plan_again(
    config: TrainingConfig, record: TrainingRecord, images: Images, *, device: Device, processes: Processes
) -> TrainingRecord:
    """A plan that was made elsewhere, or for other processes: the same stages, in parts that fit here.

    Raises:
        ValueError: If the processes cannot share its batches.
    """
    here = str(device.identity())
    stages = record.stages
    if config.micro_batches is not None or (record.world_size, record.device) != (processes.size, here):
        stages = in_fitting_parts(
            stages,
            config,
            peak_memory=lambda stage: _peak_memory(
                config, images, stage, parse_mode(record.mode), device, processes.size
            ),
            memory_bytes=_memory_bytes(config, device, processes, images, [stage.resolution for stage in stages]),
            world_size=processes.size,
        )
    return replace(record, stages=stages, world_size=processes.size, device=here)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A training at its first step."""

    training: Training
    settings: NetworkSettings
    """What the network's logits depend on beside its weights."""
    notes: tuple[str, ...]
    """What was done to the weights that it starts from, a sentence each."""


def build_training(
    config: TrainingConfig,
    record: TrainingRecord,
    *,
    device: Device,
    processes: Processes,
    settings: NetworkSettings | None = None,
) -> Built:
    """Build the network, with weights to start from where there are any.

    Args:
        config: What is asked for.
        record: What was planned.
        device: Where.
        processes: That train together.
        settings: Of the network, where a checkpoint holds its weights and those to start from are no longer needed.

    Raises:
        ValueError: If the weights do not fit.
    """
    settings, network, notes = _network(config, record, settings)
    plan = TrainingPlan(stages=record.stages, num_images=record.num_train)
    step = make_training_step(
        network,
        config=config.train,
        mode=parse_mode(record.mode),
        device=device,
        world_size=processes.size,
        sync_batch_norm=config.sync_batch_norm,
    )
    if config.activation_checkpointing:
        checkpoint_activations(step.network)
    training = Training(
        step=step,
        plan=plan,
        learning_rate=learning_rate_of(config.train, plan.num_epochs),
        seed=config.seed,
        num_classes=record.num_classes,
        processes=processes,
    )
    return Built(training=training, settings=settings, notes=notes)


@contextmanager
def reproducible(config: TrainingConfig, device: Device) -> Iterator[None]:
    """Set threads, and where asked for allow no kernel whose result differs from run to run; all is put back."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    if config.threads is not None or (config.deterministic and device.kind == "cpu"):
        torch.set_num_threads(config.threads or 1)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS has no deterministic kernels
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = benchmark


def _network(
    config: TrainingConfig, record: TrainingRecord, settings: NetworkSettings | None
) -> tuple[NetworkSettings, nn.Module, tuple[str, ...]]:
    rates = (config.train.drop_rate, config.train.drop_path_rate)
    architecture = parse(record.architecture)
    if settings is not None:
        return settings, settings.build(*rates), ()
    if config.weights is None:
        asked = NetworkSettings(
            architecture=architecture,
            num_classes=record.num_classes,
            in_channels=record.in_channels,
            padding=config.padding or "",
            norm_eps=config.norm_eps or 1e-3,
        )
        return asked, asked.build(*rates), ()
    pretrained = load_pretrained(
        architecture,
        config.weights,
        num_classes=record.num_classes,
        in_channels=record.in_channels,
        padding=config.padding,
        norm_eps=config.norm_eps,
    )
    network = pretrained.settings.build(*rates)
    network.load_state_dict(pretrained.network.state_dict())
    return pretrained.settings, network, pretrained.notes


def _find_mode(config: TrainingConfig, images: Images, device: Device) -> ExecutionMode:
    if config.mode != "auto":
        return parse_mode(config.mode)
    if config.deterministic:
        # What is measured fastest may differ from start to start.
        dtype = "float32" if config.dtype == "auto" else config.dtype
        return ExecutionMode(dtype=dtype, channels_last=True, small_maps=device.slow_on_small_maps)
    architecture, splits, num_images = config.parsed(), images.splits, len(images.train)
    # Beside other trainings, if need be: modes are compared in turn, and nobody wants to wait a week for it.
    with DeviceLease(device.lease_name).shared():
        choice = find_fastest_mode(
            architecture,
            device=device,
            batch_size=min(config.train.batch_size, len(images.train), _MODE_BATCH),
            resolution=first_and_last_size(config, num_images)[-1],
            num_classes=splits.num_classes,
            in_channels=splits.in_channels,
            planned_steps=num_epochs(config, num_images) * num_steps(num_images, config.train.batch_size),
            config=config.train,
            dtypes=None if config.dtype == "auto" else ("float32", config.dtype),
            budget_s=_MODE_BUDGET_S,
        )
    return choice.mode


def _peak_memory(
    config: TrainingConfig,
    images: Images,
    stage: ProgressiveStage,
    mode: ExecutionMode,
    device: Device,
    world_size: int,
) -> int:
    splits = images.splits
    weights = 4 * count_params(config.parsed(), splits.num_classes)
    copies = (config.train.ema_decay is not None) + (world_size > 1)  # their average, gradients on their way
    return copies * weights + predict_peak_memory(
        config.parsed(),
        batch_size=stage.batch_size // world_size,
        resolution=stage.resolution,
        mode=mode,
        num_classes=splits.num_classes,
        in_channels=splits.in_channels,
        optimizer=config.train.optimizer,
        micro_batches=stage.micro_batches,
        activation_checkpointing=config.activation_checkpointing,
        device_kind=device.kind,
    )


def _memory_bytes(
    config: TrainingConfig, device: Device, processes: Processes, images: Images, sizes: Sequence[int]
) -> float:
    """For a step; the same in every process: the least that any of them has, less what the images will take."""
    if config.memory_gib is not None:
        return config.memory_gib * GIB
    held = max(images.train.held_bytes(size) for size in sizes) + images.minival.held_bytes(sizes[-1])
    on_one_device = processes.local_size if device.kind == "cpu" else 1
    free = _SHARE_OF_MEMORY * device.free_memory() / on_one_device - held
    own = torch.tensor(max(0.0, free), device=device.torch_device)
    return processes.least(own).item()
