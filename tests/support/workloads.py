"""What the executors' contract tests let workers do."""

import os
import signal
import time

from nas.executors.interface import Evaluate, RefusedError, Report
from proxies.infeasible import InfeasibleError


def make_workload(worker: int) -> Evaluate:
    """A worker that does what a task says, and counts what it has done."""
    return _Workload(worker)


def make_nothing(worker: int) -> Evaluate:
    raise RefusedError("no such folder: nowhere")


class _Workload:
    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._count = 0

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
            case "exit":
                os._exit(3)
            case "hang":
                time.sleep(600)
        return None
