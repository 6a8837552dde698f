"""Worker processes on this machine, joined to the driver by pipes: no port is opened."""

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

from proxies.infeasible import InfeasibleError
from search_spaces.messages import first_line

from .interface import (
    Died,
    Done,
    Evaluate,
    Event,
    Infeasible,
    Interrupted,
    InterruptedTaskError,
    Progress,
    Refused,
    RefusedError,
    Started,
)

# A fresh interpreter, not a fork: a forked child of a process that has used CUDA or threads is broken.
_CONTEXT = multiprocessing.get_context("spawn")
MAX_DEATHS_IN_A_ROW = 6
"""Of one worker, before it gets no more tasks where there are others: twice as often as one candidate may die."""
_JOIN_S = 2.0
_LOOK_S = 1.0
"""Between two looks whether the workers live."""

Factory = Callable[[int], Evaluate]
"""Makes a worker's evaluation from the worker's index (0, 1 …); must be picklable."""


class LocalExecutor:
    """Evaluates in processes that live as long as the search, so that each imports and loads its images once.

    A process that dies, or that a task has spent, is replaced. Workers start at once, so that their imports overlap
    with the driver's.
    """

    def __init__(self, factory: Factory, *, workers: int = 1, first_worker: int = 0, where: str | None = None) -> None:
        """
        Args:
            factory: Makes each worker's evaluation.
            workers: Processes.
            first_worker: Index of the first, where others have the lower ones.
            where: Name of this machine; by default its host name.
        """
        self._where = where or socket.gethostname()
        self._workers = [_Worker(factory, first_worker + index) for index in range(workers)]
        self._started: list[Event] = []

    @property
    def capacity(self) -> int:
        return len(self._fit)

    @property
    def _fit(self) -> list["_Worker"]:
        """Workers that are trusted, or all where none is: that all tasks die is for others to judge."""
        return [worker for worker in self._workers if not worker.is_given_up] or self._workers

    @property
    def places(self) -> tuple[str, ...]:
        return (self._where,)

    def submit(self, task: int, work: object) -> None:
        for worker in self._fit:
            if worker.task is None:
                worker.assign(task, work)
                self._started.append(Started(task, self._where))
                return
        raise RuntimeError(f"all {self.capacity} workers are busy, task {task} must wait")

    def events(self, timeout_s: float) -> list[Event]:
        events, self._started = self._started, []
        busy = [worker for worker in self._workers if worker.task is not None]
        end = time.monotonic() + timeout_s
        while not events:
            left_s = end - time.monotonic()
            ready = wait([worker.pipe for worker in busy], timeout=min(_LOOK_S, max(0.0, left_s)))
            # The pipe of a dead worker stays open as long as a process that it has started, to read images.
            events = [worker.receive() for worker in busy if worker.pipe in ready or not worker.is_alive]
            if left_s <= 0:
                break
        return events

    def interrupt(self, task: int) -> None:
        for worker in self._workers:
            if worker.task == task:
                worker.interrupt()

    def halt(self, task: int) -> None:
        for worker in self._workers:
            if worker.task == task:
                worker.halt()

    def stop(self, task: int) -> None:
        self._started = [event for event in self._started if event.task != task]
        for worker in self._workers:
            if worker.task == task:
                worker.end()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process and the driver's end of its pipe; a process that has ended is replaced with the next task."""

    def __init__(self, factory: Factory, index: int) -> None:
        self._factory, self._index = factory, index
        self._deaths_in_a_row = 0
        self._start()

    def _start(self) -> None:
        self.task: int | None = None
        self._is_ended = self._is_halted = False
        self._num_tasks = 0
        self.pipe, theirs = _CONTEXT.Pipe()
        their_halts, self._halts = _CONTEXT.Pipe(duplex=False)
        self._process: BaseProcess = _CONTEXT.Process(
            # Not a daemon: it may have processes of its own, which read images.
            target=_work,
            args=(theirs, their_halts, self._factory, self._index),
            name=f"nas-worker-{self._index}",
            daemon=False,
        )
        self._process.start()
        # Only the worker holds its ends now, so that its death closes the pipes.
        theirs.close()
        their_halts.close()

    def assign(self, task: int, work: object) -> None:
        if not self._process.is_alive():
            self.end()
            self._start()
        self.task, self._is_halted = task, False
        self._num_tasks += 1
        # A worker that died this very moment is found by `receive`, which reads the end of its pipe.
        with contextlib.suppress(BrokenPipeError):
            self.pipe.send((task, work))

    def receive(self) -> Event:
        """The next event of the task it has; its process's death is one."""
        task = self.task
        if task is None:
            raise RuntimeError(f"worker {self._index} has no task")
        event: Event
        try:
            if not self.pipe.poll():
                raise EOFError
            event, is_last = self.pipe.recv()
        except (EOFError, OSError):
            event, is_last = self._death(task), True
        if isinstance(event, Died):
            self._deaths_in_a_row += 1
            if self._deaths_in_a_row == MAX_DEATHS_IN_A_ROW:
                event = replace(
                    event, reason=f"{event.reason}, the {MAX_DEATHS_IN_A_ROW}th in a row of worker {self._index}"
                )
        is_halted = self._is_halted and isinstance(event, Interrupted)
        if is_halted or isinstance(event, Done):
            self._deaths_in_a_row = 0
        if is_last:
            self.end()
        if is_last and (is_halted or isinstance(event, Done | Infeasible)):
            # The next one imports and loads while the driver thinks; where something went wrong, it waits to be asked.
            self._start()
        if not isinstance(event, Progress):
            self.task = None
        return event

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def is_given_up(self) -> bool:
        """Whether so many tasks have died with it, one after another, that its device must be at fault."""
        return self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW

    def interrupt(self) -> None:
        """Ask its task, and then itself, to end; see `_Interruption`."""
        self._process.terminate()

    def halt(self) -> None:
        """Ask its task to end, and do the next one."""
        self._is_halted = True
        # A worker that died this moment has ended its task, too.
        with contextlib.suppress(OSError):
            self._halts.send(self._num_tasks)

    def end(self) -> None:
        """Kill it and what it has started: what a worker keeps, it has kept on disk."""
        self.task = None
        self.pipe.close()
        self._halts.close()
        if not self._is_ended and self._process.pid is not None:
            # Its group, in which those who read images for it live on when it is dead. It may not have made one yet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._is_ended = True
        self._process.join(_JOIN_S)

    def _death(self, task: int) -> Event:
        self._process.join(_JOIN_S)
        code = self._process.exitcode
        if code == -signal.SIGTERM:
            return Interrupted(task)  # before it could listen
        if code is not None and code < 0:
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return Died(task, f"worker killed by {signal.Signals(-code).name}{hint}")
        return Died(task, f"worker exited with code {code}")


