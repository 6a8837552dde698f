"""Worker processes on the machines of a Ray cluster: Ray finds each a place, and the local executor runs it there."""

import contextlib
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import floor

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search_spaces.messages import first_line

from ..config import ClusterConfig
from .interface import Demand, Died, Event, Interrupted, Progress, Refused, RefusedError, Started
from .local import Factory, LocalExecutor

_PATIENCE_S = 10.0
"""How long a seat waits for news before it answers that there are none."""
_GRACE_S = 20.0
"""How long after a seat's death its machine may turn out to be dead, too."""
_WAITING_S = 10.0
"""How long a task may wait for its place before somebody is told."""
_LOOK_S = 1.0
_KNOCK_S = 10.0
_A_BIT = 0.001
"""Of the resource that marks a kind of machine: enough to be on one, little enough for a thousand tasks."""


class RayExecutor:
    """Evaluates on a cluster; each task has a seat there, an actor that holds the trial's CPUs and GPU.

    A seat runs one worker process by the local executor, so that a worker's death is told with the same reason as on
    one machine, and a CUDA context that went bad dies with that process alone. A machine that is lost interrupts its
    tasks. When the driver dies, Ray ends its seats, and they their workers.
    """

    def __init__(
        self,
        factory: Factory,
        *,
        cluster: ClusterConfig,
        demand_of: Callable[[object], Demand],
        workers: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            factory: Makes a worker's evaluation; its module must be installed on every machine.
            cluster: Which one, and what a trial needs of it.
            demand_of: What a task needs beyond that.
            workers: Tasks at once; by default as many as fit, whatever that is at the moment.
            clock: Monotonic seconds.

        Raises:
            RefusedError: If there is no such cluster.
        """
        self._factory, self._demand_of, self._workers = factory, demand_of, workers
        self._clock = clock
        self._is_ours = _connect(cluster.address)
        self._names: dict[str, str] = {}
        self._nodes: tuple[_Node, ...] = ()
        self._looked = -_LOOK_S
        self._seats: list[_Seat] = []
        self._dead: list[_DeadSeat] = []
        self._num_seats = 0
        self._trial = _needs_of_a_trial(cluster, self._alive())

    @property
    def capacity(self) -> int:
        busy = [seat for seat in self._seats if seat.task is not None]
        if any(seat.demand.alone and seat.where is None for seat in busy):
            # Trials that take turns would keep it from ever having a machine alone.
            return len(busy)
        if self._workers is not None:
            return self._workers
        return max(1, sum(node.fits(self._trial) for node in self._alive()))

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(node.name for node in self._alive() if node.fits(self._trial))

    def submit(self, task: int, work: object) -> None:
        if sum(seat.task is not None for seat in self._seats) >= self.capacity:
            raise RuntimeError(f"all {self.capacity} workers are busy, task {task} must wait")
        demand = self._demand_of(work)
        idle = (seat for seat in self._seats if seat.task is None and seat.demand == demand)
        seat = next(idle, None) or self._new_seat(demand)
        seat.begin(task, work, self._clock())
        self._make_room()

    def events(self, timeout_s: float) -> list[Event]:
        pending = {seat.pending: seat for seat in self._seats if seat.pending is not None}
        if not pending:
            time.sleep(timeout_s if self._dead else 0)
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=timeout_s) if pending else ([], [])
        if ready:
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        events = [event for reference in ready for event in self._receive(pending[reference], reference)]
        self._make_room()
        return [*events, *self._verdicts_on_the_dead(), *self._waiting()]

    def interrupt(self, task: int) -> None:
        for seat in self._seats:
            if seat.task == task:
                seat.actor.interrupt.remote(task)

    def halt(self, task: int) -> None:
        for seat in self._seats:
            if seat.task == task:
                seat.actor.halt.remote(task)

    def stop(self, task: int) -> None:
        self._dead = [dead for dead in self._dead if dead.task != task]
        for seat in [seat for seat in self._seats if seat.task == task]:
            self._end(seat)

    def close(self) -> None:
        for seat in list(self._seats):
            self._end(seat)
        if self._is_ours:
            ray.shutdown()

    def _alive(self) -> tuple["_Node", ...]:
        if self._clock() - self._looked >= _LOOK_S:
            self._nodes, self._looked = self._look(), self._clock()
        return self._nodes

    def _name(self, node_id: str) -> str:
        """Of a machine, which may be younger than our last look."""
        if node_id not in self._names:
            self._nodes, self._looked = self._look(), self._clock()
        return self._names.get(node_id, node_id)

    def _look(self) -> tuple["_Node", ...]:
        """The machines that live now; a name once given stays, another machine of the same name gets Ray's number."""
        alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeID"]))
        for node in alive:
            if node["NodeID"] not in self._names:
                host = node["NodeManagerHostname"]
                is_known = host in self._names.values()
                self._names[node["NodeID"]] = f"{host}-{node['NodeID'][:8]}" if is_known else host
        nodes = [_Node(node["NodeID"], self._names[node["NodeID"]], dict(node["Resources"])) for node in alive]
        return tuple(sorted(nodes, key=lambda node: node.name))

    def _new_seat(self, demand: Demand) -> "_Seat":
        """A seat for a demand."""
        resources, node = self._resources(demand)
        actor = _SeatActor.options(  # type: ignore[attr-defined]
            num_cpus=resources.pop("CPU"),
            num_gpus=resources.pop("GPU", 0),
            resources=resources,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False) if node else "DEFAULT",
            # One call waits for events while another interrupts. What died is made again by the search, not by Ray.
            max_concurrency=2,
            max_restarts=0,
            max_task_retries=0,
        ).remote(self._factory, self._num_seats)
        self._num_seats += 1
        self._seats.append(_Seat(actor, demand))
        return self._seats[-1]

    def _make_room(self) -> None:
        """Idle seats do what waits too long for another one, or give up what they hold to a task of another demand."""
        for seat in [seat for seat in self._seats if seat.task is None]:
            waiting = [other for other in self._seats if other.task is not None and other.where is None]
            late = [other for other in waiting if self._clock() - other.since >= _WAITING_S]
            if any(other.demand != seat.demand for other in waiting):
                self._end(seat)
            elif late and late[0].task is not None:
                self._end(late[0])
                seat.begin(late[0].task, late[0].work, self._clock())

    def _resources(self, demand: Demand) -> tuple[dict[str, float], "_Node | None"]:
        """What Ray must set aside for a task, and the machine where only one will do."""
        resources = dict(self._trial)
        if demand.resource is not None:
            resources[demand.resource] = _A_BIT
        node = next((node for node in self._alive() if node.name == demand.place), None)
        if demand.alone and "GPU" in resources:
            resources["GPU"] = 1.0
        elif demand.alone:
            # The device is the CPU: all of one machine, an empty one if there is any.
            taken = {seat.where for seat in self._seats if seat.task is not None}
            fit = sorted((node for node in self._alive() if node.fits(resources)), key=lambda node: node.name in taken)
            node = node or next(iter(fit), None)
            resources["CPU"] = node.resources["CPU"] if node else resources["CPU"]
        return resources, node

    def _receive(self, seat: "_Seat", reference: "ray.ObjectRef[list[Event]]") -> list[Event]:
        """News of a seat; its death is some."""
        try:
            events = ray.get(reference)
        except RayError as error:
            return self._lost(seat, error)
        events = [replace(news, where=self._name(news.where)) if isinstance(news, Started) else news for news in events]
        seat.hear(events)
        if seat.task is None and seat.demand.alone:
            self._end(seat)
        return events

    def _lost(self, seat: "_Seat", error: RayError) -> list[Event]:
        """A seat that is there no more; whether with its machine shows itself a moment later."""
        task = seat.task
        self._end(seat)
        if task is None:
            return []
        if isinstance(error, ActorUnschedulableError) or _has_lost_its_node(error):
            return [Interrupted(task, lost_node=True)]
        if isinstance(error, OutOfMemoryError):
            return [Died(task, f"worker killed by Ray (out of memory): {_cause(error)}")]
        if _lacks_our_code(error):
            return [Refused(task, f"a machine of the cluster cannot run this package: {_cause(error)}")]
        if not isinstance(error, RayActorError) or _is_stillborn(error):
            return [Died(task, _cause(error))]
        self._dead.append(_DeadSeat(task, seat.where, _cause(error), self._clock() + _GRACE_S))
        return []

    def _verdicts_on_the_dead(self) -> Iterator[Event]:
        alive = {node.name for node in self._alive()} if self._dead else set()
        for dead in list(self._dead):
            if dead.where is not None and dead.where not in alive:
                self._dead.remove(dead)
                yield Interrupted(dead.task, lost_node=True)
            elif self._clock() >= dead.until:
                self._dead.remove(dead)
                yield Died(dead.task, dead.reason)

    def _waiting(self) -> Iterator[Event]:
        now = self._clock()
        for seat in self._seats:
            if seat.task is not None and seat.where is None and now - seat.told >= _WAITING_S:
                seat.told = now
                needs = ", ".join(f"{amount:g} {name}" for name, amount in self._resources(seat.demand)[0].items())
                yield Progress(seat.task, 0.0, f"waiting for a machine with {needs}")

    def _end(self, seat: "_Seat") -> None:
        self._seats.remove(seat)
        ray.kill(seat.actor)


