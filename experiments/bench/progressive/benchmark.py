"""From what was asked for to a table of cells, each of them an ordinary full training."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nas.cli.console import table_console
from nas.full_training.config import ProgressiveConfig, TrainingConfig
from nas.full_training.directory import TrainingDirectory
from nas.full_training.evaluation import judge, prepare
from nas.full_training.observer import TrainingObserver
from nas.full_training.record import EpochRecord, TrainingRecord
from nas.full_training.run import train
from nas.full_training.trained_network import read_trained
from proxies.device import find_device
from proxies.training.config import DataConfig, TrainConfig
from proxies.training.progressive import PlannedEpoch, ProgressiveStage

from .cells import Cell, read_cells, write_cells
from .fewer_images import SOURCE, write_fewer_images
from .report import table, verdicts

NETWORK = "stem16-er_r1_k3_s1_e1_c16-er_r2_k3_s2_e4_c24-er_r2_k3_s2_e4_c40-ir_r2_k3_s1_e4_c64_se0.25-head256@40"
"""EfficientNetV2's kinds of blocks, 212,340 parameters. Its total stride is 8: where the last map is a single pixel, as
at 16 pixels with a stride of 16, the sides of a kernel see nothing but padding, and learn nothing."""
IMAGE_SIZE = (16, 40)
NUM_STAGES = 4
RANDAUGMENT, MIXUP, DROPOUT = (0.0, 0.0), (0.0, 0.2), (0.0, 0.2)
"""First and last stage. Weak, since these trainings are short: RandAugment costs them points at any magnitude."""
BATCH_SIZE, LR, EMA_DECAY = 64, 4e-3, 0.999
MINIVAL_SHARE = 0.1
VARIANTS = {
    "fixed": ProgressiveConfig(resize="fixed", adaptive=False),
    "progressive": ProgressiveConfig(resize="progressive", adaptive=False),
    "adaptive": ProgressiveConfig(resize="progressive", adaptive=True),
    "random": ProgressiveConfig(resize="random", adaptive=False),
    "random-adaptive": ProgressiveConfig(resize="random", adaptive=True),
}
NUM_SEEDS, NUM_EPOCHS, NUM_IMAGES = 3, 12, 13_000
QUICK_SEEDS, QUICK_EPOCHS, QUICK_IMAGES = 1, 4, 1_280


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole benchmark."""

    out: Path
    variants: tuple[str, ...]
    num_seeds: int
    epochs: int
    num_images: int
    device: str
    mode: str
    threads: int
    data_root: Path | None = None
    """Folder of the whole data set's files; by default where data sets are looked for."""

    @property
    def setting(self) -> str:
        """What all cells have in common."""
        return (
            f"{self.epochs} epochs of {self.num_images} images less {MINIVAL_SHARE:.0%}, "
            f"{IMAGE_SIZE[0]} to {IMAGE_SIZE[1]} px in {NUM_STAGES} stages, RandAugment {_range(RANDAUGMENT)}, "
            f"mixup {_range(MIXUP)}, dropout {_range(DROPOUT)}"
        )

    @property
    def cells_file(self) -> Path:
        return self.out / "cells.csv"

    @property
    def data_folder(self) -> Path:
        return self.out / "data"


def make_plan(
    *,
    out: Path,
    variants: str,
    seeds: int | None,
    epochs: int | None,
    images: int | None,
    device: str,
    mode: str,
    threads: int,
    quick: bool,
) -> Plan:
    """Check what was asked for, and fill in what was not.

    Raises:
        ValueError: If a variant, mode or device is unknown, or the folder holds cells of another setting.
    """
    names = tuple(dict.fromkeys(name.strip() for name in variants.split(",")))
    for name in names:
        if name not in VARIANTS:
            raise ValueError(f"variants must be some of {', '.join(VARIANTS)}, got {name!r}")
    plan = Plan(
        out=out.absolute(),
        variants=names,
        num_seeds=seeds or (QUICK_SEEDS if quick else NUM_SEEDS),
        epochs=epochs or (QUICK_EPOCHS if quick else NUM_EPOCHS),
        num_images=images or (QUICK_IMAGES if quick else NUM_IMAGES),
        device=find_device(device).spec,
        mode=mode,
        threads=threads,
    )
    training_of(plan, names[0], 0)
    read_cells(plan.cells_file, setting=plan.setting)
    return plan


