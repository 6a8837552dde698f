"""What the executors' contract tests let workers do."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.executors.interface import Demand, Evaluate, InterruptedTaskError, RefusedError, Report
from proxies.infeasible import InfeasibleError


@dataclass(frozen=True, slots=True)
class Asking:
    """Work that asks something of its machine."""

    demand: Demand
    work: object


def demand_of(work: object) -> Demand:
    return work.demand if isinstance(work, Asking) else Demand()


@dataclass(frozen=True, slots=True)
class Held:
    """A process held its place for a while; the clock is the host's, and the same in all its processes."""

    pid: int
    start_s: float
    end_s: float
    gpus: str | None
    """What it sees of them, as CUDA reads it."""

    def overlaps(self, other: "Held") -> bool:
        return self.start_s < other.end_s and other.start_s < self.end_s


def make_workload(worker: int) -> Evaluate:
    """A worker that does what a task says, and counts what it has done."""
    return _Workload(worker)


def make_nothing(worker: int) -> Evaluate:
    raise RefusedError("no such folder: nowhere")


def make_broken_first(worker: int) -> Evaluate:
    """The first worker's device is broken."""
    if worker == 0:
        raise RuntimeError("uncorrectable error")
    return _Workload(worker)


class Simply(Evaluate):
    """An evaluation that is a function."""

    def __init__(self, do: Callable[[object, Report], object]) -> None:
        self._do = do

    def __call__(self, work: object, report: Report) -> object:
        return self._do(work, report)


class _Workload(Evaluate):
    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._count = 0
        self._is_spent = self._is_interrupted = False

    @property
    def is_spent(self) -> bool:
        return self._is_spent

    def interrupt(self) -> None:
        self._is_interrupted = True

    def expect(self) -> None:
        self._is_interrupted = False

    def __call__(self, work: object, report: Report) -> object:
        self._count += 1
        match work:
            case ("add", a, b):
                report(0.5, "adding")
                return a + b
            case "count":
                return self._count
            case "worker":
                return self._worker, os.getpid()
            case "infeasible":
                raise InfeasibleError("out of memory")
            case "refuse":
                raise RefusedError("no such folder: nowhere")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case ("kill beside a reader", log):
                reader = os.fork()
                if reader == 0:
                    time.sleep(600)  # it has inherited all that is open here
                Path(log).write_text(str(reader))
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "spend":
                self._is_spent = True
                return os.getpid()
            case "wait":
                report(0.5, "waiting to be interrupted")
                while not self._is_interrupted:
                    time.sleep(0.01)
                raise InterruptedTaskError
            case "wait and be spent":
                self._is_spent = True
                return self("wait", report)
            case "hang":
                time.sleep(600)
            case ("hold", float(seconds)):
                report(0.5, str(os.getpid()))
                start = time.monotonic()
                time.sleep(seconds)
                return Held(os.getpid(), start, time.monotonic(), os.environ.get("CUDA_VISIBLE_DEVICES"))
            case Asking(work=inner):
                return self(inner, report)
        return None
