"""A training by hand: its record, and a directory of it as far as reports read one."""

import json
from dataclasses import replace
from pathlib import Path

from nas.full_training.directory import TrainingDirectory
from nas.full_training.record import EpochRecord, Event, State, TrainingRecord, write_record
from proxies.training.progressive import ProgressiveStage

ARCHITECTURE = "stem8-er_r1_k3_s1_e1_c8-er_r1_k3_s2_e2_c12-ir_r1_k3_s2_e3_c16_se0.25-head32@16"
STAGES = (
    ProgressiveStage(epochs=2, resolution=8, batch_size=64, lr_scale=2.0, randaugment=5.0, drop_rate=0.1),
    ProgressiveStage(
        epochs=2, resolution=12, batch_size=64, micro_batches=2, randaugment=10.0, mixup=0.1, cutmix=0.1, drop_rate=0.2
    ),
    ProgressiveStage(epochs=3, resolution=16, batch_size=32, randaugment=15.0, mixup=0.2, cutmix=0.2, drop_rate=0.3),
)


def stage_of(epoch: int) -> int:
    """Number of the stage that an epoch belongs to."""
    last = 0
    for number, stage in enumerate(STAGES, 1):
        last += stage.epochs
        if epoch <= last:
            return number
    raise ValueError(f"the training has {last} epochs, got epoch {epoch}")


def epoch_record(epoch: int, *, train_loss: float | None = None, with_ema: bool = True) -> EpochRecord:
    """An epoch that is better than the one before."""
    return EpochRecord(
        epoch=epoch,
        stage=stage_of(epoch),
        train_loss=2.0 / epoch if train_loss is None else train_loss,
        learning_rate=0.01 * 0.97**epoch,
        num_trained=1408,
        train_seconds=2.0 + epoch,
        eval_seconds=0.5,
        num_correct=100 + 5 * epoch,
        ema_num_correct=90 + 8 * epoch if with_ema else None,
        num_judged=180,
    )


def training_record(
    *, epochs: int = 0, state: State = "running", events: tuple[Event, ...] = (), with_ema: bool = True
) -> TrainingRecord:
    return TrainingRecord(
        architecture=ARCHITECTURE,
        num_classes=10,
        in_channels=1,
        class_names=tuple("0123456789"),
        source="digits",
        num_train=1437,
        num_judged=180,
        judged_by="minival",
        normalisation_mean=(77.8,),
        normalisation_std=(95.9,),
        test_size=20,
        initial_weights=None,
        mode="float32-channels_last",
        device="a device",
        world_size=1,
        stages=STAGES,
        epochs=tuple(epoch_record(epoch, with_ema=with_ema) for epoch in range(1, epochs + 1)),
        events=events,
        state=state,
    )


def write_training(path: Path, record: TrainingRecord) -> TrainingDirectory:
    """A directory with a record, a configuration and an environment, and nothing else."""
    directory = TrainingDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    write_record(record, directory.record_file)
    directory.config_file.write_text("architecture: tiny\nseed: 0\n", encoding="utf-8")
    directory.environment_file.write_text(json.dumps({"device": "a device", "versions": {"torch": "2.x"}}))
    return directory


def diverged_record() -> TrainingRecord:
    """It stopped in its fourth epoch, after three attempts."""
    text = "the loss was not finite at step 70; the learning rate is halved"
    events = tuple(Event(epoch=4, kind="rolled back", text=text) for _ in range(3))
    return replace(training_record(epochs=3), state="diverged", events=events)
