"""A full training on its way: epochs judged and recorded, checkpoints kept in time, divergence rolled back."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from proxies.device import Device
from proxies.evaluation import Score, evaluate
from proxies.infeasible import MemoryInfeasibleError
from proxies.micro_batches import MIN_IMAGES, most_micro_batches
from proxies.training.loop import EpochDone, NonFiniteLossError
from proxies.training.progressive import PlannedEpoch, ProgressiveStage, TrainingPlan

from ..run_lock import RunLock
from .config import JUDGE_STEPS, TrainingConfig
from .directory import TrainingDirectory
from .keeping import Keeper
from .observer import TrainingObserver
from .points import Points
from .preparation import Built, Images
from .record import EpochRecord, Event, State, TrainingRecord, parse_record
from .trackers import Trackers

MAX_ROLLBACKS = 3
SMALLER = 0.5
"""Factor of the learning rate after a roll-back."""
CHECK_STEPS = 50
"""Steps between looks at the loss, each of which waits for the device."""
AGREE_STEPS = 10
"""Steps between agreements of several processes whether to stop; one alone looks after every step."""


_NOTHING: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
"""Since the last judgement: epochs, the sum of their losses, images trained on, seconds."""


class StoppedTrainingError(Exception):
    """A signal asked for an end; everything is kept."""


class DivergedTrainingError(Exception):
    """The loss was not finite again after the last roll-back."""


class Session:
    """One start of a training, in one of its processes."""

    def __init__(
        self,
        config: TrainingConfig,
        directory: TrainingDirectory,
        record: TrainingRecord,
        built: Built,
        images: Images,
        *,
        device: Device,
        observer: TrainingObserver,
        trackers: Trackers,
        is_stopping: Callable[[], bool],
        lock: RunLock | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._record = record
        self._training = built.training
        self._images = images
        self._device = device
        self._processes = built.training.processes
        self._keeper = Keeper(directory=directory, settings=built.settings, processes=self._processes, lock=lock)
        self._observer = observer
        self._trackers = trackers
        self._is_stopping = is_stopping
        self._clock = clock
        self._rollbacks = 0
        self._rolled_back_to: int | None = None
        self._since = _NOTHING
        self._kept_s = clock()
        self._points = Points(trackers)
        self._skipped: set[str] = set()

    @property
    def record(self) -> TrainingRecord:
        return self._record

    def take_up(self, state: dict[str, Any], stages: tuple[ProgressiveStage, ...] | None = None) -> None:
        """Stand where a checkpoint was taken.

        Args:
            state: What the checkpoint holds.
            stages: In place of those it was taken in; of as many steps.
        """
        here = self._record
        stages = stages or here.stages
        self._record = replace(
            parse_record(state["record"]), stages=stages, world_size=here.world_size, device=here.device
        )
        self._since = tuple(map(float, state["since"]))
        self._rollbacks = int(state["rollbacks"])
        self._training.plan = TrainingPlan(stages=self._record.stages, num_images=self._record.num_train)
        self._training.load_state(state["training"])

    @property
    def steps_done(self) -> int:
        return self._training.steps_done

    def start(self) -> None:
        """Keep the first checkpoint of a new training: what cannot be written is found out at once."""
        self._keep()

    def resume(self) -> None:
        """Go on from where a checkpoint was taken."""
        self._record = replace(self._record, state="running")
        best = self._record.best
        if best is not None and self._stands_after(best):
            self._keep_best(best)
        self._happened("resumed", f"from step {self._training.steps_done}")

    def run(self) -> TrainingRecord:
        """Train to the end.

        Raises:
            StoppedTrainingError: If a signal asked for it; everything is kept.
            DivergedTrainingError: If the loss is not finite after the last roll-back.
            MemoryInfeasibleError: If even the smallest parts of a batch do not fit.
            OSError: If something cannot be written; the last checkpoint stays.
        """
        while not self._has_finished():
            try:
                with self._device.out_of_memory_is_infeasible():
                    self._train()
            except NonFiniteLossError as error:
                self._roll_back(str(error))
            except MemoryInfeasibleError:
                self._take_smaller_parts()
        self._end("finished")
        return self._record

    def _has_finished(self) -> bool:
        return bool(self._record.epochs) and self._record.epochs[-1].epoch == self._record.num_epochs

    def _stands_after(self, entry: EpochRecord) -> bool:
        ends = {epoch.number + 1: epoch.first_step + epoch.num_steps for epoch in self._training.plan.epochs()}
        return ends[entry.epoch] == self._training.steps_done

    def _train(self) -> None:
        for done in self._training.epochs(self._images.train, after_step=self._after_step):
            self._end_epoch(done)

    def _after_step(self, planned: PlannedEpoch) -> None:
        steps_done = self._training.steps_done
        self._observer.stepped(planned, steps_done=steps_done)
        self._points.tell(self._training, planned)
        if steps_done % CHECK_STEPS == 0:
            self._training.mean_loss(planned)
        if self._processes.size > 1 and steps_done % AGREE_STEPS:
            return
        stops, keeps = self._agreed()
        if stops or keeps:
            self._training.mean_loss(planned)
            self._keep()
        if stops:
            self._end("stopped")
            raise StoppedTrainingError

    def _agreed(self) -> tuple[bool, bool]:
        """Whether to stop, and whether to keep a checkpoint: one process's wish is everybody's."""
        is_due = self._clock() - self._kept_s > 60 * self._config.checkpoint_minutes
        if self._processes.size == 1:
            return self._is_stopping(), is_due
        wishes = torch.tensor([self._is_stopping(), is_due], dtype=torch.float32, device=self._device.torch_device)
        stops, keeps = self._processes.sum(wishes).tolist()
        return stops > 0, keeps > 0

    def _end_epoch(self, done: EpochDone) -> None:
        self._observer.stepped(done.planned, steps_done=self._training.steps_done)
        self._since = tuple(map(sum, zip(self._since, _sums(done), strict=True)))
        if not self._is_judged(done.planned):
            self._after_epoch()
            return
        self._keeper.require_finite(self._training)
        self._observer.judging(done.planned)
        entry = self._judge(done)
        self._since = _NOTHING
        self._record = replace(self._record, epochs=(*self._record.epochs, entry))
        is_best = self._record.best == entry
        self._observer.epoch(entry, done.planned.stage, is_best=is_best)
        self._trackers.epoch(entry, done.planned.stage, step=self._training.steps_done)
        self._tell_skipped()
        self._rolled_back_to = None
        # In this order: whoever goes on from the checkpoint can write the best weights again, but not take them back.
        self._keep(is_judged=True)
        if is_best:
            self._keep_best(entry)
        if not self._has_finished():
            self._after_epoch()

    def _is_judged(self, planned: PlannedEpoch) -> bool:
        """Epochs of a step or two are not judged one by one; the last one always is."""
        every = self._config.judge_every or -(-JUDGE_STEPS // planned.num_steps)
        return (planned.number + 1) % every == 0 or planned.number + 1 == self._record.num_epochs

    def _after_epoch(self) -> None:
        stops, keeps = self._agreed()
        if stops or keeps:
            self._keep()
        if stops:
            self._end("stopped")
            raise StoppedTrainingError

    def _tell_skipped(self) -> None:
        """Once of every image that cannot be read, in the epoch that met it."""
        met = self._images.train.skipped + self._images.minival.skipped
        new = [name for name in dict.fromkeys(met) if name not in self._skipped]
        if new:
            self._happened("skipped images", f"{len(new)} that cannot be read, the first is {new[0]}")
        self._skipped |= set(new)

    def _judge(self, done: EpochDone) -> EpochRecord:
        num_epochs, loss, num_trained, seconds = self._since
        start, step = self._clock(), self._training.step
        score = self._score(step.network)
        averaged = None if step.ema is None else self._score(step.ema.module)
        return EpochRecord(
            epoch=done.planned.number + 1,
            stage=done.planned.stage_number + 1,
            train_loss=loss / num_epochs,
            learning_rate=done.learning_rate,
            num_trained=round(num_trained),
            train_seconds=seconds,
            eval_seconds=self._clock() - start,
            num_correct=score.num_correct,
            ema_num_correct=None if averaged is None else averaged.num_correct,
            num_judged=score.num_images,
        )

    def _score(self, network: nn.Module) -> Score:
        self._processes.share_statistics(network)
        part = min(stage.batch_size // stage.micro_batches for stage in self._record.stages)
        return evaluate(
            network,
            self._images.minival,
            batch_size=max(1, part // self._processes.size),
            resolution=self._record.test_size,
            mode=self._training.step.mode,
            device=self._device,
            processes=self._processes,
        )

    def _keep(self, *, is_judged: bool = False) -> None:
        progress = {"rollbacks": self._rollbacks, "since": list(self._since)}
        self._keeper.keep(self._training, self._record, progress, is_judged=is_judged)
        self._kept_s = self._clock()

    def _keep_best(self, entry: EpochRecord) -> None:
        self._keeper.keep_best(self._training.step, self._record, epoch=entry.epoch)

    def _roll_back(self, reason: str) -> None:
        """Go back to the last checkpoint, with a smaller learning rate from there on."""
        if self._rollbacks == MAX_ROLLBACKS:
            self._end("diverged")
            raise DivergedTrainingError(f"{reason}, after {MAX_ROLLBACKS} roll-backs with smaller learning rates")
        rollbacks, events = self._rollbacks + 1, self._record.events
        self.take_up(self._keeper.newest())
        if self._rolled_back_to == self.steps_done:
            # Twice to the same place: what was kept there is not as good as it looks.
            self.take_up(self._keeper.judged())
        self._rolled_back_to, self._rollbacks = self.steps_done, rollbacks
        self._record = replace(self._record, events=events)
        self._training.lr_factor = SMALLER**self._rollbacks
        text = f"{reason}; back to step {self._training.steps_done}, learning rate × {self._training.lr_factor:g}"
        self._happened("rolled back", text)
        self._trackers.rewind(step=self._training.steps_done)
        self._keep()

    def _take_smaller_parts(self) -> None:
        """After a real lack of memory: the stage it happened in and those after it take twice as many parts.

        The step that failed may have moved some weights and not others, so the training goes back to what was kept.

        Raises:
            MemoryInfeasibleError: If parts cannot be smaller, or other processes wait for this one's gradients.
        """
        stages, current = self._record.stages, self._epoch()
        place, number = current.stage_number, current.number + 1
        parts = 2 * stages[place].micro_batches
        if self._processes.size > 1:
            raise MemoryInfeasibleError(f"out of memory in epoch {number}; go on with --set micro_batches={parts}")
        if stages[place].batch_size // parts < MIN_IMAGES:
            raise MemoryInfeasibleError(f"out of memory in epoch {number}; smaller train.batch_size needs less")
        smaller = tuple(
            replace(stage, micro_batches=max(stage.micro_batches, min(parts, most_micro_batches(stage.batch_size))))
            for stage in stages[place:]
        )
        self.take_up(self._keeper.newest(), stages=(*stages[:place], *smaller))
        self._happened("rolled back", f"out of memory; batches in {parts} parts from step {self._training.steps_done}")
        self._trackers.rewind(step=self._training.steps_done)
        self._keep()

    def _epoch(self) -> PlannedEpoch:
        """The one it stands in; at the very end the last."""
        epochs = list(self._training.plan.epochs())
        return next((each for each in epochs if self.steps_done < each.first_step + each.num_steps), epochs[-1])

    def _happened(self, kind: Literal["resumed", "rolled back", "skipped images"], text: str) -> None:
        event = Event(epoch=self._epoch().number + 1, kind=kind, text=text)
        self._record = replace(self._record, events=(*self._record.events, event))
        self._observer.happened(event)
        self._trackers.event(event, step=self._training.steps_done)

    def _end(self, state: State) -> None:
        self._record = replace(self._record, state=state)
        self._keeper.keep_record(self._record)
        self._trackers.close(state)


def _sums(done: EpochDone) -> tuple[float, ...]:
    return 1.0, done.train_loss, float(done.num_trained), done.train_seconds