def run_benchmark(plan: Plan) -> None:
    """Train what is not trained yet, and print the table and both verdicts."""
    console = table_console()
    cells = read_cells(plan.cells_file, setting=plan.setting)
    write_fewer_images(plan.data_folder, plan.num_images, root=plan.data_root)
    for variant, seed in _missing(plan, cells):
        with console.status(f"{variant}, seed {seed}"):
            cell = run_cell(plan, variant, seed)
        console.print(f"{variant}, seed {seed}: {cell.accuracy:.2%} in {cell.train_seconds:.0f} s", highlight=False)
        cells.append(cell)
        write_cells(plan.cells_file, cells)
    shown = sorted((cell for cell in cells if cell.variant in plan.variants), key=_place)
    console.print(table(shown), *verdicts(shown), str(find_device(plan.device).identity()), sep="\n", highlight=False)


def run_cell(plan: Plan, variant: str, seed: int) -> Cell:
    """Train, or finish what was begun, and judge by the test images."""
    config, observer = training_of(plan, variant, seed), CpuSeconds()
    record = train(config, observer)
    trained = read_trained(TrainingDirectory(config.out), "last")
    exam = prepare(trained, config.data, part="test", sizes=[record.test_size])
    score = judge(exam, device=find_device(plan.device)).results[0].score
    return Cell(
        setting=plan.setting,
        variant=variant,
        seed=seed,
        num_correct=score.num_correct,
        num_judged=score.num_images,
        train_seconds=sum(epoch.train_seconds for epoch in record.epochs),
        cpu_seconds=observer.seconds if observer.has_seen_all else None,
        num_trained=sum(epoch.num_trained for epoch in record.epochs),
    )


def training_of(plan: Plan, variant: str, seed: int) -> TrainingConfig:
    """The training of a cell."""
    return TrainingConfig(
        architecture=NETWORK,
        data=DataConfig(source=SOURCE, root=plan.data_folder, minival_share=MINIVAL_SHARE),
        train=TrainConfig(batch_size=BATCH_SIZE, lr=LR, ema_decay=EMA_DECAY),
        progressive=VARIANTS[variant].model_copy(
            update={
                "image_size": IMAGE_SIZE,
                "num_stages": NUM_STAGES,
                "randaugment": RANDAUGMENT,
                "mixup": MIXUP,
                "cutmix": (0.0, 0.0),
                "dropout": DROPOUT,
            }
        ),
        epochs=plan.epochs,
        mode=plan.mode,
        seed=seed,
        threads=plan.threads,
        device=plan.device,
        out=plan.out / f"{variant}-{seed}",
    )


@dataclass(slots=True)
class CpuSeconds(TrainingObserver):
    """CPU time of a training's steps and checkpoints: what a clock would show if nothing else ran on the cores."""

    clock: Callable[[], float] = time.process_time
    seconds: float = 0.0
    has_seen_all: bool = False
    """Whether the training was never interrupted."""
    _start: float = field(default=0.0)

    def planned(self, record: TrainingRecord, *, notes: tuple[str, ...], steps_done: int, num_steps: int) -> None:
        self.has_seen_all, self._start = steps_done == 0, self.clock()

    def judging(self, planned: PlannedEpoch) -> None:
        self.seconds += self.clock() - self._start

    def epoch(self, record: EpochRecord, stage: ProgressiveStage, *, is_best: bool) -> None:
        self._start = self.clock()


def _missing(plan: Plan, cells: list[Cell]) -> Iterator[tuple[str, int]]:
    """Seed by seed, so that what is compared is trained one after another."""
    done = {(cell.variant, cell.seed) for cell in cells}
    for seed in range(plan.num_seeds):
        yield from ((variant, seed) for variant in plan.variants if (variant, seed) not in done)


def _place(cell: Cell) -> tuple[int, int]:
    return list(VARIANTS).index(cell.variant), cell.seed


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"
