"""A search whose evaluations are instant and deterministic; also run as a script, to be killed at a counted moment."""

import hashlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from quick_disk import do_not_wait_for_disks
from workloads import Simply

from nas.config import SearchConfig
from nas.evaluation_tasks import (
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
from nas.executors.interface import Died, Done, Evaluate, Event, Infeasible, Refused, RefusedError, Report
from nas.executors.local import LocalExecutor
from nas.observer import Observer
from nas.run import Run
from nas.search import run_search
from nas.study import Ending
from proxies.device_identity import DeviceIdentity
from proxies.execution import parse_mode
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime, Visit
from proxies.step_time_table import BlockTime, StepTimeTable
from proxies.workload import Workload
from search_spaces.space import SearchSpace
from search_spaces.space_blocks import space_blocks
from search_spaces.space_file import space_from_mapping

DATA = DataFacts(source="fake", num_classes=10, in_channels=1, num_train=100, num_minival=1000, digest="d")
HERE = DeviceIdentity(kind="cpu", name="fake", torch="2.0", cuda=None, threads=1)
INSPECTION = Inspection(data=DATA, hardware="fake", device="fake", target=HERE)
PREPARATION = Preparation(
    data=DATA,
    hardware="fake",
    step_threads=1,
    canary_s=0.1,
    target_kind="cpu",
    is_target_here=True,
    mode="float32-channels_last",
    step_mode="float32-channels_last",
    mode_seconds={"float32-channels_last": 0.01},
    device="fake",
    step_time_ref_s=0.1,
    params_ref=100_000,
    training_seconds=0.1,
)
SPACE = {
    "resolution": 32,
    "stem_channels": 8,
    "head_channels": 32,
    "stages": [
        {"out_channels": 8, "stride": 1, "num_repeats": [1, 2, 3], "kernel_size": [3, 5], "expand_ratio": [1, 4]},
        {"out_channels": 16, "stride": 2, "num_repeats": [1, 2], "kernel_size": 3, "expand_ratio": [1, 4, 6]},
    ],
}

TINY_SPACE = SPACE | {
    "stages": [{"out_channels": 8, "stride": 2, "num_repeats": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 4]}]
}
"""16 architectures."""


def config(out: Path, **changes: Any) -> SearchConfig:
    """A small search; `changes` are keys of the configuration."""
    values = {"space": SPACE, "trials": 12, "finalists": 2, "finalist_seeds": 1, "sampler": "random", "out": out}
    return SearchConfig.model_validate(values | changes)


def number_of(text: str, salt: str) -> float:
    """A number in [0, 1) that belongs to a text."""
    return int.from_bytes(hashlib.sha256(f"{salt}{text}".encode()).digest()[:4]) / 2**32


def step_time(ratio: float) -> StepTime:
    return StepTime(
        visits=(Visit(samples_s=(0.1 * ratio,) * 3, reference_samples_s=(0.1,) * 4),),
        reference="fake",
        reference_s=0.1,
        batch_size=32,
        resolution=32,
        mode="float32-channels_last",
        device="fake",
    )


def table(*spaces: SearchSpace, salt: str = "step") -> StepTimeTable:
    """A table over some spaces, in which each block costs something of its own."""
    return StepTimeTable(
        space=spaces[0].name,
        workload=Workload(mode=parse_mode(PREPARATION.step_mode), num_classes=10, in_channels=1),
        device=HERE,
        canary="fake",
        canary_s=0.1,
        blocks=tuple(
            BlockTime(block=block, ratio=0.05 + 0.1 * number_of(str(block), salt), relative_error=0.02)
            for block in dict.fromkeys(block for space in spaces for block in space_blocks(space, in_channels=1))
        ),
        networks=(),
        seconds=1.0,
    )


TABLE = table(space_from_mapping(SPACE), space_from_mapping(TINY_SPACE))
"""What the calibration of this fake machine finds."""


