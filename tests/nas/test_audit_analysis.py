"""What is made of an audit's trainings: against SciPy, brute force, hand-made cases, and noise that is known."""

import math
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import fake_audit
import numpy as np
import pytest
from fake_audit import HALF, NARROW, SHORT, TARGET
from scipy.stats import kendalltau, linregress

from nas.audit.advice import exponents_text, suited_exponents, verdict
from nas.audit.analysis import Analysis, analyse, recommend
from nas.audit.config import ProxyTraining
from nas.audit.exponents import Slope, foretold, slope_of
from nas.audit.results import AuditResults, Cell
from nas.audit.scores import mean_of, scores_of, select
from nas.audit.standing import Standing, standing_of, with_front
from nas.audit.yardstick import Ceiling, ceiling_of, yardstick_of
from proxies.ranking import Ranking


def audit(num: int = 20, *, seeds: int = 2, seed: int = 0, noise: float = 0.01, **changes: object) -> AuditResults:
    settings = fake_audit.config(num_architectures=num, target_seeds=seeds, **changes)
    return fake_audit.audit(settings, noise=noise, seed=seed)


def accuracies(results: AuditResults, training: ProxyTraining, replicate: int) -> list[float]:
    cells = [Cell(number=n, training=training.key, replicate=replicate) for n in range(len(results.architectures))]
    return [results.trainings[cell].accuracy for cell in cells]


def tau(one: object, other: object) -> float:
    return float(kendalltau(one, other).statistic)


def standing(analysis: Analysis, training: ProxyTraining) -> Standing:
    return next(each for each in analysis.standings if each.training == training)


def test_tau_is_scipys_of_the_mean_accuracies_and_of_their_rewards() -> None:
    results = audit(seeds=3, proxy_seeds=2)
    target = np.mean([accuracies(results, TARGET, replicate) for replicate in range(3)], axis=0)
    proxy = np.mean([accuracies(results, SHORT, replicate) for replicate in range(2)], axis=0)
    factors = [each.reward_factor for each in results.architectures]
    found = standing(analyse(results), SHORT)
    assert found.accuracy.tau == pytest.approx(tau(proxy, target))
    assert found.reward.tau == pytest.approx(tau(proxy * factors, target * factors))
    assert found.accuracy.low < found.accuracy.tau < found.accuracy.high
    assert found.num_architectures == 20


def test_what_costs_nothing_ranks_as_scipy_says() -> None:
    results = audit()
    target = np.mean([accuracies(results, TARGET, replicate) for replicate in range(2)], axis=0)
    factors = np.array([each.reward_factor for each in results.architectures])
    found = analyse(results)
    assert found.by_macs is not None
    assert found.by_macs.tau == pytest.approx(tau([each.costs.macs for each in results.architectures], target))
    assert found.by_costs is not None
    assert found.by_costs.tau == pytest.approx(tau(factors, factors * target))


def test_cost_is_the_ratio_of_seconds_over_the_architectures_that_both_have() -> None:
    results = audit()
    missing = Cell(number=3, training=HALF.key, replicate=0)
    results = fake_audit.without(results, missing)
    seconds = {cell: record.train_seconds for cell, record in results.trainings.items()}
    both = [n for n in range(20) if n != 3]
    mine = sum(seconds[Cell(number=n, training=HALF.key, replicate=0)] for n in both)
    full = sum(seconds[Cell(number=n, training=TARGET.key, replicate=r)] for n in both for r in range(2)) / 2
    found = standing(analyse(results), HALF)
    assert found.cost == pytest.approx(mine / full)
    assert found.images == pytest.approx(4 * 0.5 / 8)
    assert found.num_architectures == 19


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_ceiling_is_one_training_against_the_others(seeds: int) -> None:
    results = audit(seeds=seeds)
    all_of_them = np.array([accuracies(results, TARGET, replicate) for replicate in range(seeds)])
    ceiling = analyse(results).ceiling
    assert ceiling is not None
    left_out = [tau(all_of_them[r], np.delete(all_of_them, r, axis=0).mean(axis=0)) for r in range(seeds)]
    assert ceiling.accuracy.tau == pytest.approx(np.mean(left_out))
    pairs = [tau(one, other) for one, other in combinations(all_of_them, 2)]
    assert ceiling.seed_to_seed == pytest.approx(np.mean(pairs))
    assert ceiling.num_trainings == seeds
    proxy = accuracies(results, SHORT, 0)
    beside = [tau(proxy, np.delete(all_of_them, r, axis=0).mean(axis=0)) for r in range(seeds)]
    assert standing(analyse(results), SHORT).beside_ceiling == pytest.approx(np.mean(beside))