def _work(pipe: Connection, halts: Connection, factory: Factory, index: int) -> None:
    """A worker's life: receive a task, evaluate it, send what became of it."""
    # In a group of its own Ctrl-C does not reach it, since the driver decides what becomes of a running task; and what
    # it starts can be ended with it.
    os.setpgid(0, 0)
    interruption = _Interruption()
    signal.signal(signal.SIGTERM, interruption.request)
    # We were spawned, and would spawn our own children too: seconds for each, where the platform's default suffices
    # for processes that only read images.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    threading.Thread(target=_die_with_driver, daemon=True).start()
    threading.Thread(target=interruption.listen, args=(halts,), daemon=True).start()
    make = _deferred(factory, index)
    is_last = False
    while not is_last:
        try:
            task, work = pipe.recv()
        except EOFError:
            return
        interruption.place += 1
        event, is_last = _evaluate(make, interruption, pipe, task, work)
        with contextlib.suppress(BrokenPipeError):  # the driver has stopped this task and is about to kill us
            pipe.send((event, is_last))


class _Interruption:
    """Somebody asks for an early end.

    Of this process: the driver, or a scheduler that ends the whole machine, by a signal. Or of a task alone: the
    driver, by its place among the tasks of this process, so that what comes too late does not end the next one.
    """

    def __init__(self) -> None:
        self.is_requested = False
        """Whether this process shall end."""
        self.place = 0
        """Of the newest task: 1, 2 …"""
        self._evaluate: Evaluate | None = None
        self._halted = 0
        """Place of the newest task that shall end alone."""
        # The signal's handler runs in the thread that may hold it, and so does without.
        self._lock = threading.Lock()

    def request(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self.is_requested = True
        if self._evaluate is not None:
            self._evaluate.interrupt()

    def listen(self, halts: Connection) -> None:
        """Take places of tasks until there is no driver."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._halt(halts.recv())

    def _halt(self, place: int) -> None:
        with self._lock:
            self._halted = place
            if self.place == place and self._evaluate is not None:
                self._evaluate.interrupt()

    def begin(self, evaluate: Evaluate) -> bool:
        """Turn to the newest task; returns whether it shall end before it begins."""
        with self._lock:
            evaluate.expect()
            self._evaluate = evaluate
            return self.is_requested or self._halted == self.place


def _deferred(factory: Factory, index: int) -> Callable[[], Evaluate]:
    """Make the evaluation now, while the driver is still starting, and tell of an error with the first task."""
    try:
        evaluate = factory(index)
    except Exception as error:
        failure = error

        def fail() -> Evaluate:
            raise failure

        return fail
    return lambda: evaluate


def _evaluate(
    make: Callable[[], Evaluate], interruption: _Interruption, pipe: Connection, task: int, work: object
) -> tuple[Event, bool]:
    """What became of a task, and whether this process should do no other."""

    def report(fraction: float, doing: str, found: object = None) -> None:
        pipe.send((Progress(task, fraction, doing, found), False))

    try:
        evaluate = make()
        if interruption.begin(evaluate):
            return Interrupted(task), interruption.is_requested
        event: Event = Done(task, evaluate(work, report))
    except InfeasibleError as error:
        event = Infeasible(task, error.reason)
    except RefusedError as error:
        return Refused(task, " ".join(str(error).split())), False
    except InterruptedTaskError:
        event = Interrupted(task)
    except Exception as error:
        # The one place where a bug in an evaluation is caught: its traceback goes to the driver, and after an error
        # that nobody foresaw nothing here can be trusted, a CUDA context least of all.
        return Died(task, f"{type(error).__name__}: {first_line(error)}", traceback.format_exc()), True
    return event, evaluate.is_spent or interruption.is_requested


def _die_with_driver() -> None:
    """Wait for the driver's death, however it dies, so that no orphan goes on training."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
    # And with it whoever reads images for it: waiting for a disk, such a process sees no end of its parent.
    os.killpg(0, signal.SIGKILL)
