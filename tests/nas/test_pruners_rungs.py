"""Halving and Hyperband: hand-made cases, and a slow twin on random orders of events."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from nas.pruners.interface import Pruner, Subject, Trained
from nas.pruners.rungs import Hyperband, SuccessiveHalving, bracket_size, rungs_below


def subject(number: int, factor: float | None = None, architecture: str | None = None) -> Subject:
    return Subject(number=number, architecture=architecture or f"a{number}", reward_factor=factor)


def prune(pruner: Pruner, candidate: Subject, curve: list[float]) -> None:
    reason = pruner.after_epoch(candidate, curve)
    assert reason is not None
    pruner.told(Trained(subject=candidate, curve=tuple(curve), is_complete=False), reason)


@pytest.mark.parametrize(
    ("num_epochs", "first", "factor", "expected"),
    [
        (1, 1, 2, ()),
        (2, 1, 2, (1,)),
        (8, 1, 2, (1, 2, 4)),
        (9, 1, 2, (1, 2, 4, 8)),
        (27, 1, 3, (1, 3, 9)),
        (100, 2, 4, (2, 8, 32)),
        (5, 5, 2, ()),
    ],
)
def test_rungs_are_whole_epochs_below_the_last(
    num_epochs: int, first: int, factor: int, expected: tuple[int, ...]
) -> None:
    assert rungs_below(num_epochs, first=first, factor=factor) == expected


def test_rungs_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^first rung must be at least 1, got 0$"):
        rungs_below(8, first=0, factor=2)
    with pytest.raises(ValueError, match=r"^factor between rungs must be at least 2, got 1$"):
        rungs_below(8, first=1, factor=1)


def test_a_rung_fills_one_half_goes_on_and_who_belongs_to_it_later_comes_back() -> None:
    halving = SuccessiveHalving((1, 2), factor=2)
    prune(halving, subject(0), [0.5])
    assert halving.promoted() is None, "one alone is no better half"
    assert halving.after_epoch(subject(1), [0.6]) is None
    assert halving.promoted() is None
    prune(halving, subject(2), [0.4])
    prune(halving, subject(3), [0.3])
    assert halving.promoted() == 0, "of four the best two go on"
    assert halving.promoted() is None, "and once only"


def test_the_reason_is_for_people() -> None:
    halving = SuccessiveHalving((1,), factor=2)
    assert halving.after_epoch(subject(0), [0.5]) == "number 1 of 1 after epoch 1, where none goes on"
    assert halving.after_epoch(subject(1), [0.4]) == "number 2 of 2 after epoch 1, where the best goes on"
    assert halving.after_epoch(subject(2), [0.3]) == "number 3 of 3 after epoch 1, where the best goes on"
    assert halving.after_epoch(subject(3), [0.2]) == "number 4 of 4 after epoch 1, where the best 2 go on"


def test_rewards_are_compared_where_costs_are_known() -> None:
    halving = SuccessiveHalving((1,), factor=2)
    prune(halving, subject(0, 1.2), [0.5])
    prune(halving, subject(1, 0.9), [0.6])
    assert halving.promoted() == 0


def test_of_equals_one_goes_on_by_its_text_whatever_its_trial() -> None:
    halving = SuccessiveHalving((1,), factor=2)
    prune(halving, subject(7, architecture="b"), [0.5])
    assert halving.after_epoch(subject(8, architecture="a"), [0.5]) is None
    prune(halving, subject(9, architecture="c"), [0.5])


def test_what_was_promoted_is_not_judged_again_where_it_has_passed() -> None:
    """It comes under a new number, and from its first epoch again where its checkpoint was lost."""
    halving = SuccessiveHalving((1, 2), factor=2)
    prune(halving, subject(0), [0.5])
    assert halving.after_epoch(subject(1), [0.1]) is not None
    assert halving.promoted() == 0
    for number in range(2, 6):
        halving.after_epoch(subject(number), [0.9])
    again = subject(6, architecture="a0")
    assert halving.after_epoch(again, [0.5]) is None
    prune(halving, again, [0.5, 0.55])
    assert halving.after_epoch(subject(7), [0.95]) is None
    prune(halving, subject(7), [0.95, 0.5])
    assert halving.promoted() == 6, "it is known by the number it had last"


def test_higher_rungs_come_first() -> None:
    halving = SuccessiveHalving((1, 2), factor=2)
    for number, accuracy in enumerate([0.5, 0.6, 0.7, 0.8]):
        halving.told(Trained(subject=subject(number), curve=(accuracy,), is_complete=False), "pruned")
    for number, accuracy in [(4, 0.9), (5, 0.95)]:
        halving.told(Trained(subject=subject(number), curve=(accuracy, accuracy), is_complete=False), "pruned")
    assert [halving.promoted() for _ in range(4)] == [5, 3, None, None]


def test_complete_trainings_fill_rungs_and_never_come_back() -> None:
    halving = SuccessiveHalving((1, 2), factor=2)
    for number in range(4):
        halving.told(Trained(subject=subject(number), curve=(0.9, 0.9, 0.9), is_complete=True), None)
    assert halving.promoted() is None
    prune(halving, subject(4), [0.8])


def test_a_training_that_ended_at_its_last_epoch_is_not_stopped_at_a_rung_there() -> None:
    halving = SuccessiveHalving((1, 2), factor=2)
    for number in range(2):
        halving.told(Trained(subject=subject(number), curve=(0.9, 0.9), is_complete=True), None)
    assert halving.promoted() is None


@dataclass
class SlowHalving:
    """The rule of arXiv:1810.05934, looked up in a list of all that ever happened."""

    rungs: tuple[int, ...]
    factor: int
    reached: list[tuple[int, int, float]] = field(default_factory=list)
    """Rung, candidate, reward."""
    gone_on: set[tuple[int, int]] = field(default_factory=set)
    waiting: set[tuple[int, int]] = field(default_factory=set)
    """Rung, candidate."""

    def best(self, rung: int) -> list[int]:
        here = [(-reward, f"a{candidate}", candidate) for at, candidate, reward in self.reached if at == rung]
        return [candidate for _, _, candidate in sorted(here)[: len(here) // self.factor]]

    def goes_on(self, rung: int, candidate: int, reward: float) -> bool:
        if (rung, candidate) in self.gone_on:
            return True
        if not any((at, who) == (rung, candidate) for at, who, _ in self.reached):
            self.reached.append((rung, candidate, reward))
        if candidate in self.best(rung):
            self.gone_on.add((rung, candidate))
            return True
        return False

    def promoted(self) -> int | None:
        for rung in sorted(self.rungs, reverse=True):
            for candidate in self.best(rung):
                if (rung, candidate) in self.waiting:
                    self.waiting.remove((rung, candidate))
                    self.gone_on.add((rung, candidate))
                    return candidate
        return None


@dataclass
class Playground:
    """Workers that train, one epoch at a time in random order, what is new or promoted; some attempts die."""

    rng: random.Random
    num_epochs: int
    curves: list[list[float]]
    factors: list[float]
    trials: list[int] = field(default_factory=list)
    """The candidate of each trial."""
    done: dict[int, int] = field(default_factory=dict)
    """Epochs of each candidate, kept when it stops."""
    running: list[int] = field(default_factory=list)
    """Numbers of trials."""
    finished: list[tuple[Trained, str | None]] = field(default_factory=list)

    def start(self, candidate: int) -> None:
        self.running.append(len(self.trials))
        self.trials.append(candidate)

    def subject(self, number: int) -> Subject:
        candidate = self.trials[number]
        return Subject(number=number, architecture=f"a{candidate}", reward_factor=self.factors[candidate])


def play(seed: int, make_pruner: Callable[[tuple[int, ...], int], Pruner], check: Callable[..., None]) -> Playground:
    rng = random.Random(seed)
    factor, first, num_epochs, count = rng.choice([2, 3]), rng.choice([1, 2]), rng.randint(3, 12), rng.randint(5, 40)
    rungs = rungs_below(num_epochs, first=first, factor=factor)
    curves = [[round(rng.random(), 1) for _ in range(num_epochs)] for _ in range(count)]
    world = Playground(rng, num_epochs, curves, [rng.choice([0.9, 1.0, 1.1]) for _ in range(count)])
    pruner, unseen = make_pruner(rungs, factor), list(range(count))
    while True:
        promoted = pruner.promoted() if len(world.running) < 4 else None
        check(world, "promoted", promoted)
        if promoted is not None:
            world.start(world.trials[promoted])
        elif unseen and len(world.running) < 4:
            world.start(unseen.pop(0))
        elif world.running:
            _advance(world, pruner, rng.choice(world.running), check)
        else:
            return world


def _advance(world: Playground, pruner: Pruner, number: int, check: Callable[..., None]) -> None:
    candidate = world.trials[number]
    if world.rng.random() < 0.05:  # the attempt dies, and the next one goes on from some epoch
        world.running.remove(number)
        world.done[candidate] = world.rng.randint(0, world.done.get(candidate, 0))
        world.start(candidate)
        return
    epoch = world.done[candidate] = world.done.get(candidate, 0) + 1
    curve, is_complete = world.curves[candidate][:epoch], epoch == world.num_epochs
    reason = None if is_complete else pruner.after_epoch(world.subject(number), curve)
    check(world, "judged", number, epoch, reason)
    if is_complete or reason is not None:
        trained = Trained(subject=world.subject(number), curve=tuple(curve), is_complete=is_complete)
        pruner.told(trained, reason)
        world.finished.append((trained, reason))
        world.running.remove(number)


@pytest.mark.parametrize("seed", range(40))
def test_it_decides_as_the_slow_twin_whatever_the_order_of_events(seed: int) -> None:
    twins: list[SlowHalving] = []

    def make(rungs: tuple[int, ...], factor: int) -> SuccessiveHalving:
        twins.append(SlowHalving(rungs, factor))
        return SuccessiveHalving(rungs, factor=factor)

    def check(world: Playground, what: str, *found: object) -> None:
        (twin,) = twins
        if what == "promoted":
            (number,) = found
            if len(world.running) < 4:
                candidate = None if number is None else world.trials[number]
                assert candidate == twin.promoted(), f"seed {seed}"
            return
        number, epoch, reason = found
        candidate = world.trials[number]
        if epoch not in twin.rungs or epoch == world.num_epochs:
            assert reason is None, f"seed {seed}"
            return
        reward = world.curves[candidate][epoch - 1] * world.factors[candidate]
        goes_on = twin.goes_on(epoch, candidate, reward)
        assert goes_on == (reason is None), f"seed {seed}, trial {number}, epoch {epoch}"
        if not goes_on:
            twin.waiting.add((epoch, candidate))

    play(seed, make, check)


@pytest.mark.parametrize("make", [SuccessiveHalving, Hyperband])
@pytest.mark.parametrize("seed", range(10))
def test_replayed_verdicts_leave_the_same_judgement(make: Callable[..., Pruner], seed: int) -> None:
    """A search that was interrupted when nothing ran goes on as one that was not."""
    pruners: list[Pruner] = []

    def remember(rungs: tuple[int, ...], factor: int) -> Pruner:
        pruners.extend([make(rungs, factor=factor), make(rungs, factor=factor)])
        return pruners[0]

    world = play(seed, remember, lambda *_: None)
    lived, resumed = pruners
    for trained, reason in world.finished:
        resumed.told(trained, reason)
    assert [lived.promoted(), resumed.promoted()] == [None, None], f"seed {seed}"
    rng = random.Random(seed)
    for number in range(1000, 1100):
        curve = [round(rng.random(), 1) for _ in range(rng.randint(1, world.num_epochs - 1))]
        fresh = Subject(number=number, architecture=f"b{number}", reward_factor=1.0)
        assert lived.after_epoch(fresh, curve) == resumed.after_epoch(fresh, curve), f"seed {seed}"


@pytest.mark.parametrize("make", [SuccessiveHalving, Hyperband])
def test_asked_twice_it_answers_the_same(make: Callable[..., Pruner]) -> None:
    for seed in range(5):
        rng, pruner = random.Random(seed), make((1, 2, 4), factor=2)
        for number in range(60):
            curve = [rng.random() for _ in range(rng.choice([1, 2, 4]))]
            answers = [pruner.after_epoch(subject(number), curve) for _ in range(3)]
            assert answers == [answers[0]] * 3, f"seed {seed}"
            assert pruner.before(subject(number)) is None


def test_brackets_are_as_large_as_hyperbands() -> None:
    """Table 1 of the JMLR version (volume 18, 185): R = 81, η = 3."""
    assert [bracket_size(halvings, 4, 3) for halvings in (4, 3, 2, 1, 0)] == [81, 34, 15, 8, 5]


def test_candidates_are_dealt_out_to_brackets_by_their_shares() -> None:
    """A loser among many is stopped at the first rung of its bracket, which tells the bracket."""
    band, count, stopped_at = Hyperband((1, 2, 4), factor=2), 2_000, Counter[int]()
    for number in range(count):
        curve = [1 - number / count] * 4
        reasons = [band.after_epoch(subject(number), curve[:epoch]) for epoch in (1, 2, 4)]
        stopped_at[next((epoch for epoch, reason in zip((1, 2, 4), reasons, strict=True) if reason), 8)] += 1
    sizes = [bracket_size(halvings, 3, 2) for halvings in (3, 2, 1, 0)]
    assert sizes == [8, 6, 4, 4]
    for epoch, size in zip((1, 2, 4, 8), sizes, strict=True):
        expected = count * size / sum(sizes)
        assert stopped_at[epoch] == pytest.approx(expected, abs=4 * expected**0.5 + 8)


def test_further_attempts_and_promotions_stay_in_their_bracket() -> None:
    for name in ("x", "y", "z", "w", "v", "u"):
        band, epochs = Hyperband((1, 2), factor=2), (1, 2)
        first = [band.after_epoch(subject(0, architecture=name), [0.1] * epoch) is None for epoch in epochs]
        again = [band.after_epoch(subject(77, architecture=name), [0.1] * epoch) is None for epoch in epochs]
        assert first == again


def test_a_promotion_of_any_bracket_is_found() -> None:
    band = Hyperband((1, 2), factor=2)
    pruned = {}
    for number in range(60):
        for epoch in (1, 2):
            curve = [0.9 - number / 100] * epoch
            reason = band.after_epoch(subject(number), curve)
            if reason is not None:
                band.told(Trained(subject=subject(number), curve=tuple(curve), is_complete=False), reason)
                pruned[number] = epoch
                break
    found = list(iter(band.promoted, None))
    assert {pruned[number] for number in found} == {1, 2}
    assert len(set(found)) == len(found)