@pytest.mark.parametrize("noise", [0.005, 0.02])
def test_the_ceiling_of_known_noise_is_recovered(noise: float) -> None:
    """Of normal numbers τ = 2/π · arcsin ρ (Greiner), and ρ of two noisy readings is the share of true variance."""
    seed = 11
    print(f"seed {seed}")
    ceiling = ceiling_of(yardstick_of(audit(400, seed=seed, noise=noise)))
    assert ceiling is not None
    spread = fake_audit.SPREAD
    expected = 2 / math.pi * math.asin(spread**2 / (spread**2 + noise**2))
    assert ceiling.accuracy.tau == pytest.approx(expected, abs=0.04)
    assert ceiling.accuracy.low <= expected <= ceiling.accuracy.high
    assert ceiling.seed_error == pytest.approx(noise, rel=0.1)


def test_a_further_training_of_the_target_stands_at_the_ceiling_and_no_higher() -> None:
    """A proxy that is as good as the target itself, over many audits: its τ taken as the ceiling's has its mean."""
    differences = []
    for seed in range(10):
        results = audit(50, seed=seed, noise=0.02)
        target = yardstick_of(results)
        ceiling, found = ceiling_of(target), standing_of(SHORT, scores_of(results, SHORT), target)
        assert isinstance(found, Standing)
        differences.append(found.beside_ceiling - ceiling.accuracy.tau)
    assert np.mean(differences) == pytest.approx(0.0, abs=4 * np.std(differences) / math.sqrt(len(differences)))


def test_early_stops_of_the_target_are_held_against_its_other_trainings() -> None:
    results = audit()
    ends = [accuracies(results, TARGET, replicate) for replicate in range(2)]
    seen = [
        [results.trainings[Cell(number=n, training=TARGET.key, replicate=r)].curve[5] for n in range(20)]
        for r in range(2)
    ]
    analysis = analyse(results)
    found = next(each for each in analysis.stops if each.training == TARGET and each.epoch == 6)
    assert found.accuracy.tau == pytest.approx((tau(seen[0], ends[1]) + tau(seen[1], ends[0])) / 2)
    assert found.cost == pytest.approx(6 / 8)
    assert [each.epoch for each in analysis.stops if each.training == TARGET] == list(range(1, 8))
    proxy = next(each for each in analysis.stops if each.training == SHORT)
    curve = [results.trainings[Cell(number=n, training=SHORT.key, replicate=0)].curve[0] for n in range(20)]
    assert proxy.accuracy.tau == pytest.approx(tau(curve, np.mean(ends, axis=0)))
    assert proxy.cost == pytest.approx(standing(analysis, SHORT).cost / 2)


def test_an_unfinished_audit_says_what_it_knows() -> None:
    results = audit()
    cells = [cell for cell in results.trainings if cell.training == HALF.key and cell.number >= 2]
    cells += [cell for cell in results.trainings if cell.training == NARROW.key and cell.number >= 10]
    cells += [cell for cell in results.trainings if cell.training == TARGET.key and cell.replicate == 1]
    analysis = analyse(fake_audit.without(results, *cells))
    assert not analysis.results.is_complete
    assert set(analysis.pending) == {HALF.key}
    assert "2 architectures" in analysis.pending[HALF.key]
    assert not standing(analysis, NARROW).is_settled
    assert not standing(analysis, NARROW).on_front
    assert analysis.ceiling is None
    assert not any(each.training == TARGET for each in analysis.stops)
    assert analysis.recommendation is not None
    assert analysis.recommendation.standing.training == SHORT
    assert verdict(analysis).startswith("So far, e2")


def test_an_audit_that_has_only_begun_recommends_nothing() -> None:
    results = audit()
    analysis = analyse(fake_audit.without(results, *results.trainings))
    assert (analysis.standings, analysis.stops, analysis.ceiling, analysis.recommendation) == ((), (), None, None)
    assert len(analysis.pending) == 3
    assert "No proxy" in verdict(analysis)


def test_failed_trainings_are_left_out() -> None:
    results = audit()
    failed = [Cell(number=4, training=TARGET.key, replicate=0), Cell(number=7, training=SHORT.key, replicate=0)]
    analysis = analyse(fake_audit.without(results, *failed, because="out of memory"))
    assert analysis.results.is_complete
    assert analysis.ceiling is not None
    assert analysis.ceiling.num_architectures == 19
    assert standing(analysis, SHORT).num_architectures == 19
    assert standing(analysis, HALF).num_architectures == 20


def test_a_round_of_further_seeds_that_has_just_begun_does_not_shrink_the_ceiling() -> None:
    results = audit(seeds=3)
    late = [cell for cell in results.trainings if cell.replicate == 2 and cell.number >= 4]
    ceiling = analyse(fake_audit.without(results, *late)).ceiling
    assert ceiling is not None
    assert (ceiling.num_trainings, ceiling.num_architectures) == (2, 20)


