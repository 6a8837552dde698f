"""Several pruners as one."""

from collections.abc import Callable, Sequence

import pytest

from nas.config import make_config
from nas.pruners.choice import make_pruner
from nas.pruners.interface import Consent, Pruner, Subject, Trained, consented
from nas.pruners.known_cost import KnownCostPruner
from nas.pruners.rungs import Hyperband, SuccessiveHalving
from nas.pruners.together import Together


class Scripted:
    """Gives set answers, and notes what it is told."""

    def __init__(self, *, against: str | None = None, lets_on: Sequence[int] = ()) -> None:
        self.against, self.lets_on = against, list(lets_on)
        self.told_of: list[tuple[int, str | None]] = []

    def before(self, subject: Subject) -> str | None:
        return self.against

    def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
        return self.against

    def told(self, trained: Trained, reason: str | None) -> None:
        self.told_of.append((trained.subject.number, reason))

    def promoted(self, consent: Consent = consented) -> int | None:
        number = next(filter(consent, self.lets_on), None)
        if number is not None:
            self.lets_on.remove(number)
        return number


def subject(number: int, factor: float | None = 1.0) -> Subject:
    return Subject(number=number, architecture=f"a{number}", reward_factor=factor)


def pruned(number: int, *curve: float, factor: float | None = 1.0) -> Trained:
    return Trained(subject=subject(number, factor), curve=curve, is_complete=False)


def test_the_first_reason_counts_and_all_learn() -> None:
    silent, first, second = Scripted(), Scripted(against="first"), Scripted(against="second")
    together = Together([silent, first, second])
    assert (together.before(subject(0)), together.after_epoch(subject(0), [0.5])) == ("first", "first")
    together.told(pruned(0, 0.5), "first")
    assert silent.told_of == first.told_of == second.told_of == [(0, "first")]


def test_none_at_all_lets_everything_go_on() -> None:
    nobody = Together([])
    nobody.told(pruned(0, 0.5), "stopped by hand")
    assert nobody.before(subject(1)) is nobody.after_epoch(subject(1), [0.1]) is None
    assert nobody.promoted() is None


@pytest.mark.parametrize("turned", [False, True])
def test_what_another_would_prune_again_does_not_come_back(turned: bool) -> None:
    halving, known_cost = SuccessiveHalving((1,), factor=2), KnownCostPruner(confidence=0.9)
    together = Together([halving, known_cost] if turned else [known_cost, halving])
    together.told(pruned(0, 0.5, factor=0.8), "halved")
    together.told(pruned(1, 0.52), "halved")
    for number in range(2, 5):
        together.told(pruned(number, 0.1), "halved")
    for number in range(5, 14):  # finished ones: the error is halved after the first epoch, and 90 % are the best
        accuracy = 0.9 - 0.005 * (number - 5)
        curve = (1 - 2 * (1 - accuracy) * (1.02 if number % 2 else 0.98), accuracy)
        together.told(Trained(subject=subject(number), curve=curve, is_complete=True), None)
    for number in range(14, 30):
        together.told(pruned(number, 0.1), "halved")
    assert known_cost.after_epoch(subject(0, 0.8), [0.5]) is not None
    assert together.promoted() is None, "both belong to the better half by now, but cannot win"


def test_promotions_of_each_are_found() -> None:
    together = Together([Scripted(lets_on=[3]), Scripted(lets_on=[1, 2])])
    for number in (1, 2, 3):
        together.told(pruned(number, 0.5), "stopped")
    assert [together.promoted() for _ in range(4)] == [3, 1, 2, None]


def test_promotions_that_are_turned_down_give_way_to_the_next() -> None:
    class Doubtful(Scripted):
        def after_epoch(self, subject: Subject, curve: Sequence[float]) -> str | None:
            return "no" if curve[-1] < 0.5 else None

    together = Together([Scripted(lets_on=[1, 2]), Doubtful()])
    together.told(pruned(1, 0.4), "stopped")
    together.told(pruned(2, 0.6), "stopped")
    assert [together.promoted(), together.promoted()] == [2, None]


@pytest.mark.parametrize("make", [SuccessiveHalving, Hyperband])
def test_what_was_turned_down_may_go_on_later_as_after_a_resume(make: Callable[..., Pruner]) -> None:
    def told(together: Together) -> Together:
        for number in range(60):
            together.told(pruned(number, 0.01 * number), "halved")
        return together

    lived, resumed, doubtful = make((1,), factor=2), make((1,), factor=2), Scripted(against="no")
    together = told(Together([lived, doubtful]))
    assert together.promoted() is None
    doubtful.against = None
    later, fresh = [together.promoted() for _ in range(40)], told(Together([resumed, Scripted()]))
    assert later == [fresh.promoted() for _ in range(40)]
    assert later[0] is not None
    assert len(set(later)) < 40, "each goes on once"


def made(**settings: object) -> Pruner:
    return make_pruner(make_config({"fidelity": {"epochs": 9}, **settings}, {}))


def test_a_configuration_without_pruners_lets_everything_go_on() -> None:
    pruner = made()
    assert pruner.before(subject(0, 1e-9)) is pruner.after_epoch(subject(0), [0.0]) is pruner.promoted() is None


@pytest.mark.parametrize("name", ["halving", "hyperband"])
def test_a_configuration_says_where_rungs_are(name: str) -> None:
    pruner = made(pruners=[name], rungs={"first": 2, "factor": 2})
    stopped = {
        epoch
        for number in range(200)
        for epoch in range(1, 9)
        if pruner.after_epoch(subject(number), [1 - number / 200] * epoch)
    }
    assert stopped == {2, 4, 8}


def test_a_configuration_says_how_sure_pruning_has_to_be() -> None:
    def highest_that_is_pruned(confidence: float) -> float:
        pruner = made(pruners=["known-cost"], fidelity={"epochs": 2}, pruning_confidence=confidence)
        for number in range(10):
            accuracy = 0.9 - 0.005 * number
            curve = (1 - 2 * (1 - accuracy) * (1.05 if number % 2 else 0.95), accuracy)
            pruner.told(Trained(subject=subject(number), curve=curve, is_complete=True), None)
        return max(a / 1000 for a in range(1000) if pruner.after_epoch(subject(10), [a / 1000]))

    assert 0.5 < highest_that_is_pruned(0.99) < highest_that_is_pruned(0.8) < highest_that_is_pruned(0.55) < 0.82
