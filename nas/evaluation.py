"""What a worker does: look at the images, prepare the run, judge one candidate. Runs in workers; imports torch."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from proxies.accuracy import AccuracyProxy, AccuracyResult
from proxies.complexity import count_params
from proxies.data.decoding import ImageError
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode, parse_mode
from proxies.fastest_mode import ModeChoice
from proxies.memory_measurement import measure_peak_memory
from proxies.micro_batches import retry_in_parts
from proxies.step_time import StepTime, StepTimeSetting
from proxies.step_time_calibration import calibrate
from proxies.step_time_measurement import choose_mode, held_alone, measure_step_time
from proxies.step_time_table import StepTimeTable
from proxies.workload import Phase
from search_spaces.architecture import Architecture, parse

from .config import SearchConfig
from .evaluation_tasks import (
    AccuracyRecord,
    Calibrate,
    DataFacts,
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
from .executors.interface import RefusedError, Report
from .pricing import target_workload

Result = TypeVar("Result")


class Evaluator:
    """Does a worker's tasks; holds what they share: the images, the device, the modes of execution."""

    def __init__(self, config: SearchConfig, worker: int) -> None:
        """
        Raises:
            RefusedError: If the device or the images cannot be had.
        """
        torch.set_num_threads(threads_of_worker(config))
        self._config = config
        self._backbone = config.search_space().backbone
        try:
            self._device = worker_device(config.device, worker)
            self._target = find_device(config.step_time.device) if config.step_time.device else self._device
            # Reading images is work too, that must not fall into somebody's measurement.
            with DeviceLease(self._device.lease_name).shared():
                self._proxy = AccuracyProxy(
                    data=config.data, train=config.train, fidelity=config.fidelity, device=self._device
                )
        except ValueError as error:
            raise RefusedError(str(error)) from error

    def __call__(self, work: object, report: Report) -> object:
        match work:
            case Inspect():
                return self._inspect()
            case Prepare():
                return self._prepare(work, report)
            case Calibrate(preparation=preparation):
                return self._calibrate(preparation, report)
            case Judge():
                return self._judge(work, report)
            case Measure():
                return self._measure_finalist(work, report)
            case Retrain(architecture=text, seed=seed, preparation=preparation):
                return self._train(parse(text), seed, preparation, report)
        raise TypeError(f"a worker knows no such task: {work!r}")

    def _inspect(self) -> Inspection:
        splits = self._proxy.splits
        data = DataFacts(
            source=self._config.data.source,
            num_classes=self._proxy.num_classes,
            in_channels=self._proxy.in_channels,
            num_train=len(splits.train),
            num_minival=len(splits.minival),
            digest=self._proxy.data_digest,
        )
        names = dict.fromkeys(f"{device.name} ({device.kind})" for device in (self._device, self._target))
        return Inspection(
            data=data,
            hardware=", ".join(names),
            device=str(self._device.identity()),
            target=replace(self._target.identity(), threads=self._step_threads),
        )

    def _prepare(self, work: Prepare, report: Report) -> Preparation:
        report(0.0, "finding the fastest correct execution mode")
        with DeviceLease(self._device.lease_name).exclusive():
            choice = self._proxy.find_mode(self._backbone)
        step_mode = self._find_step_mode(choice.mode, work)
        report(0.5, "measuring the backbone's step time")
        canary_s = work.table.canary_s if work.table else None
        backbone = self._time(self._backbone, step_mode, canary_s=canary_s, setting=self._one_visit())
        data = work.inspection.data
        return Preparation(
            data=data,
            mode=str(choice.mode),
            step_mode=str(step_mode),
            mode_seconds=_mode_seconds(choice),
            hardware=work.inspection.hardware,
            device=work.inspection.device,
            step_threads=self._step_threads,
            canary_s=backbone.reference_s,
            target_kind=self._target.kind,
            is_target_here=work.is_target_here,
            step_time_ref_s=backbone.median_s,
            params_ref=count_params(self._backbone, data.num_classes, data.in_channels),
            training_seconds=self._proxy.planned_steps * _mode_seconds(choice)[str(choice.mode)],
        )

    @property
    def _step_threads(self) -> int:
        return self._config.step_time.threads or torch.get_num_threads()

    def _find_step_mode(self, training_mode: ExecutionMode, work: Prepare) -> ExecutionMode:
        if work.table is not None:
            return work.table.workload.mode
        if self._times_what_it_trains():
            return training_mode
        try:
            return choose_mode(
                self._backbone,
                setting=self._config.step_time,
                train=self._config.train,
                device=self._target,
                num_classes=self._proxy.num_classes,
                in_channels=self._proxy.in_channels,
            )
        except ValueError as error:
            raise RefusedError(str(error)) from error

    def _times_what_it_trains(self) -> bool:
        """Whether the timed step is that of the short training, so that its mode is known already."""
        setting, fidelity, size = self._config.step_time, self._config.fidelity, self._backbone.resolution
        return (
            self._target == self._device
            and setting.dtype == "auto"
            and setting.batch_size == self._config.train.batch_size
            and (setting.resolution or size) == (fidelity.resolution or size)
            and self._step_threads == torch.get_num_threads()
        )

    def _judge(self, work: Judge, report: Report) -> Evaluation:
        start, architecture = time.monotonic(), parse(work.architecture)
        step_time = None
        if work.measure:
            report(0.0, "step time")
            step_time = self._measure(architecture, work.preparation, work.micro_batches, self._one_visit())
        accuracy = self._train(architecture, work.seed, work.preparation, report)
        return Evaluation(accuracy=accuracy, step_time=step_time, seconds=time.monotonic() - start)

    def _calibrate(self, preparation: Preparation, report: Report) -> StepTimeTable:
        return calibrate(
            self._config.search_space(),
            workload=target_workload(self._config, preparation),
            device=self._target,
            threads=preparation.step_threads,
            budget_s=self._config.step_time.calibration_s,
            canary_s=preparation.canary_s,
            seed=self._config.seed,
            on_progress=lambda fraction, doing: report(fraction, f"{fraction:.0%}, {doing}"),
        )

    def _measure_finalist(self, work: Measure, report: Report) -> Measurement:
        architecture, preparation = parse(work.architecture), work.preparation
        setting = self._config.step_time

        def show(so_far: StepTime) -> None:
            done = min(0.9, len(so_far.visits) / (setting.visits + 1))
            report(0.7 * done, f"step time, ± {so_far.relative_half_width:.1%} after {len(so_far.visits)} visits")

        report(0.0, "step time")
        step_time = self._measure(architecture, preparation, work.micro_batches, setting, show)
        inference = None
        if self._config.step_time.inference:
            report(0.7, "step time of inference")
            mode = parse_mode(preparation.step_mode)
            inference = self._time(architecture, mode, setting=setting, phase="inference")
        report(0.9, "memory")
        return Measurement(
            step_time=step_time,
            inference=inference,
            peak_memory_bytes=self._peak_memory(architecture, preparation, step_time.micro_batches),
        )

    def _one_visit(self) -> StepTimeSetting:
        return self._config.step_time.model_copy(update={"visits": 1, "budget_s": 0.0})

    def _measure(
        self,
        architecture: Architecture,
        preparation: Preparation,
        micro_batches: int,
        setting: StepTimeSetting,
        on_visit: Callable[[StepTime], None] = lambda so_far: None,
    ) -> StepTime:
        mode = parse_mode(preparation.step_mode)
        return self._in_parts(
            lambda parts: self._time(
                architecture,
                mode,
                setting=setting,
                canary_s=preparation.canary_s,
                micro_batches=parts,
                on_visit=on_visit,
            ),
            setting.batch_size,
            micro_batches,
        )

    def _time(
        self,
        architecture: Architecture,
        mode: ExecutionMode,
        *,
        setting: StepTimeSetting,
        canary_s: float | None = None,
        phase: Phase = "training",
        micro_batches: int = 1,
        on_visit: Callable[[StepTime], None] = lambda so_far: None,
    ) -> StepTime:
        return measure_step_time(
            architecture,
            reference_s=canary_s,
            setting=setting.model_copy(update={"threads": self._step_threads}),
            train=self._config.train,
            mode=mode,
            num_classes=self._proxy.num_classes,
            in_channels=self._proxy.in_channels,
            phase=phase,
            micro_batches=micro_batches,
            device=self._target,
            on_visit=on_visit,
        )

    def _peak_memory(self, architecture: Architecture, preparation: Preparation, micro_batches: int) -> int:
        with held_alone(self._target, self._step_threads):
            return measure_peak_memory(
                architecture,
                batch_size=self._config.step_time.batch_size,
                resolution=self._config.step_time.resolution,
                mode=parse_mode(preparation.step_mode),
                num_classes=self._proxy.num_classes,
                in_channels=self._proxy.in_channels,
                train=self._config.train,
                micro_batches=micro_batches,
                device=self._target,
            )

    def _train(self, architecture: Architecture, seed: int, preparation: Preparation, report: Report) -> AccuracyRecord:
        self._proxy.mode = parse_mode(preparation.mode)

        def train(micro_batches: int) -> AccuracyRecord:
            return self._train_in_parts(architecture, seed, micro_batches, report)

        return self._in_parts(train, self._config.train.batch_size)

    def _train_in_parts(
        self, architecture: Architecture, seed: int, micro_batches: int, report: Report
    ) -> AccuracyRecord:
        epochs = self._config.fidelity.epochs
        try:
            with DeviceLease(self._device.lease_name).shared():
                result = self._proxy.evaluate(
                    architecture,
                    seed=seed,
                    micro_batches=micro_batches,
                    on_epoch=lambda progress: report(progress.epoch / epochs, f"epoch {progress.epoch}/{epochs}"),
                )
        except ImageError as error:
            raise RefusedError(str(error)) from error
        return _record(result, seed, micro_batches)

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


def threads_of_worker(config: SearchConfig) -> int:
    """CPU threads of one worker: as configured, else the cores this process may use, divided by the workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return config.threads or max(1, cores // config.workers)


def _mode_seconds(choice: ModeChoice) -> dict[str, float]:
    return {str(found.mode): found.seconds_per_step for found in choice.measured if found.seconds_per_step is not None}


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
