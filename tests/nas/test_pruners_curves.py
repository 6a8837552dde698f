"""What is forecast of a training: against the textbook's formula, against a known law, and where little is known."""

import math

import numpy as np
import pytest
from scipy import stats

from nas.pruners.learning_curve import LearningCurves

EPOCHS = 3


def law(rng: np.random.Generator, count: int, *, spread: float = 0.15) -> np.ndarray:
    """Accuracies (count, 3) whose final log error is a line over the log errors of both epochs before, normal around.

    A common level moves all epochs, and what the first two show of it is blurred.
    """
    level = rng.normal(math.log(0.12), 0.2, count)
    last = level + rng.normal(0, spread, count)
    second = level + 0.3
    first = 0.5 * level - 0.2 + rng.normal(0, 0.1, count)
    return 1.0 - np.exp(np.stack([first, second, last], axis=1))


def learnt(accuracies: np.ndarray, factors: np.ndarray | None = None, min_finished: int = 8) -> LearningCurves:
    curves = LearningCurves(min_finished)
    for place, row in enumerate(accuracies):
        curves.add(row.tolist(), None if factors is None else float(factors[place]))
    return curves


def textbook(x: np.ndarray, y: np.ndarray, at: float, tail: float) -> tuple[float, float]:
    """Centre and lower bound of a further y, by the matrix form of the prediction interval."""
    design, row = np.stack([np.ones(len(x)), x], axis=1), np.array([1.0, at])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    variance = np.sum((y - design @ coefficients) ** 2) / (len(x) - 2)
    centre = float(row @ coefficients)
    width = math.sqrt(variance * (1.0 + row @ inverse @ row))
    return centre, centre + width * float(stats.t(len(x) - 2).ppf(tail))


def test_the_forecast_is_the_prediction_interval_of_a_line_through_log_errors() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = law(rng, 8 + seed)
        new = law(rng, 1)[0]
        for epoch in (1, 2):
            forecast = learnt(rows).forecast(new[:epoch].tolist())
            log_errors, at = np.log(1 - rows), math.log(1 - new[epoch - 1])
            for tail in (0.2, 0.05, 0.001):
                centre, bound = textbook(log_errors[:, epoch - 1], log_errors[:, -1], at, tail)
                assert forecast is not None
                assert forecast.accuracy == pytest.approx(1 - math.exp(centre), rel=1e-9), seed
                assert forecast.at_most(tail) == pytest.approx(1 - math.exp(min(0.0, bound)), rel=1e-9), seed


def test_before_training_the_line_lies_over_the_factor_of_the_reward() -> None:
    rng = np.random.default_rng(3)
    rows, factors = law(rng, 12), np.exp(rng.normal(0, 0.05, 12))
    forecast = learnt(rows, factors).forecast_untrained(1.07)
    assert forecast is not None
    centre, bound = textbook(np.log(factors), np.log(1 - rows[:, -1]), math.log(1.07), 0.1)
    assert (forecast.accuracy, forecast.at_most(0.1)) == pytest.approx((1 - math.exp(centre), 1 - math.exp(bound)))


@pytest.mark.parametrize("tail", [0.2, 0.1, 0.05])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_the_bound_is_exceeded_as_often_as_it_says(tail: float, epoch: int) -> None:
    """Of 1,000 candidates, each with ten finished ones of its own, within four standard errors."""
    seed, games = 17, 1_000
    rng = np.random.default_rng([seed, epoch])
    exceeded = 0
    for _ in range(games):
        rows = law(rng, 11)
        factors = np.exp(0.3 * np.log(1 - rows[:, -1]) + rng.normal(0, 0.05, 11))  # what costs more errs less
        curves, new = learnt(rows[:-1], factors[:-1]), rows[-1]
        forecast = curves.forecast(new[:epoch].tolist()) if epoch else curves.forecast_untrained(float(factors[-1]))
        assert forecast is not None
        exceeded += new[-1] > forecast.at_most(tail)
    assert abs(exceeded - tail * games) < 4 * math.sqrt(games * tail * (1 - tail)), f"seed {seed}"


def test_selection_by_the_axis_of_the_line_leaves_the_bound_right() -> None:
    """Only those finish whose first epoch went well; the bound still holds for one whose first epoch went badly."""
    seed, games, tail = 5, 1_000, 0.1
    rng = np.random.default_rng(seed)
    exceeded = 0
    for _ in range(games):
        level = rng.normal(math.log(0.12), 0.2, 80)
        final = level - 0.4 + rng.normal(0, 0.1, 80)
        rows = 1 - np.exp(np.stack([level, final], axis=1))
        survivors = rows[level < np.median(level)][:12]
        loser = rows[level > np.median(level)][0]
        forecast = learnt(survivors).forecast(loser[:1].tolist())
        assert forecast is not None
        exceeded += loser[-1] > forecast.at_most(tail)
    assert abs(exceeded - tail * games) < 4 * math.sqrt(games * tail * (1 - tail)), f"seed {seed}"


