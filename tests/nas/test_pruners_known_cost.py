"""Pruning by known costs: hand-made cases, a slow twin, and what it costs and saves where the law is known."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from nas.pruners.interface import Subject, Trained
from nas.pruners.known_cost import KnownCostPruner

ERRORS = np.array([0.10, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18])
WOBBLE = np.array([1.03, 0.98, 1.01, 0.97, 1.02, 1.0, 0.99, 1.01])


def subject(number: int, factor: float | None = 1.0) -> Subject:
    return Subject(number=number, architecture=f"a{number}", reward_factor=factor)


def told(pruner: KnownCostPruner, number: int, curve: list[float], factor: float | None = 1.0) -> None:
    pruner.told(Trained(subject=subject(number, factor), curve=tuple(curve), is_complete=True), None)


def stopped(pruner: KnownCostPruner, number: int, curve: list[float], factor: float) -> None:
    pruner.told(Trained(subject=subject(number, factor), curve=tuple(curve), is_complete=False), "stopped")


def with_eight(confidence: float = 0.9, factor: float | None = 1.0) -> KnownCostPruner:
    """Final errors of 10 to 18 %, twice that after the first epoch; trial 0 is the best."""
    pruner = KnownCostPruner(confidence=confidence)
    for number, (error, wobble) in enumerate(zip(ERRORS, WOBBLE, strict=True)):
        told(pruner, number, [1 - 2 * error * wobble, 1 - error], factor)
    return pruner


def test_a_candidate_far_behind_stops_and_one_near_the_best_goes_on() -> None:
    pruner = with_eight()
    reason = pruner.after_epoch(subject(8), [0.6])
    assert reason is not None
    found = re.fullmatch(r"could reach (\d\d\.\d\d) % at most, needs over 90\.00 % to beat trial 0", reason)
    assert found is not None, reason
    assert 80.0 < float(found[1]) < 83.0
    assert pruner.after_epoch(subject(9), [0.8]) is None


def test_the_known_cost_decides_where_the_curve_is_the_same() -> None:
    pruner = with_eight()
    assert pruner.after_epoch(subject(8, 1.15), [0.72]) is None
    assert pruner.after_epoch(subject(9, 0.95), [0.72]) is not None


def test_what_would_need_more_than_everything_right_is_never_trained() -> None:
    pruner = KnownCostPruner(confidence=0.9)
    assert pruner.before(subject(0)) is None
    told(pruner, 0, [0.8, 0.9])
    assert pruner.before(subject(1, 0.91)) is None
    assert pruner.before(subject(2, 0.89)) == "could reach 100.00 % at most, needs over 101.12 % to beat trial 0"


def test_what_has_won_already_goes_on_whatever_is_forecast() -> None:
    """A candidate that starts where others end is forecast to lose something, as extremes do."""
    pruner = KnownCostPruner(confidence=0.5)
    rng = np.random.default_rng(0)
    for number in range(400):
        told(pruner, number, [float(rng.uniform(0.4, 0.6)), float(rng.uniform(0.849, 0.851))])
    told(pruner, 400, [0.5, 0.9])
    assert pruner.after_epoch(subject(401), [0.89]) is not None
    assert pruner.after_epoch(subject(402), [0.91]) is None


def test_nothing_is_pruned_where_costs_are_not_known_beforehand() -> None:
    pruner = with_eight()
    assert pruner.before(subject(8, None)) is None
    assert pruner.after_epoch(subject(8, None), [0.1]) is None
    measured = with_eight(factor=None)
    assert measured.after_epoch(subject(8, None), [0.1]) is None
    assert measured.after_epoch(subject(9), [0.1]) is None, "there is no reward yet to be beaten"


def test_nothing_is_forecast_before_enough_have_finished() -> None:
    pruner = KnownCostPruner(confidence=0.9)
    for number, error in enumerate(ERRORS[:7]):
        told(pruner, number, [1 - 2 * error, 1 - error])
    assert pruner.after_epoch(subject(8), [0.1]) is None
    told(pruner, 7, [0.64, 0.82])
    assert pruner.after_epoch(subject(8), [0.1]) is not None


def test_pruned_trainings_count_but_are_neither_learned_from_nor_to_be_beaten() -> None:
    # A doubt of 0.1 among ten is one of 0.08 among eight.
    pruner, twin = with_eight(confidence=0.9), with_eight(confidence=0.92)
    lucky = Trained(subject=subject(8), curve=(0.99,), is_complete=False)
    pruner.told(lucky, "stopped")
    pruner.told(lucky, "stopped again, after it was promoted")
    pruner.told(Trained(subject=subject(9), curve=(), is_complete=False), "never trained")
    for accuracy in np.linspace(0.5, 0.9, 41):
        assert pruner.after_epoch(subject(10), [accuracy]) == twin.after_epoch(subject(10), [accuracy])


def test_asked_twice_it_answers_the_same_and_nothing_comes_back() -> None:
    pruner = with_eight()
    answers = [pruner.after_epoch(subject(8), [0.6]) for _ in range(3)]
    assert answers[0] is not None
    assert len(set(answers)) == 1
    assert pruner.promoted() is None


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, math.nan])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"^confidence must lie between 0 and 1, got "):
        KnownCostPruner(confidence=confidence)


def twin_prunes(rows: list[np.ndarray], factors: list[float], curve: np.ndarray, factor: float, tail: float) -> bool:
    """The rule by linregress and the textbook's interval, written out for a training in progress."""
    if len(rows) < 8:
        return False
    x = np.log([1 - row[len(curve) - 1] for row in rows])
    y = np.log([1 - row[-1] for row in rows])
    at, n = math.log(1 - curve[-1]), len(rows)
    fit = stats.linregress(x, y)
    deviation = math.sqrt(np.sum((y - fit.intercept - fit.slope * x) ** 2) / (n - 2))
    width = deviation * math.sqrt(1 + 1 / n + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2))
    lowest = fit.intercept + fit.slope * at - width * stats.t(n - 2).isf(tail)
    highest = max(1 - math.exp(min(0.0, lowest)), *curve)
    best = max(row[-1] * known for row, known in zip(rows, factors, strict=True))
    return bool(highest * factor <= best)