def accuracy(architecture: str, seed: int) -> AccuracyRecord:
    correct = int(500 + 400 * number_of(architecture, "accuracy"))
    return AccuracyRecord(num_correct=correct, num_images=1000, seed=seed, train_seconds=0.1)


def evaluate(work: object, report: Report) -> object:
    """What a worker answers, at once."""
    report(0.5, "halfway")
    match work:
        case Inspect():
            return INSPECTION
        case Prepare(is_target_here=is_target_here):
            return replace(PREPARATION, is_target_here=is_target_here)
        case Judge(architecture=text, seed=seed, measure=measure):
            measured = step_time(0.5 + number_of(text, "step")) if measure else None
            return Evaluation(accuracy=accuracy(text, seed), step_time=measured, seconds=0.1)
        case Calibrate():
            return TABLE
        case Measure(architecture=text):
            return Measurement(step_time=step_time(0.5 + number_of(text, "step")), peak_memory_bytes=10**6)
        case Retrain(architecture=text, seed=seed):
            return accuracy(text, seed)
    raise TypeError(work)


class InlineExecutor:
    """Evaluates in this process, one task at a time, in the call that asks for events."""

    places = ("here",)

    def __init__(self, evaluate: Callable[[object, Report], object] = evaluate, capacity: int = 1) -> None:
        self.capacity = capacity
        self.tasks: list[tuple[int, object]] = []
        self.stopped: list[int] = []
        self._evaluate = evaluate

    def submit(self, task: int, work: object) -> None:
        self.tasks.append((task, work))

    def events(self, timeout_s: float) -> list[Event]:
        task, work = self.tasks.pop(0)
        try:
            return [Done(task, self._evaluate(work, lambda fraction, doing, found=None: None))]
        except InfeasibleError as error:
            return [Infeasible(task, error.reason)]
        except RefusedError as error:
            return [Refused(task, str(error))]
        except Exception as error:
            return [Died(task, repr(error))]

    def interrupt(self, task: int) -> None:
        pass

    def stop(self, task: int) -> None:
        self.stopped.append(task)

    def close(self) -> None:
        pass


def run(config: SearchConfig, executor: Any = None, observer: Observer | None = None) -> tuple[Run, Ending]:
    """Run the search with instant evaluations, or with an executor of one's own."""
    return run_search(config, observer=observer or Observer(), make_executor=lambda _: executor or InlineExecutor())


def slow_evaluate(work: object, report: Report) -> object:
    """As `evaluate`, but a candidate takes a while."""
    import time

    if isinstance(work, Judge):
        for step in range(100):
            time.sleep(0.05)
            report(step / 100, "busy")
    return evaluate(work, report)


def fast_worker(worker: int) -> Evaluate:
    return Simply(evaluate)


def slow_worker(worker: int) -> Evaluate:
    return Simply(slow_evaluate)


def kill_at_write(count: int) -> None:
    """Let this process be killed at its `count`-th write to the study: before it if count is even, after it if odd."""
    left = [count]

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                what = [kwargs["key"]] if "key" in kwargs else args[2:3]
                print(method.__name__, *what, file=sys.stderr, flush=True)
            if left[0] == 0 and count % 2 == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*args, **kwargs)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return write

    for name in (
        "create_new_trial", "set_trial_param", "set_trial_user_attr", "set_trial_system_attr",
        "set_trial_state_values", "set_study_user_attr",
    ):  # fmt: skip
        setattr(RDBStorage, name, counted(getattr(RDBStorage, name)))


def main(out: str, what: str, count: str, sampler: str, trials: str) -> None:
    """``kill``: evaluate inline and die at a counted write. ``slow``: evaluate in slow workers until a signal comes."""
    do_not_wait_for_disks()
    search = config(Path(out), sampler=sampler, trials=int(trials), workers=2 if what == "slow" else 1)
    if what == "kill":
        if int(count):
            kill_at_write(int(count))
        run(search)
    else:
        _, ending = run(search, LocalExecutor(slow_worker, workers=2))
        sys.exit(130 if ending is Ending.INTERRUPTED else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
