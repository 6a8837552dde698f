"""What a full training shows while it runs: its schedule, images a second, time left, and a line for each epoch."""

import time

from rich.console import Console

from proxies.training.progressive import PlannedEpoch, ProgressiveStage

from ..full_training.config import TrainingConfig
from ..full_training.observer import TrainingObserver
from ..full_training.record import EpochRecord, Event, TrainingRecord
from ..quantities import duration, percent
from .live_display import LiveDisplay
from .training_tables import epoch_line, schedule_table


class TrainingDisplay(LiveDisplay, TrainingObserver):
    """A live display on a terminal; one line for each epoch elsewhere."""

    def __init__(self, config: TrainingConfig, console: Console | None = None) -> None:
        self._config = config
        super().__init__(console)
        self._task = self._progress.add_task("starting", total=None, note="")
        self._stages: tuple[ProgressiveStage, ...] = ()
        self._num_epochs = 0
        self._shown = time.monotonic()
        self._images = 0
        self._images_since = time.monotonic()

    def preparing(self, doing: str) -> None:
        # Not before: of several processes only the first is told anything.
        self._progress.start()
        self._progress.update(self._task, description=doing)

    def planned(self, record: TrainingRecord, *, notes: tuple[str, ...], steps_done: int, num_steps: int) -> None:
        self._stages, self._num_epochs = record.stages, record.num_epochs
        processes = f" · {record.world_size} processes" if record.world_size > 1 else ""
        self._print(
            f"{record.source}: {record.num_train:,} images to learn from, {record.num_judged:,} to judge by, "
            f"{record.num_classes} classes · {record.device} · {record.mode}{processes}"
        )
        for note in notes:
            self._print(note)
        self._console.print(schedule_table(record.stages))
        self._print(
            f"judged at {record.test_size} px · {num_steps:,} steps · peak learning rate {self._config.train.lr:g} "
            f"where lr is × 1 · {self._config.out}"
        )
        if steps_done:
            self._print(f"resuming after step {steps_done:,}, epoch {len(record.epochs) + 1} of {record.num_epochs}")
        # Progress is weighted by pixels: a step at a small size is a small part of the work.
        self._progress.update(self._task, description="training", total=_pixels(record.stages, record.num_epochs))

    def stepped(self, planned: PlannedEpoch, *, steps_done: int) -> None:
        self._images += planned.stage.batch_size
        now = time.monotonic()
        if now - self._shown < 0.2:
            return
        self._shown = now
        done = planned.progress(steps_done)
        speed = self._images / max(1e-9, now - self._images_since)
        self._progress.update(
            self._task,
            description=f"stage {planned.stage_number + 1}, {planned.stage.resolution} px",
            completed=_pixels(self._stages, done),
            note=f"epoch {done:.1f}/{self._num_epochs} · {speed:.0f} images/s",
        )

    def judging(self, planned: PlannedEpoch) -> None:
        self._progress.update(self._task, description="judging")

    def epoch(self, record: EpochRecord, stage: ProgressiveStage, *, is_best: bool) -> None:
        self._print(epoch_line(record, stage, num_epochs=self._num_epochs) + (" · best" if is_best else ""))
        self._images, self._images_since = 0, time.monotonic()

    def happened(self, event: Event) -> None:
        self._print(f"epoch {event.epoch}: {event.kind}: {event.text}")

    def complained(self, text: str) -> None:
        self._print(text)

    def finished(self, record: TrainingRecord) -> None:
        self.close()
        best, out = record.best, self._config.out
        if best is None:
            return
        accuracy = percent(best.judged_accuracy, best.judged_standard_error)
        spent = sum(entry.train_seconds + entry.eval_seconds for entry in record.epochs)
        self._print(
            f"best: epoch {best.epoch}, A {accuracy} on {record.judged_by} "
            f"at {record.test_size} px, after {duration(spent)}"
        )
        self._print(f"weights: {out / 'weights.safetensors'} · test images: nas evaluate {out} · nas report {out}")


def _pixels(stages: tuple[ProgressiveStage, ...], epochs_done: float) -> float:
    """Pixels of an image, summed over the epochs done."""
    total = 0.0
    for stage in stages:
        here = min(max(0.0, epochs_done), stage.epochs)
        total, epochs_done = total + here * stage.resolution**2, epochs_done - here
    return total
