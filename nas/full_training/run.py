"""Train a network to the end, or take an interrupted training up again."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from proxies.device import Device, find_device
from proxies.device_lease import DeviceLease
from proxies.execution import ExecutionMode
from proxies.training.checkpoint import read_checkpoint
from proxies.training.distributed import ALONE, Processes, device_of, joined, started_by_torchrun
from search_spaces.network_settings import NetworkSettings

from ..environment import describe_environment
from ..interruption import stop_on_signals
from ..run_directory import RunDirectoryError, make_folder, write_whole
from ..run_lock import RunLock, locked
from .config import TrainingConfig, read_training_config
from .directory import TrainingDirectory
from .observer import TrainingObserver
from .preparation import Images, build_training, plan_again, plan_training, read_images, reproducible
from .record import TrainingRecord, parse_record, read_record
from .session import Session
from .trackers import make_trackers


class RefusedTrainingError(ValueError):
    """A training cannot begin; the message says why and what a person can do."""


def plan(config: TrainingConfig) -> TrainingRecord:
    """What a training would do: its stages and their batches. Writes nothing, and measures no mode.

    Raises:
        RefusedTrainingError: In one line, if images, schedule or device cannot be had.
    """
    with _refusals():
        device = find_device(config.device)
        dtype = "float32" if config.dtype == "auto" else config.dtype
        mode = config.mode if config.mode != "auto" else str(ExecutionMode(dtype=dtype))
        unmeasured = config.model_copy(update={"mode": mode})
        return plan_training(unmeasured, read_images(config, device), device=device, processes=ALONE)


def train(config: TrainingConfig, observer: TrainingObserver | None = None) -> TrainingRecord:
    """Train to the end; on a directory that holds this training already, go on from its last checkpoint.

    Args:
        config: What is trained, on what, how and where to.
        observer: Is told what happens, in the first process only.

    Returns:
        The record of the finished training.

    Raises:
        RefusedTrainingError: In one line, if images, weights, schedule or device cannot be had.
        RunDirectoryError: If the directory is in use, holds something else, or another training; or if another host
            took it over.
        StoppedTrainingError: If a signal asked for an end; the same call goes on.
        DivergedTrainingError: If the loss was not finite again and again.
        MemoryInfeasibleError: If memory does not suffice.
        OSError: If something cannot be written; the last checkpoint stays.
    """
    with _refusals():
        processes = started_by_torchrun()
        device = find_device(device_of(processes, config.device))
    directory = TrainingDirectory(config.out)
    observer = observer if observer is not None and processes.is_first else TrainingObserver()
    with (
        reproducible(config, device),
        joined(processes, device),
        _held(config, directory, device, processes) as lock,
    ):
        with _refusals():
            finished = _finished(directory)
        if finished is not None:
            observer.finished(finished)
            return finished
        with stop_on_signals() as stop_requested, device.seeded(config.seed):
            session = _begin(
                config, directory, observer, device=device, processes=processes,
                is_stopping=partial(_is_stopping, lock, stop_requested), lock=lock,
            )  # fmt: skip
            with DeviceLease(device.lease_name).shared():
                record = session.run()
        observer.finished(record)
        return record


def _begin(
    config: TrainingConfig,
    directory: TrainingDirectory,
    observer: TrainingObserver,
    *,
    device: Device,
    processes: Processes,
    is_stopping: Callable[[], bool],
    lock: RunLock | None,
) -> Session:
    """A new training at its first step, or one that goes on, at its last checkpoint."""
    with _refusals():
        trackers = make_trackers(
            config.track, directory, run_name=config.run_name, rank=processes.rank, complain=observer.complained
        )
        observer.preparing("reading the images")
        images = read_images(config, device)
        observer.preparing("planning")
        state = read_checkpoint(directory.last_checkpoint) if directory.last_checkpoint.exists() else None
        if state is None:
            record, settings = plan_training(config, images, device=device, processes=processes), None
        else:
            record, settings = (
                _standing(state, config, images, device, processes),
                NetworkSettings.from_metadata(state["settings"]),
            )
        built = build_training(config, record, device=device, processes=processes, settings=settings)
    session = Session(
        config, directory, record, built, images, device=device, observer=observer, trackers=trackers,
        is_stopping=is_stopping, lock=lock,
    )  # fmt: skip
    if state is not None:
        session.take_up(state)
    _require_one_standing(session.steps_done, processes)
    largest = max(stage.resolution for stage in record.stages)
    images.train.settle(largest)
    images.minival.settle(max(largest, record.test_size))
    steps_done, num_steps = built.training.steps_done, built.training.plan.num_steps
    notes = built.notes if images.splits.note is None else (images.splits.note, *built.notes)
    observer.planned(session.record, notes=notes, steps_done=steps_done, num_steps=num_steps)
    trackers.start(config.model_dump(mode="json"), session.record, step=steps_done)
    session.start() if state is None else session.resume()
    return session


def _require_one_standing(steps_done: int, processes: Processes) -> None:
    """Processes of several machines must see one directory."""
    if processes.size > 1 and processes.object_from_first(steps_done) != steps_done:
        raise RunDirectoryError("processes see different checkpoints: --out must lie where all of them read and write")


def _is_stopping(lock: RunLock | None, stop_requested: Callable[[], bool]) -> bool:
    """Whether somebody asked to stop; asked after every step, it ends a training that may write nothing more."""
    if lock is not None:
        lock.require_held()
    return stop_requested()


@contextmanager
def _refusals() -> Iterator[None]:
    """Before the first step a ValueError is about what was asked for; later, it is a bug."""
    try:
        yield
    except ValueError as error:
        raise RefusedTrainingError(str(error)) from error


def _finished(directory: TrainingDirectory) -> TrainingRecord | None:
    """The record of a training that has ended; None where there is something left to do."""
    if not directory.record_file.exists():
        return None
    record = read_record(directory.record_file)
    return record if record.state == "finished" else None


def _standing(
    state: dict[str, Any], config: TrainingConfig, images: Images, device: Device, processes: Processes
) -> TrainingRecord:
    """The record that a checkpoint was taken with, for the processes there are now.

    Raises:
        ValueError: If they cannot share its batches, or the images are others.
    """
    record = parse_record(state["record"])
    digest = images.splits.digest()
    now = {"num_train": len(images.train), "num_judged": len(images.minival), "class_names": images.splits.class_names}
    for name, value in now.items():
        if getattr(record, name) != value:
            raise ValueError(f"{record.source} has changed since: {name} was {getattr(record, name)}, now {value}")
    if record.data_digest not in ("", digest):
        raise ValueError(f"{record.source} has changed since: other images, or other labels")
    return plan_again(config, record, images, device=device, processes=processes)


@contextmanager
def _held(
    config: TrainingConfig, directory: TrainingDirectory, device: Device, processes: Processes
) -> Iterator[RunLock | None]:
    """The first process makes the directory and holds its lock; the others wait until it does."""
    if not processes.is_first:
        processes.wait()
        yield None
        return
    if directory.path.is_dir():
        _require_same_training(config, directory)  # before anything is written into somebody's folder
    make_folder(directory.path)
    with locked(directory.path) as lock:
        _require_same_training(config, directory)
        write_whole(directory.config_file, config.to_yaml())
        environment = describe_environment(str(device.identity()))
        write_whole(directory.environment_file, json.dumps(environment, indent=1) + "\n")
        processes.wait()
        yield lock


def _require_same_training(config: TrainingConfig, directory: TrainingDirectory) -> None:
    strangers = {path.name for path in directory.path.iterdir() if not path.name.startswith(".")}
    if not directory.config_file.exists():
        if strangers:
            raise RunDirectoryError(
                f"{directory.path} is not empty and holds no training: {', '.join(sorted(strangers)[:3])}"
            )
        return
    if (directory.path / "study.db").exists():
        raise RunDirectoryError(f"{directory.path} holds a search; give the training a directory of its own with --out")
    if not directory.last_checkpoint.exists() and not directory.record_file.exists():
        return  # it was refused before its first step, so that what was wrong may be put right
    try:
        before, now = read_training_config(directory.config_file).fingerprint(), config.fingerprint()
    except ValueError as error:
        raise RunDirectoryError(str(error)) from None
    for name, value in now.items():
        if before.get(name) != value:
            raise RunDirectoryError(
                f"{directory.path} holds another training: {name} was {before.get(name)!r}, now {value!r}; "
                "give this one a directory of its own with --out"
            )