@ray.remote
class _SeatActor:
    """Lives on a machine of the cluster, and holds a worker process there."""

    def __init__(self, factory: Factory, index: int) -> None:
        # Only the driver knows how machines are called.
        self._executor = LocalExecutor(factory, first_worker=index, where=ray.get_runtime_context().get_node_id())

    def begin(self, task: int, work: object) -> list[Event]:
        self._executor.submit(task, work)
        return self._executor.events(0)

    def events(self, timeout_s: float) -> list[Event]:
        return self._executor.events(timeout_s)

    def interrupt(self, task: int) -> None:
        self._executor.interrupt(task)

    def halt(self, task: int) -> None:
        self._executor.halt(task)


@dataclass(slots=True, eq=False)
class _Seat:
    """The driver's end of a seat."""

    actor: "ray.actor.ActorHandle"
    demand: Demand
    task: int | None = None
    work: object = None
    since: float = 0.0
    """When the task came."""
    pending: "ray.ObjectRef[list[Event]] | None" = None
    """The news to come."""
    where: str | None = None
    """Its machine; None before it has one."""
    told: float = 0.0
    """When somebody was told that it waits for one."""

    def begin(self, task: int, work: object, now: float) -> None:
        self.task, self.work, self.since, self.told = task, work, now, now
        self.pending = self.actor.begin.remote(task, work)

    def hear(self, events: list[Event]) -> None:
        """Wait for more, unless the task has come to its end."""
        for event in events:
            if isinstance(event, Started):
                self.where = event.where
        if not events or isinstance(events[-1], Started | Progress):
            self.pending = self.actor.events.remote(_PATIENCE_S)
        else:
            self.task = self.work = self.pending = None