def test_where_earlier_epochs_chose_who_finished_the_bound_errs_on_the_side_of_hope() -> None:
    seed, games, tail = 6, 1_000, 0.1
    rng = np.random.default_rng(seed)
    exceeded = 0
    for _ in range(games):
        level = rng.normal(math.log(0.12), 0.2, 80)
        noise = rng.normal(0, 0.1, (80, 3))
        rows = 1 - np.exp(level[:, None] + np.array([0.6, 0.3, 0.0]) + noise)
        survivors = rows[rows[:, 1] > np.median(rows[:, 1])][:12]
        forecast = learnt(survivors).forecast(rows[-1, :1].tolist())
        assert forecast is not None
        exceeded += rows[-1, -1] > forecast.at_most(tail)
    assert exceeded < tail * games + 2 * math.sqrt(games * tail * (1 - tail)), f"seed {seed}"


def test_nothing_is_forecast_of_few_of_no_epochs_or_of_all() -> None:
    rows = law(np.random.default_rng(0), 8)
    assert learnt(rows[:7]).forecast([0.7]) is None
    assert learnt(rows).forecast([]) is None
    assert learnt(rows).forecast([0.7, 0.8, 0.9]) is None
    assert learnt(rows).forecast([0.7]) is not None
    assert learnt(rows[:5], min_finished=5).forecast([0.7]) is not None


def test_candidates_without_a_known_cost_say_nothing_about_the_untrained() -> None:
    rng = np.random.default_rng(0)
    rows, factors = law(rng, 8), np.exp(rng.normal(0, 0.05, 8))
    curves = learnt(rows[:7], factors[:7])
    curves.add(rows[7].tolist(), None)
    assert curves.forecast([0.7]) is not None
    assert curves.forecast_untrained(1.0) is None
    curves.add(rows[7].tolist(), float(factors[7]))
    assert curves.forecast_untrained(1.0) is not None


def test_equal_costs_or_equal_curves_draw_no_line() -> None:
    rows = law(np.random.default_rng(0), 10)
    assert learnt(rows, np.ones(10)).forecast_untrained(1.0) is None
    assert learnt(np.tile(rows[:1], (10, 1))).forecast(rows[0, :1].tolist()) is None


def test_few_that_agree_by_chance_leave_room() -> None:
    """Final errors that lie exactly on a line are not taken for a law without exceptions."""
    first = np.linspace(0.6, 0.8, 10)
    forecast = learnt(np.stack([first, 1 - (1 - first) / 2], axis=1)).forecast([0.7])
    assert forecast is not None
    assert forecast.accuracy == pytest.approx(0.85)
    assert forecast.at_most(0.1) > 0.8515


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_none_right_and_all_right_have_a_forecast(accuracy: float) -> None:
    rows = law(np.random.default_rng(1), 10)
    rows[0] = accuracy
    forecast = learnt(rows).forecast([accuracy])
    assert forecast is not None
    assert 0.0 <= forecast.accuracy <= forecast.at_most(0.05) <= 1.0


def test_the_bound_rises_with_confidence_and_falls_with_what_is_known() -> None:
    rng = np.random.default_rng(2)
    rows = law(rng, 60)
    few, many = learnt(rows[:8]).forecast([0.8]), learnt(rows).forecast([0.8])
    assert few is not None
    assert many is not None
    assert few.accuracy < few.at_most(0.2) < few.at_most(0.05) < few.at_most(0.001)
    assert many.degrees > few.degrees
    far, near = learnt(rows).forecast([0.2]), learnt(rows).forecast([0.8])
    assert far is not None
    assert near is not None
    assert far.spread > near.spread


def test_trainings_of_which_not_every_epoch_is_known_say_nothing() -> None:
    rows = law(np.random.default_rng(0), 9)
    curves = LearningCurves()
    curves.add([0.5], 1.0)
    for row in rows:
        curves.add(row.tolist(), 1.0)
        curves.add(row[-1:].tolist(), 1.0)
    assert len(curves) == 9
    assert curves.forecast([0.7]) == learnt(rows).forecast([0.7])


def test_too_few_for_a_line_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^min_finished must be at least 4, got 3$"):
        LearningCurves(3)
