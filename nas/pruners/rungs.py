"""Successive halving without waiting: at each rung the best part goes on, the rest stops there and may go on later."""

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from .interface import Consent, Subject, Trained, consented


def rungs_below(num_epochs: int, *, first: int, factor: int) -> tuple[int, ...]:
    """Epochs after which candidates are compared: first · factor^k, the last epoch and beyond left out.

    >>> rungs_below(30, first=1, factor=3)
    (1, 3, 9, 27)

    Raises:
        ValueError: If the first rung is below 1 or the factor below 2.
    """
    if first < 1:
        raise ValueError(f"first rung must be at least 1, got {first}")
    if factor < 2:
        raise ValueError(f"factor between rungs must be at least 2, got {factor}")
    found = []
    rung = first
    while rung < num_epochs:
        found.append(rung)
        rung *= factor
    return tuple(found)


@dataclass(slots=True)
class _Rung:
    """What is known at one rung; keyed by architecture, so that a further attempt is no further candidate."""

    epoch: int
    scores: dict[str, float] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    """Who went on."""
    stopped: dict[str, int] = field(default_factory=dict)
    """Numbers of the trials that were pruned here."""

    def enter(self, subject: Subject, accuracy: float) -> None:
        factor = 1.0 if subject.reward_factor is None else subject.reward_factor
        self.scores.setdefault(subject.architecture, accuracy * factor)

    def from_the_best(self) -> list[str]:
        """Everybody; of equals in the order of their texts, which no retry or resume changes."""
        return sorted(self.scores, key=lambda architecture: (-self.scores[architecture], architecture))

    def room(self, factor: int) -> int:
        """How many may go on."""
        return len(self.scores) // factor

    def best_stopped(self, factor: int, consent: Consent) -> str | None:
        """The best who was pruned here and belongs to those that may go on by now."""
        chosen = (each for each in self.from_the_best()[: self.room(factor)] if each in self.stopped)
        return next((architecture for architecture in chosen if consent(self.stopped[architecture])), None)


class SuccessiveHalving:
    """Asynchronous successive halving (arXiv:1810.05934), in whole epochs.

    At a rung a candidate goes on if it is among the best 1/factor of all that have come there so far, itself included;
    a rung with fewer than `factor` candidates lets none go on. Who was pruned goes on later where the rung has filled
    in such a way that it belongs to the best; candidates at higher rungs come first. Rewards are compared, since step
    time and parameters are known, and accuracies where they are not.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int) -> None:
        """
        Args:
            rungs: Epochs after which candidates are compared, ascending.
            factor: One out of so many goes on.
        """
        self._rungs = {epoch: _Rung(epoch) for epoch in rungs}
        self._factor = factor

    def before(self, subject: Subject) -> str | None:
        """Nobody is judged before training."""
        return None

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        """Where the epoch is a rung: why a candidate stops there."""
        rung = self._rungs.get(len(curve))
        if rung is None:
            return None
        rung.enter(subject, curve[-1])
        if subject.architecture in rung.passed:
            return None
        rank, room = 1 + rung.from_the_best().index(subject.architecture), rung.room(self._factor)
        if rank <= room:
            self._let_pass(rung, subject.architecture)
            return None
        return f"number {rank} of {len(rung.scores)} after epoch {rung.epoch}, where {_count(room)} on"

    def told(self, trained: Trained, reason: str | None) -> None:
        """Enter a training at every rung it has come to; where it was pruned at one, it waits there."""
        subject, num_epochs = trained.subject, len(trained.curve)
        for rung in self._reached(num_epochs):
            rung.enter(subject, trained.curve[rung.epoch - 1])
            if rung.epoch < num_epochs or trained.is_complete:
                self._let_pass(rung, subject.architecture)
            elif subject.architecture not in rung.passed:
                rung.stopped[subject.architecture] = subject.number

    def promoted(self, consent: Consent = consented) -> int | None:
        """The trial of the best candidate, at the highest rung, that was pruned and belongs to the best by now."""
        for rung in reversed(self._rungs.values()):
            architecture = rung.best_stopped(self._factor, consent)
            if architecture is not None:
                number = rung.stopped[architecture]
                self._let_pass(rung, architecture)
                return number
        return None

    def _reached(self, num_epochs: int) -> Iterator[_Rung]:
        return (rung for rung in self._rungs.values() if rung.epoch <= num_epochs)

    def _let_pass(self, rung: _Rung, architecture: str) -> None:
        rung.passed.add(architecture)
        rung.stopped.pop(architecture, None)


class Hyperband:
    """Hyperband (arXiv:1603.06560) over asynchronous halving: brackets that begin to prune at different rungs.

    The first rung of a search that is too early misjudges candidates which learn slowly; so only a part of them is
    judged that early. Brackets get shares of the candidates by which each costs about as much training as the others.
    An architecture's text says which bracket it is in, so that further attempts and promotions stay in theirs, and a
    search that was interrupted deals as one that was not.
    """

    def __init__(self, rungs: Sequence[int], *, factor: int) -> None:
        """
        Args:
            rungs: Of the bracket that prunes earliest, ascending; each further bracket leaves one more of them out.
            factor: One out of so many goes on.
        """
        halvings = range(len(rungs), -1, -1)
        self._brackets = [SuccessiveHalving(rungs[len(rungs) - count :], factor=factor) for count in halvings]
        self._ends = tuple(accumulate(bracket_size(count, len(rungs), factor) for count in halvings))

    def before(self, subject: Subject) -> str | None:
        """Nobody is judged before training."""
        return None

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        """Where the epoch is a rung of the candidate's bracket: why it stops there."""
        return self._bracket_of(subject).after_epoch(subject, curve)

    def told(self, trained: Trained, reason: str | None) -> None:
        """Enter a training in its bracket."""
        self._bracket_of(trained.subject).told(trained, reason)

    def promoted(self, consent: Consent = consented) -> int | None:
        """As in halving; the bracket that prunes earliest comes first."""
        found = (bracket.promoted(consent) for bracket in self._brackets)
        return next((number for number in found if number is not None), None)

    def _bracket_of(self, subject: Subject) -> SuccessiveHalving:
        ticket = zlib.crc32(subject.architecture.encode()) % self._ends[-1]
        return self._brackets[bisect_right(self._ends, ticket)]


def bracket_size(num_halvings: int, most_halvings: int, factor: int) -> int:
    """Candidates that begin in a bracket of one round of Hyperband.

    >>> [bracket_size(halvings, 4, 3) for halvings in (4, 3, 2, 1, 0)]
    [81, 34, 15, 8, 5]
    """
    return -(-(most_halvings + 1) * factor**num_halvings // (num_halvings + 1))


def _count(room: int) -> str:
    return {0: "none goes", 1: "the best goes"}.get(room, f"the best {room} go")