@dataclass(frozen=True, slots=True)
class _DeadSeat:
    task: int
    where: str | None
    reason: str
    until: float
    """When its machine is believed to live."""


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    name: str
    resources: dict[str, float]

    def fits(self, needs: dict[str, float]) -> int:
        """How many times over it has what is needed."""
        return floor(min(self.resources.get(name, 0.0) / amount for name, amount in needs.items()) + 1e-9)


def _needs_of_a_trial(cluster: ClusterConfig, nodes: tuple[_Node, ...]) -> dict[str, float]:
    """Ray resources that a trial holds."""
    gpus = cluster.gpus_per_trial
    if gpus is None:
        gpus = float(any("GPU" in node.resources for node in nodes))
    return {"CPU": float(cluster.cpus_per_trial)} | ({"GPU": gpus} if gpus else {})


def _connect(address: str | None) -> bool:
    """Join the cluster; returns whether it was us, so that we leave it, too."""
    if ray.is_initialized():
        return False
    if address is not None and address.startswith("ray://"):
        raise RefusedError(
            "cluster.address must be that of a cluster this machine belongs to (submit the search as a job there: "
            f"ray job submit), got {address}"
        )
    with _own_signal_handlers():
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or first_line(error)
            raise RefusedError(f"no Ray cluster at {address or 'this machine'}: {why}") from error
    return True


def _knock(address: str | None) -> None:
    """Ray would ask an address where nobody answers for minutes.

    Raises:
        OSError: If nobody does.
    """
    if address in (None, "auto"):
        address = os.environ.get("RAY_ADDRESS")
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


@contextlib.contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Ray takes SIGTERM, which is a request to stop to us."""
    try:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)
    except ValueError as error:
        if "main thread" not in str(error):
            raise


def _is_stillborn(error: RayError) -> bool:
    """Whether an actor could not even be made."""
    return isinstance(error, ActorDiedError) and "creation task" in str(error)


def _lacks_our_code(error: RayError) -> bool:
    """Whether a machine has no such package, or one of another version."""
    is_ours = isinstance(error, RayTaskError) or _is_stillborn(error)
    return is_ours and any(name in str(error) for name in ("ModuleNotFoundError", "ImportError", "AttributeError"))


def _has_lost_its_node(error: RayError) -> bool:
    """Whether Ray knows already; of a node that is lost this moment it does not."""
    return isinstance(error, RayActorError) and "because its node has died" in str(error)


def _cause(error: RayError) -> str:
    """The line of Ray's many that says why, and where; of an error in Python, its last."""
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    because = [line for line in lines if "because" in line or "due to" in line]
    if "Traceback" not in text:
        return (because or lines[-1:])[0]
    address = re.search(r"ip=([^,)\s]+)", text)
    return lines[-1] + (f" (on {address[1]})" if address else "")
