"""What a worker does: look at the images, prepare the run, judge one candidate. Runs in workers; imports torch."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from proxies.accuracy import AccuracyProxy
from proxies.accuracy_result import AccuracyResult, EpochProgress
from proxies.complexity import count_params
from proxies.data.decoding import ImageError
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode, parse_mode
from proxies.fastest_mode import ModeChoice
from proxies.micro_batches import retry_in_parts
from proxies.step_time import StepTime
from proxies.trial_checkpoint import InterruptedTrainingError, TrialCheckpoint
from search_spaces.architecture import Architecture, parse

from .config import SearchConfig
from .evaluation_tasks import (
    AccuracyRecord,
    Calibrate,
    DataFacts,
    EpochReport,
    Evaluation,
    Inspect,
    Inspection,
    Judge,
    Measure,
    Measurement,
    Preparation,
    Prepare,
    Retrain,
)
from .executors.interface import Evaluate, InterruptedTaskError, RefusedError, Report
from .target_timing import TargetTiming
from .trial_checkpoints import KeptTraining, make_checkpoint_folder

Result = TypeVar("Result")


class Evaluator(Evaluate):
    """Does a worker's tasks; holds what they share: the images, the device, the modes of execution."""

    def __init__(self, config: SearchConfig, worker: int) -> None:
        """
        Raises:
            RefusedError: If the device or the images cannot be had.
        """
        torch.set_num_threads(threads_of_worker(config))
        self._config = config
        self._is_interrupted = self._has_trained = False
        self._other: AccuracyProxy | None = None
        self._share_of_memory = share_of_memory(config)
        self._has_told_where = False
        self._backbone = config.search_space().backbone
        try:
            self._device = worker_device(config.device, worker)
            target = find_device(config.step_time.device) if config.step_time.device else self._device
            # Reading images is work too, that must not fall into somebody's measurement.
            with DeviceLease(self._device.lease_name).shared():
                self._proxy = AccuracyProxy(
                    data=config.data, train=config.train, fidelity=config.fidelity, device=self._device
                )
        except ValueError as error:
            raise RefusedError(str(error)) from error
        self._timing = TargetTiming(
            config=config,
            device=target,
            threads=config.step_time.threads or torch.get_num_threads(),
            num_classes=self._proxy.num_classes,
            in_channels=self._proxy.in_channels,
        )

    def interrupt(self) -> None:
        self._is_interrupted = True

    def expect(self) -> None:
        self._is_interrupted = False

    @property
    def is_spent(self) -> bool:
        return self._has_trained and self._device.kind == "cuda"

    def __call__(self, work: object, report: Report) -> object:
        if not isinstance(work, Judge | Retrain):
            report = self._or_interrupted(report)
        match work:
            case Inspect(with_canary=with_canary):
                return self._inspect(with_canary)
            case Prepare():
                return self._prepare(work, report)
            case Calibrate(preparation=preparation):
                return self._timing_of(preparation).calibrate(preparation, report)
            case Judge():
                return self._judge(work, report)
            case Measure():
                return self._measure_finalist(work, report)
            case Retrain():
                return self._train(work, report)
        raise TypeError(f"a worker knows no such task: {work!r}")

    def _or_interrupted(self, report: Report) -> Report:
        """What is not a training keeps nothing, and ends at once."""

        def checked(fraction: float, doing: str, found: object = None) -> None:
            if self._is_interrupted:
                raise InterruptedTaskError
            report(fraction, doing, found)

        return checked

    def _inspect(self, with_canary: bool) -> Inspection:
        splits = self._proxy.splits
        with DeviceLease(self._device.lease_name).shared():
            digest = self._proxy.data_digest  # reads all images
        data = DataFacts(
            source=self._config.data.source,
            num_classes=self._proxy.num_classes,
            in_channels=self._proxy.in_channels,
            num_train=len(splits.train),
            num_minival=len(splits.minival),
            digest=digest,
        )
        return Inspection(
            data=data,
            hardware=self._hardware,
            device=str(self._device.identity()),
            target=self._timing.identity(),
            canary_s=self._timing.canary_s() if with_canary else None,
        )

    @property
    def _hardware(self) -> str:
        """Of the devices that train and that are timed."""
        names = dict.fromkeys(f"{device.name} ({device.kind})" for device in (self._device, self._timing.device))
        return ", ".join(names)

    def _timing_of(self, preparation: Preparation) -> TargetTiming:
        """The timing of a run: with its threads, however many workers there are now, and on its device alone.

        Raises:
            RefusedError: If the device here is another one.
        """
        if preparation.hardware != self._hardware:
            raise RefusedError(
                f"step time counts on {preparation.hardware}, got {self._hardware}: name one device, by "
                "step_time.device, or by step_time.targets on a cluster"
            )
        self._device.limit_memory(1.0)
        return replace(self._timing, threads=preparation.step_threads)

    def _mode_of(self, preparation: Preparation) -> ExecutionMode:
        """The execution mode of a run's trainings; elsewhere than where it was chosen, what certainly works of it."""
        mode = parse_mode(preparation.mode)
        if preparation.hardware == self._hardware:
            return mode
        return replace(mode, dtype="float32", small_maps=False, compile=False)

    def _prepare(self, work: Prepare, report: Report) -> Preparation:
        report(0.0, "finding the fastest correct execution mode")
        with DeviceLease(self._device.lease_name).exclusive():
            choice = self._proxy.find_mode(self._backbone)
        step_mode = self._find_step_mode(choice.mode, work)
        report(0.5, "measuring the backbone's step time")
        canary_s = work.table.canary_s if work.table else None
        backbone = self._timing.one_visit(self._backbone, step_mode, canary_s=canary_s)
        data = work.inspection.data
        return Preparation(
            data=data,
            mode=str(choice.mode),
            step_mode=str(step_mode),
            mode_seconds=_mode_seconds(choice),
            hardware=work.inspection.hardware,
            device=work.inspection.device,
            step_threads=self._timing.threads,
            canary_s=backbone.reference_s,
            target_kind=self._timing.device.kind,
            is_target_here=work.is_target_here,
            step_time_ref_s=backbone.median_s,
            params_ref=count_params(self._backbone, data.num_classes, data.in_channels),
            training_seconds=self._proxy.planned_steps * _mode_seconds(choice)[str(choice.mode)],
        )

    def _find_step_mode(self, training_mode: ExecutionMode, work: Prepare) -> ExecutionMode:
        if work.table is not None:
            return work.table.workload.mode
        return training_mode if self._times_what_it_trains() else self._timing.find_mode()

    def _times_what_it_trains(self) -> bool:
        """Whether the timed step is that of the short training, so that its mode is known already."""
        setting, fidelity, size = self._config.step_time, self._config.fidelity, self._backbone.resolution
        return (
            self._timing.device == self._device
            and setting.dtype == "auto"
            and setting.batch_size == self._config.train.batch_size
            and fidelity.width == 1.0
            and (setting.resolution or size) == (fidelity.resolution or size)
            and self._timing.threads == torch.get_num_threads()
        )

    def _judge(self, work: Judge, report: Report) -> Evaluation:
        start, architecture = time.monotonic(), parse(work.architecture)
        step_time = None
        if work.measure:
            report(0.0, "step time")
            step_time = self._measure_candidate(architecture, work)
        accuracy = self._train(work, report)
        return Evaluation(accuracy=accuracy, step_time=step_time, seconds=time.monotonic() - start)

    def _measure_candidate(self, architecture: Architecture, work: Judge) -> StepTime:
        mode, canary_s = parse_mode(work.preparation.step_mode), work.preparation.canary_s
        timing = self._timing_of(work.preparation)

        def measure(micro_batches: int) -> StepTime:
            return timing.one_visit(architecture, mode, canary_s=canary_s, micro_batches=micro_batches)

        return self._in_parts(measure, self._config.step_time.batch_size, work.micro_batches)

    def _measure_finalist(self, work: Measure, report: Report) -> Measurement:
        architecture, setting = parse(work.architecture), self._config.step_time
        mode, canary_s = parse_mode(work.preparation.step_mode), work.preparation.canary_s
        timing = self._timing_of(work.preparation)

        def show(so_far: StepTime) -> None:
            done = min(0.9, len(so_far.visits) / (setting.visits + 1))
            report(0.7 * done, f"step time, ± {so_far.relative_half_width:.1%} after {len(so_far.visits)} visits")

        def measure(micro_batches: int) -> StepTime:
            return timing.visits(architecture, mode, canary_s=canary_s, micro_batches=micro_batches, on_visit=show)

        report(0.0, "step time")
        step_time = self._in_parts(measure, setting.batch_size, work.micro_batches)
        inference = None
        if setting.inference:
            report(0.7, "step time of inference")
            inference = timing.visits(architecture, mode, canary_s=None, phase="inference")
        report(0.9, "memory")
        return Measurement(
            step_time=step_time,
            inference=inference,
            peak_memory_bytes=timing.peak_memory(architecture, work.preparation, step_time.micro_batches),
        )

    def _train(self, work: Judge | Retrain, report: Report) -> AccuracyRecord:
        self._proxy.mode = self._mode_of(work.preparation)
        self._has_trained = True
        # So that who shares the device with it does not decide whether a candidate fits.
        self._device.limit_memory(self._share_of_memory)
        folder = make_checkpoint_folder(self._config) if self._config.checkpoint_every_s else None
        if folder is None and self._config.checkpoint_every_s and not self._has_told_where:
            report(0.0, f"no checkpoints: this machine has no run directory {self._config.out.absolute()} to write to")
            self._has_told_where = True

        def train(micro_batches: int) -> AccuracyRecord:
            return self._train_in_parts(work, micro_batches, report, folder)

        return self._in_parts(train, self._proxy_of(work).train_config.batch_size)

    def _proxy_of(self, work: Judge | Retrain) -> AccuracyProxy:
        """The run's accuracy proxy, or one with another training, which is kept for the next task."""
        if not isinstance(work, Retrain):
            return self._proxy
        fidelity, train = work.fidelity or self._config.fidelity, work.train or self._config.train
        if (fidelity, train) == (self._config.fidelity, self._config.train):
            return self._proxy
        if self._other is None or (self._other.fidelity, self._other.train_config) != (fidelity, train):
            self._other = None  # three sets of images need not fit
            self._other = self._proxy.at(fidelity, train)
        self._other.mode = self._proxy.mode
        return self._other

    def _train_in_parts(
        self, work: Judge | Retrain, micro_batches: int, report: Report, folder: Path | None
    ) -> AccuracyRecord:
        train_size = work.train_size if isinstance(work, Judge) else None
        fidelity = work.fidelity if isinstance(work, Retrain) else None
        kept = KeptTraining(work.architecture, work.seed, train_size, fidelity)
        proxy, done = self._proxy_of(work), 0.0

        def show(progress: EpochProgress) -> None:
            nonlocal done
            done = progress.epoch / progress.num_epochs
            report(done, f"epoch {progress.epoch}/{progress.num_epochs}", _epoch_report(progress))

        checkpoint = TrialCheckpoint(
            path=None if folder is None else folder / kept.file_name(self._config),
            every_s=self._config.checkpoint_every_s,
            images=work.preparation.data.digest,
            stop_requested=lambda: self._is_interrupted,
            tell=lambda note: report(done, note),
        )
        try:
            with DeviceLease(self._device.lease_name).shared():
                result = proxy.evaluate(
                    parse(work.architecture),
                    seed=work.seed,
                    micro_batches=micro_batches,
                    resolution=train_size,
                    checkpoint=checkpoint,
                    on_epoch=show,
                )
        except ImageError as error:
            raise RefusedError(str(error)) from error
        except InterruptedTrainingError as error:
            raise InterruptedTaskError(str(error)) from None
        return _record(result, work.seed, micro_batches)

    def _in_parts(self, run: Callable[[int], Result], batch_size: int, micro_batches: int = 1) -> Result:
        """Do something with whole batches, or with ever smaller parts where that is the user's choice."""
        if self._config.out_of_memory == "micro_batches":
            return retry_in_parts(run, batch_size, micro_batches)
        return run(micro_batches)