def test_accuracies_that_are_all_equal_rank_nothing() -> None:
    results = audit()
    flat = {
        cell: replace(record, num_correct=10_000, curve=(0.1, 0.1)) if cell.training == SHORT.key else record
        for cell, record in results.trainings.items()
    }
    analysis = analyse(replace(results, trainings=flat))
    assert analysis.pending == {SHORT.key: "all its accuracies are equal"}
    assert not any(each.training == SHORT for each in analysis.stops)


def ranking(tau: float) -> Ranking:
    return Ranking(tau=tau, low=tau - 0.1, high=tau + 0.1)


def made_up(epochs: int, tau: float, cost: float, beside: float | None = None) -> Standing:
    found = ranking(tau)
    return Standing(
        training=ProxyTraining(epochs=epochs),
        num_architectures=20,
        accuracy=found,
        reward=found,
        slope=None,
        suited_reward=found,
        beside_ceiling=beside,
        cost=cost,
        images=cost,
        by_accuracy=None,
        by_reward=None,
        is_settled=True,
    )


def made_up_ceiling(tau: float) -> Ceiling:
    found = ranking(tau)
    return Ceiling(
        num_trainings=2,
        num_architectures=20,
        accuracy=found,
        reward=found,
        seed_to_seed=tau,
        found=4.0,
        seed_error=0.01,
        spread=0.03,
    )


@pytest.mark.parametrize(
    ("ceiling", "min_tau", "expected"),
    [
        pytest.param(0.9, 0.75, (3, "aim"), id="the-cheapest-that-reaches-the-aim"),
        pytest.param(0.62, 0.9, (2, "ceiling"), id="noise-forbids-more"),
        pytest.param(0.9, 0.88, (4, "neither"), id="the-best-falls-short"),
        pytest.param(None, 0.88, (4, "neither"), id="noise-is-not-known"),
    ],
)
def test_which_proxy_is_recommended(ceiling: float | None, min_tau: float, expected: tuple[int, str]) -> None:
    four = [made_up(1, 0.5, 0.1, 0.5), made_up(2, 0.65, 0.2, 0.63), made_up(3, 0.8, 0.3, 0.8), made_up(4, 0.85, 0.5)]
    dear = made_up(5, 0.7, 0.4)
    for order in permutations([*four, dear], 5):
        standings = with_front(order)
        assert [each.training.epochs for each in standings if each.on_front] == [1, 2, 3, 4]
        found = recommend(standings, None if ceiling is None else made_up_ceiling(ceiling), min_tau)
        assert found is not None
        assert (found.standing.training.epochs, found.reaches) == expected


def test_of_proxies_that_are_about_as_cheap_the_better_one_is_recommended() -> None:
    standings = with_front([made_up(1, 0.76, 0.10), made_up(2, 0.79, 0.109), made_up(3, 0.9, 0.111)])
    found = recommend(standings, None, 0.75)
    assert found is not None
    assert found.standing.training.epochs == 2


def test_of_alike_only_what_reaches_the_ceiling_is_recommended() -> None:
    """The dearer one ranks better, but not on the ceiling's own yardstick."""
    standings = with_front([made_up(2, 0.70, 0.10, beside=0.65), made_up(4, 0.72, 0.105, beside=0.55)])
    found = recommend(standings, made_up_ceiling(0.6), 0.75)
    assert found is not None
    assert (found.standing.training.epochs, found.reaches) == (2, "ceiling")


@pytest.mark.parametrize(
    ("ceiling", "min_tau", "words"),
    [(0.6, 0.9, "out of reach"), (0.95, 0.9, "noise does not forbid it"), (None, 0.9, "not known yet")],
)
def test_the_verdict_says_what_limits_it(ceiling: float | None, min_tau: float, words: str) -> None:
    results = audit(min_tau=min_tau)
    standings = with_front([made_up(2, 0.5, 0.2, 0.5)])
    limit = None if ceiling is None else made_up_ceiling(ceiling)
    found = replace(
        analyse(results), ceiling=limit, standings=standings, recommendation=recommend(standings, limit, min_tau)
    )
    assert words in verdict(found)


def test_the_chance_of_finding_so_many_is_that_of_every_possible_choice() -> None:
    predicted = np.array([8.0, 7, 1, 2, 6, 3, 4])
    true = np.array([7.0, 6, 5, 4, 3, 2, 1])
    found = select(predicted, true, 3)
    assert found is not None
    assert found.found == 2
    choices = [len({0, 1, 2} & set(choice)) >= 2 for choice in combinations(range(7), 3)]
    assert found.chance == pytest.approx(np.mean(choices))
    assert found.regret == 0.0
    assert select(predicted, true, 7) is None


def test_ties_count_against_a_proxy() -> None:
    found = select(np.zeros(10), np.arange(10.0), 3)
    assert found is not None
    assert (found.found, found.chance, found.regret) == (0, 1.0, 9.0)


