"""What a worker does: look at the images, prepare the run, judge one candidate. Runs in workers; imports torch."""

import os
import time

import torch

from proxies.accuracy import AccuracyProxy, AccuracyResult
from proxies.complexity import count_params
from proxies.data.decoding import ImageError
from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode, parse_mode
from proxies.fastest_mode import ModeChoice
from proxies.step_time import StepTime
from proxies.step_time_measurement import choose_mode, measure_step_time
from search_spaces.architecture import Architecture, parse

from .config import SearchConfig
from .evaluation_tasks import (
    AccuracyRecord,
    DataFacts,
    Evaluation,
    Inspect,
    Inspection,
    Judge,
    Preparation,
    Prepare,
    Retrain,
)
from .executors.interface import RefusedError, Report


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
            case Prepare(inspection=inspection):
                return self._prepare(inspection, report)
            case Judge():
                return self._judge(work, report)
            case Retrain(architecture=text, seed=seed, mode=mode):
                return self._train(parse(text), seed, mode, report)
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
        return Inspection(data=data, hardware=", ".join(names), device=str(self._device.identity()))

    def _prepare(self, inspection: Inspection, report: Report) -> Preparation:
        report(0.0, "finding the fastest correct execution mode")
        with DeviceLease(self._device.lease_name).exclusive():
            choice = self._proxy.find_mode(self._backbone)
        step_mode = choice.mode if self._times_what_it_trains() else self._step_mode()
        report(0.5, "measuring the backbone's step time")
        threads = self._config.step_time.threads or torch.get_num_threads()
        backbone = self._measure(self._backbone, step_mode, threads)
        data = inspection.data
        return Preparation(
            data=data,
            mode=str(choice.mode),
            step_mode=str(step_mode),
            mode_seconds=_mode_seconds(choice),
            hardware=inspection.hardware,
            device=inspection.device,
            step_threads=threads,
            step_time_ref_s=backbone.median_s,
            params_ref=count_params(self._backbone, data.num_classes, data.in_channels),
            training_seconds=self._proxy.planned_steps * _mode_seconds(choice)[str(choice.mode)],
        )

    def _times_what_it_trains(self) -> bool:
        """Whether the timed step is that of the short training, so that its mode is known already."""
        setting, fidelity, size = self._config.step_time, self._config.fidelity, self._backbone.resolution
        return (
            self._target == self._device
            and setting.dtype == "auto"
            and setting.batch_size == self._config.train.batch_size
            and (setting.resolution or size) == (fidelity.resolution or size)
            and setting.threads in (None, torch.get_num_threads())
        )

    def _step_mode(self) -> ExecutionMode:
        try:
            with DeviceLease(self._target.lease_name).exclusive():
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

    def _judge(self, work: Judge, report: Report) -> Evaluation:
        start, architecture = time.monotonic(), parse(work.architecture)
        report(0.0, "step time")
        step_time = self._measure(architecture, parse_mode(work.step_mode), work.step_threads)
        accuracy = self._train(architecture, work.seed, work.mode, report)
        return Evaluation(accuracy=accuracy, step_time=step_time, seconds=time.monotonic() - start)

    def _measure(self, architecture: Architecture, mode: ExecutionMode, threads: int) -> StepTime:
        return measure_step_time(
            architecture,
            reference=self._backbone,
            setting=self._config.step_time.model_copy(update={"threads": threads}),
            train=self._config.train,
            mode=mode,
            num_classes=self._proxy.num_classes,
            in_channels=self._proxy.in_channels,
            device=self._target,
        )

    def _train(self, architecture: Architecture, seed: int, mode: str, report: Report) -> AccuracyRecord:
        self._proxy.mode = parse_mode(mode)
        epochs = self._config.fidelity.epochs
        try:
            with DeviceLease(self._device.lease_name).shared():
                result = self._proxy.evaluate(
                    architecture,
                    seed=seed,
                    on_epoch=lambda progress: report(progress.epoch / epochs, f"epoch {progress.epoch}/{epochs}"),
                )
        except ImageError as error:
            raise RefusedError(str(error)) from error
        return _record(result, seed)


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


def _record(result: AccuracyResult, seed: int) -> AccuracyRecord:
    return AccuracyRecord(
        num_correct=result.num_correct,
        num_images=result.num_images,
        seed=seed,
        train_seconds=result.train_seconds,
        curve=tuple(progress.score.accuracy for progress in result.curve),
        losses=tuple(progress.train_loss for progress in result.curve),
    )