def worker_device(name: str, worker: int) -> Device:
    """The device of a worker, made this process's own: with several GPUs, "auto" and "cuda" deal them out in turn.

    Raises:
        ValueError: If there is no such device here.
    """
    device = find_device(name)
    if device.kind == "cuda" and name in ("auto", "cuda"):
        device = find_device(f"cuda:{worker % torch.cuda.device_count()}")
    if device.kind == "cuda":
        # Pinned memory and the allocator's cache would open a context on the first GPU otherwise.
        torch.cuda.set_device(device.torch_device)
    return device


def share_of_memory(config: SearchConfig) -> float:
    """Of its device, for a worker that shares one."""
    gpus = config.cluster.gpus_per_trial if config.executor == "ray" else None
    return gpus or 1.0


def threads_of_worker(config: SearchConfig) -> int:
    """CPU threads of one worker: as configured, else its share of the cores, on a cluster as many as it holds CPUs."""
    if config.executor == "ray":
        return config.threads or config.cluster.cpus_per_trial
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return config.threads or max(1, cores // (config.workers or 1))


def _mode_seconds(choice: ModeChoice) -> dict[str, float]:
    return {str(found.mode): found.seconds_per_step for found in choice.measured if found.seconds_per_step is not None}


def _epoch_report(progress: EpochProgress) -> EpochReport:
    return EpochReport(
        epoch=progress.epoch,
        num_epochs=progress.num_epochs,
        num_correct=progress.score.num_correct,
        num_images=progress.score.num_images,
        train_loss=progress.train_loss,
        train_seconds=progress.train_seconds,
    )


def _record(result: AccuracyResult, seed: int, micro_batches: int) -> AccuracyRecord:
    return AccuracyRecord(
        num_correct=result.num_correct,
        num_images=result.num_images,
        seed=seed,
        train_seconds=result.train_seconds,
        curve=tuple(progress.score.accuracy for progress in result.curve),
        losses=tuple(progress.train_loss for progress in result.curve),
        micro_batches=micro_batches,
    )
