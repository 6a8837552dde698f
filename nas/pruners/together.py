"""Several pruners as one."""

from collections.abc import Sequence

from .interface import Pruner, Subject, Trained


class Together:
    """A training begins, goes on and comes back if no pruner is against it; the first reason is given."""

    def __init__(self, pruners: Sequence[Pruner]) -> None:
        """
        Args:
            pruners: In the order in which they are asked; none lets every training go on.
        """
        self._pruners = tuple(pruners)
        self._pruned: dict[int, Trained] = {}
        """By number of the trial."""

    def before(self, subject: Subject) -> str | None:
        """The first reason not to train a candidate."""
        return next((reason for pruner in self._pruners if (reason := pruner.before(subject))), None)

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        """The first reason not to go on."""
        return next((reason for pruner in self._pruners if (reason := pruner.after_epoch(subject, curve))), None)

    def told(self, trained: Trained, reason: str | None) -> None:
        """All learn from it, whoever pruned it."""
        if not trained.is_complete:
            self._pruned[trained.subject.number] = trained
        for pruner in self._pruners:
            pruner.told(trained, reason)

    def promoted(self) -> int | None:
        """What one pruner lets go on after all, and no other would prune again at once."""
        for pruner in self._pruners:
            others = [other for other in self._pruners if other is not pruner]
            while (number := pruner.promoted()) is not None:
                pruned = self._pruned[number]
                if all(other.after_epoch(pruned.subject, pruned.curve) is None for other in others):
                    return number
        return None