def simulated(rng: np.random.Generator, count: int, *, blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Curves of three epochs that blur what comes less and less, and factors that say little about them."""
    level = rng.normal(math.log(0.12), 0.12, count)
    noise = rng.normal(0, 1, (count, 3)) * np.array([blur, blur / 2, 0.0])
    return 1 - np.exp(level[:, None] + np.array([0.8, 0.4, 0.0]) + noise), np.exp(rng.normal(0, 0.008, count))


def test_a_search_prunes_as_the_slow_twin_does() -> None:
    pruned = 0
    for seed in range(12):
        curves, factors = simulated(np.random.default_rng(seed), 30, blur=0.08)
        pruner = KnownCostPruner(confidence=0.8)
        rows: list[np.ndarray] = []
        known: list[float] = []
        for number, (row, factor) in enumerate(zip(curves, factors, strict=True)):
            answers = [pruner.after_epoch(subject(number, float(factor)), row[:epoch].tolist()) for epoch in (1, 2)]
            expected = [twin_prunes(rows, known, row[:epoch], float(factor), 0.2 / max(1, number)) for epoch in (1, 2)]
            assert [answer is not None for answer in answers] == expected, f"seed {seed}, candidate {number}"
            pruned += any(expected)
            if any(expected):
                stopped(pruner, number, row[:1].tolist(), float(factor))
            else:
                told(pruner, number, row.tolist(), float(factor))
                rows.append(row)
                known.append(float(factor))
    assert pruned > 50


def played(curves: np.ndarray, factors: np.ndarray, confidence: float) -> tuple[float, bool]:
    """Share of epochs saved, and whether the best of all was pruned."""
    pruner, epochs, rewards = KnownCostPruner(confidence=confidence), 0, []
    for number, (row, factor) in enumerate(zip(curves, factors, strict=True)):
        candidate, done = subject(number, float(factor)), 0
        reason = pruner.before(candidate)
        while reason is None and done < 3:
            done += 1
            reason = pruner.after_epoch(candidate, row[:done].tolist())
        epochs += done
        if reason is not None:
            stopped(pruner, number, row[:done].tolist(), float(factor))
        else:
            told(pruner, number, row.tolist(), float(factor))
            rewards.append(row[-1] * factor)
    return 1 - epochs / (3 * len(curves)), max(rewards) < max(curves[:, -1] * factors)


@pytest.mark.parametrize("candidates", [30, 90])
def test_the_best_is_lost_more_seldom_than_doubt_allows_and_much_training_is_saved(candidates: int) -> None:
    """Lost improvements are at most 10 % of those there are, and of a search the last one is the best."""
    seed, games = 11, 120
    rng = np.random.default_rng(seed)
    found = [played(*simulated(rng, candidates, blur=0.06), 0.9) for _ in range(games)]
    saved, lost = np.mean([share for share, _ in found]), sum(is_lost for _, is_lost in found)
    assert lost < 0.1 * games + 3 * math.sqrt(games * 0.1 * 0.9), f"seed {seed}"
    assert saved > 0.3, f"seed {seed}"
