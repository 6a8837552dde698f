"""The machines of a cluster, looked at before a search begins: the same images everywhere, and how fast each one is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .dispatch import Task
from .evaluation_tasks import DataFacts, Inspect, Inspection
from .executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError, Started
from .task_queue import TaskQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of the cluster at the start of a search."""

    place: str
    """Its name."""
    hardware: str
    device: str
    """Hardware and software of the device that trains, as one text."""
    canary_s: float | None
    """Seconds of a step of the canary there; None where it could not be timed."""


class Survey:
    """Inspects every machine: a source of tasks for `dispatch`."""

    def __init__(
        self,
        places: Sequence[str],
        *,
        max_retries: int,
        log_death: Callable[[str, Died], None] = lambda place, death: None,
    ) -> None:
        """
        Args:
            places: Names of the machines.
            max_retries: Further attempts on a machine whose worker died.
            log_death: Called with a machine's name and the death of its worker.
        """
        self._tasks = TaskQueue(places, max_retries=max_retries)
        self._log_death = log_death
        self.found: dict[str, Inspection] = {}

    def next_task(self) -> Task | None:
        task = self._tasks.next_task()
        return None if task is None else Task(task, Inspect(place=self._tasks[task], with_canary=True))

    def handle(self, event: Event) -> None:
        """Take what a machine shows.

        Raises:
            RefusedError: If one cannot do its part, with its name.
        """
        place = self._tasks[event.task]
        match event:
            case Done(result=Inspection() as inspection):
                self.found[place] = inspection
            case Refused(reason=reason) | Infeasible(reason=reason):
                raise RefusedError(f"on {place}: {reason}")
            case Interrupted(lost_node=False):
                self._tasks.again(event.task)
            case Interrupted():
                pass  # a machine that is lost takes no part
            case Died(reason=reason):
                self._log_death(place, event)
                if self._tasks.died(event.task):
                    raise RefusedError(f"workers on {place} die: {reason}")
            case Done(result=result):
                raise TypeError(f"an inspection was expected, got {type(result).__name__}")
            case Started() | Progress():
                pass

    def abandon(self, task: int) -> None:
        """Nothing was promised."""

    @property
    def machines(self) -> list[Machine]:
        """What was found, in the order of the names."""
        return [
            Machine(place=place, hardware=found.hardware, device=found.device, canary_s=found.canary_s)
            for place, found in sorted(self.found.items())
        ]


def require_same_images(found: dict[str, Inspection], data: DataFacts) -> None:
    """Make sure that every machine reads the same images.

    Raises:
        RefusedError: If one does not, with its name.
    """
    for place, inspection in found.items():
        if inspection.data != data:
            raise RefusedError(
                f"the images of {data.source} on {place} are not those of the other machines: "
                f"{inspection.data.num_train} to train on, digest {inspection.data.digest[:12]}, "
                f"elsewhere {data.num_train}, digest {data.digest[:12]}"
            )


def require_one_kind(machines: Sequence[Machine]) -> None:
    """Make sure that step times mean one thing where nobody has said on which machines they count.

    Raises:
        RefusedError: If there are several kinds of hardware.
    """
    kinds = sorted({machine.hardware for machine in machines})
    if len(kinds) > 1:
        raise RefusedError(
            f"the machines of this cluster differ ({'; '.join(kinds)}): name a Ray resource of those whose step time "
            "counts, such as --set step_time.targets=accelerator_type:A100"
        )