def foretold_by_scipy(proxy: Any, target: Any, place: int) -> float:
    """The target's accuracy of one architecture, by the line through the logarithms of all others."""
    line = linregress(np.log(np.delete(proxy, place)), np.log(np.delete(target, place)))
    return float(np.exp(line.intercept + line.slope * np.log(proxy[place])))


class TestExponents:
    def test_the_law_of_a_proxy_that_exaggerates_is_found(self) -> None:
        target = np.random.default_rng(0).uniform(0.8, 0.9, 20)
        slope = slope_of(target**5, target)
        assert slope is not None
        assert slope.is_sure
        assert (slope.low, slope.value, slope.high) == pytest.approx((0.2, 0.2, 0.2))
        assert foretold(target**5, target) == pytest.approx(target)

    def test_with_suited_exponents_it_ranks_rewards_as_the_target_does(self) -> None:
        """Exactly so: A^5 · (factor)^5 is the target's reward to the fifth."""
        results = fake_audit.audit(fake_audit.config(), noise=1e-9)
        scores = scores_of(results, SHORT)
        squeezed = replace(scores, accuracy=mean_of(yardstick_of(results).scores.accuracy)[None] ** 5)
        found = standing_of(SHORT, squeezed, yardstick_of(results))
        assert isinstance(found, Standing)
        assert found.slope is not None
        assert found.suited_reward.tau == pytest.approx(1.0)
        assert found.reward.tau < 0.95
        suited = suited_exponents(found, results.config.search)
        assert suited == {"w": pytest.approx(-0.35), "v": pytest.approx(-0.25)}
        assert "differ 5.0 [5.0, 5.0] times as much" in exponents_text(found, results.config.search)

    @pytest.mark.parametrize(
        "proxy",
        [
            pytest.param(lambda target: np.full(20, 0.5), id="says-nothing"),
            pytest.param(lambda target: target - target.min(), id="holds-a-zero"),
        ],
    )
    def test_there_is_none_where_a_proxy(self, proxy: Any) -> None:
        target = np.random.default_rng(0).uniform(0.8, 0.9, 20)
        assert slope_of(proxy(target), target) is None

    def test_one_that_runs_against_the_target_is_never_sure(self) -> None:
        target = np.random.default_rng(0).uniform(0.8, 0.9, 20)
        slope = slope_of(1 - target, target)
        assert slope is not None
        assert not slope.is_sure

    def test_the_interval_covers_the_truth_nine_times_in_ten(self) -> None:
        rng, covered = np.random.default_rng(1), 0
        for draw in range(200):
            proxy = rng.uniform(0.6, 0.9, 40)
            target = np.exp(0.3 * np.log(proxy) + rng.normal(0, 0.03, 40))
            slope = slope_of(proxy, target, seed=draw)
            covered += slope is not None and slope.low <= 0.3 <= slope.high
        assert 0.82 <= covered / 200 <= 0.96

    def test_of_four_architectures_nothing_is_said(self) -> None:
        target = np.array([0.8, 0.85, 0.9, 0.95])
        assert slope_of(target, target) is None

    def test_exponents_beyond_those_of_a_recipe_are_not_advised(self) -> None:
        steep = replace(made_up(2, 0.8, 0.1), slope=Slope(value=0.02, low=0.019, high=0.021))
        search = fake_audit.config().search.model_copy(update={"w": -0.5})
        assert suited_exponents(steep, search) == {}
        assert "not sure" in exponents_text(steep, search)

    def test_exponents_that_do_not_rank_better_are_not_advised(self) -> None:
        slope = Slope(value=0.2, low=0.15, high=0.25)
        search = fake_audit.config().search
        better, worse = (replace(made_up(2, 0.8, 0.1), slope=slope, suited_reward=ranking(tau)) for tau in (0.9, 0.7))
        assert suited_exponents(better, search) == {"w": -0.35, "v": -0.25}
        assert suited_exponents(worse, search) == {}


def test_the_best_that_a_search_would_find_are_those_by_reward() -> None:
    results = audit()
    target = np.mean([accuracies(results, TARGET, replicate) for replicate in range(2)], axis=0)
    factors = np.array([each.reward_factor for each in results.architectures])
    proxy = np.array(accuracies(results, SHORT, 0))
    found = standing(analyse(results), SHORT)
    suited = [foretold_by_scipy(proxy, target, place) for place in range(len(proxy))]
    for numbers, other, selection in (
        (proxy, target, found.by_accuracy),
        (suited * factors, target * factors, found.by_reward),
    ):
        assert selection is not None
        best = set(np.argsort(other)[-5:]) & set(np.argsort(numbers)[-5:])
        assert selection.found == len(best)
        assert selection.regret == pytest.approx(other.max() - other[np.argmax(numbers)])
