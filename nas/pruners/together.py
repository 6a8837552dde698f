"""Several pruners as one."""

from collections.abc import Sequence

from .interface import Consent, Pruner, Subject, Trained, consented


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

    def promoted(self, consent: Consent = consented) -> int | None:
        """What one pruner lets go on after all, and no other would prune again at once."""
        found = (pruner.promoted(self._consent_beside(pruner, consent)) for pruner in self._pruners)
        return next((number for number in found if number is not None), None)

    def _consent_beside(self, pruner: Pruner, consent: Consent) -> Consent:
        others = [other for other in self._pruners if other is not pruner]

        def consent_of_all(number: int) -> bool:
            pruned = self._pruned[number]
            return consent(number) and all(each.after_epoch(pruned.subject, pruned.curve) is None for each in others)

        return consent_of_all
