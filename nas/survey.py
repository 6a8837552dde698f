"""The machines of a cluster, looked at as they come: the same images everywhere, and how fast each one is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .dispatch import Source, Task
from .evaluation_tasks import Inspect, Inspection
from .executors.interface import Died, Done, Event, Infeasible, Interrupted, Progress, Refused, RefusedError, Started

_FIRST = -2
"""Number of the first look; further ones have the numbers below, which no trial has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of the cluster as a search found it."""

    place: str
    """Its name."""
    hardware: str
    device: str
    """Hardware and software of the device that trains, as one text."""
    canary_s: float | None
    """Seconds of a step of the canary there; None where it could not be timed."""


class Survey:
    """Inspects every machine once: a source of tasks for `dispatch`, by itself or beside another one."""

    def __init__(
        self,
        first: tuple[str, Inspection],
        *,
        places: Callable[[], Sequence[str]],
        may_differ: bool,
        max_retries: int,
        on_found: Callable[[list[Machine]], None],
        on_progress: Callable[[str, str], None] = lambda place, doing: None,
        log_death: Callable[[str, Died], None] = lambda place, death: None,
    ) -> None:
        """
        Args:
            first: A machine that was inspected already, whose images are those of the search.
            places: Names of the machines that are there now.
            may_differ: Whether hardware may differ: it is said elsewhere whose step time counts.
            max_retries: Further attempts on a machine whose worker died.
            on_found: Called with all machines when another one was inspected.
            on_progress: Called with a machine's name and what is being done there.
            log_death: Called with a machine's name and the death of its worker.
        """
        self._places, self._may_differ, self._max_retries = places, may_differ, max_retries
        self._on_found, self._on_progress, self._log_death = on_found, on_progress, log_death
        self._found = dict([first])
        self._first = first[1]
        self._looks: list[str] = []
        """Names of machines, by look."""
        self._under_way: set[str] = set()

    def __contains__(self, task: int) -> bool:
        return task <= _FIRST

    @property
    def machines(self) -> list[Machine]:
        """What was found, in the order of the names."""
        return [
            Machine(place=place, hardware=found.hardware, device=found.device, canary_s=found.canary_s)
            for place, found in sorted(self._found.items())
        ]

    def next_task(self) -> Task | None:
        """A look at a machine that is new, or whose look came to nothing."""
        known = self._found.keys() | self._under_way
        new = next((place for place in self._places() if place not in known), None)
        if new is None:
            return None
        self._looks.append(new)
        self._under_way.add(new)
        return Task(_FIRST - len(self._looks) + 1, Inspect(place=new, with_canary=True))

    def handle(self, event: Event) -> None:
        """Take what a machine shows.

        Raises:
            RefusedError: If one cannot do its part, with its name.
        """
        place = self._looks[_FIRST - event.task]
        if not isinstance(event, Started | Progress):
            self._under_way.remove(place)
        match event:
            case Started():
                pass
            case Progress(doing=doing):
                self._on_progress(place, doing)
            case Done(result=Inspection() as inspection):
                self._take(place, inspection)
            case Done(result=result):
                raise TypeError(f"an inspection was expected, got {type(result).__name__}")
            case Refused(reason=reason) | Infeasible(reason=reason):
                raise RefusedError(f"on {place}: {reason}")
            case Interrupted():
                pass  # if it is still there, it is new again
            case Died(reason=reason):
                self._log_death(place, event)
                if self._looks.count(place) > self._max_retries:
                    raise RefusedError(f"workers on {place} die: {reason}")

    def abandon(self, task: int) -> None:
        """Nothing was promised."""

    def _take(self, place: str, inspection: Inspection) -> None:
        data, own = self._first.data, inspection.data
        if own != data:
            raise RefusedError(
                f"the images of {data.source} on {place} are not those of the other machines: {own.num_train} to train "
                f"on, digest {own.digest[:12]}, elsewhere {data.num_train}, digest {data.digest[:12]}"
            )
        if inspection.hardware != self._first.hardware and not self._may_differ:
            raise RefusedError(
                f"the machines of this cluster differ ({self._first.hardware}; {place}: {inspection.hardware}): name a "
                "Ray resource of those whose step time counts, such as --set step_time.targets=accelerator_type:A100"
            )
        self._found[place] = inspection
        self._on_found(self.machines)


class SurveyedSource:
    """A source of tasks on a cluster where machines may join: who is new is looked at first."""

    def __init__(self, source: Source, survey: Survey) -> None:
        self._source, self._survey = source, survey

    def next_task(self) -> Task | None:
        return self._survey.next_task() or self._source.next_task()

    def handle(self, event: Event) -> None:
        self._of(event.task).handle(event)

    def abandon(self, task: int) -> None:
        self._of(task).abandon(task)

    def _of(self, task: int) -> Source:
        return self._survey if task in self._survey else self._source
