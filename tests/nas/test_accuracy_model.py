"""What is believed of accuracies, of feasibility, and where a search starts."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from nas.limits import Limit, Limits
from nas.reward import Reward
from nas.samplers.accuracy_model import AccuracyModel, Trained, fit_covariance
from nas.samplers.descriptors import Descriptor
from nas.samplers.design import Design
from nas.samplers.feasibility import Feasibility
from nas.samplers.gaussian_process import Posterior, covariance, expected
from nas.samplers.history import Members
from nas.samplers.limited_members import LimitedMembers
from nas.samplers.neighbourhood import Neighbourhood, keys
from proxies.costs import CostModel, MacsStepTimes, MemberCosts
from proxies.execution import parse_mode
from proxies.workload import Workload
from search_spaces.named_spaces import get_space

SPACE = get_space("mnasnet")
MEMBERS = Members(SPACE)
MOVES = Neighbourhood(MEMBERS)
WORK = Workload(mode=parse_mode("float32-channels_last"), num_classes=10)
REWARD = Reward(step_time_ref_s=0.1, params_ref=4_000_000)


@cache
def costs(*, with_step_times: bool = True) -> MemberCosts:
    times = MacsStepTimes(WORK, SPACE.backbone, backbone_s=0.1) if with_step_times else None
    return CostModel(workload=WORK, device_kind="cpu", step_times=times).over(SPACE)


@cache
def describe() -> Descriptor:
    return Descriptor(SPACE, costs())


def seeded(seed: int) -> np.random.Generator:
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def logs_of(members: np.ndarray) -> np.ndarray:
    """Made-up log-accuracies: each choice adds its own, and repeats matter most."""
    weights = np.random.default_rng(99).random(len(MEMBERS.sizes)) / MEMBERS.sizes
    return np.asarray(-1.0 + 0.1 * members @ weights)


def model_of(trained: Trained, *earlier: Trained) -> AccuracyModel:
    return AccuracyModel(describe(), trained, earlier, fit_covariance(describe(), trained, earlier))


class TestTrained:
    @pytest.mark.parametrize("seed", range(5))
    def test_ordinary_results_stay(self, seed: int) -> None:
        rng = seeded(seed)
        for count in (1, 2, 3, 10, 200):
            logs = np.log(rng.uniform(0.6, 0.8, count))
            assert (Trained.of(MOVES.random(count, rng), logs).logs == logs).all()

    @pytest.mark.parametrize("seed", range(5))
    def test_a_failed_training_is_lifted_and_nothing_else(self, seed: int) -> None:
        rng = seeded(seed)
        logs = np.log(rng.uniform(0.6, 0.8, 20))
        logs[7] = np.log(1e-6)
        lifted = Trained.of(MOVES.random(20, rng), logs).logs
        rest = np.delete(np.arange(20), 7)
        assert (lifted[rest] == logs[rest]).all()
        assert -3.0 < lifted[7] < lifted[rest].min()
        assert Trained.of(MOVES.random(20, rng), logs + 4.6).logs - 4.6 == pytest.approx(lifted)

    def test_results_that_are_all_alike_stay(self) -> None:
        members = MOVES.random(5, np.random.default_rng(0))
        assert (Trained.of(members, np.full(5, -0.7)).logs == -0.7).all()
        assert len(Trained.of(members[:0], np.zeros(0)).logs) == 0


class TestAccuracyModel:
    def test_it_learns_what_makes_architectures_good(self) -> None:
        rng = seeded(0)
        members, others = MOVES.random(80, rng), MOVES.random(300, rng)
        mean, deviation = model_of(Trained.of(members, logs_of(members)))(others)
        assert np.corrcoef(mean, logs_of(others))[0, 1] > 0.95
        misses = (mean - logs_of(others)) / deviation
        # Without noise here, and with some expected, its doubts are on the safe side.
        assert 0.01 < np.sqrt(np.mean(misses**2)) < 2

    def test_units_shift_predictions_and_stretch_them(self) -> None:
        """Of accuracies in percent, say, and of logarithms to another base."""
        rng = seeded(1)
        members, others = MOVES.random(30, rng), MOVES.random(50, rng)
        logs = logs_of(members) + 0.002 * rng.normal(size=30)
        mean, deviation = model_of(Trained.of(members, logs))(others)
        shifted, same = model_of(Trained.of(members, logs + 4.6))(others)
        np.testing.assert_allclose(shifted, mean + 4.6, atol=1e-6)
        np.testing.assert_allclose(same, deviation, rtol=1e-4)
        stretched, wider = model_of(Trained(members, 3 * logs))(others)
        np.testing.assert_allclose(stretched, 3 * mean, atol=1e-6)
        np.testing.assert_allclose(wider, 3 * deviation, rtol=1e-4)

    @pytest.mark.parametrize("with_earlier", [False, True])
    def test_imagining_leaves_the_mean_and_takes_doubt_away(self, with_earlier: bool) -> None:
        """What comes out as expected changes no expectation."""
        rng = seeded(2)
        members, earlier, running, others = (MOVES.random(count, rng) for count in (12, 20, 8, 60))
        known = [Trained.of(earlier, 2 * logs_of(earlier))] if with_earlier else []
        model = model_of(Trained.of(members, logs_of(members)), *known)
        imagined = model.imagining(running)
        everyone = np.concatenate([members, running, others])
        (before, doubt), (after, less) = model(everyone), imagined(everyone)
        np.testing.assert_allclose(after, before, atol=1e-7)
        assert (less <= doubt + 1e-12).all()
        assert (less[12:20] < 0.8 * doubt[12:20]).all()
        assert model.imagining(running[:0]) is model

    def test_an_imagined_result_is_as_good_as_a_real_one(self) -> None:
        """Doubt does not depend on how results come out."""
        rng = seeded(3)
        members, running, others = (MOVES.random(count, rng) for count in (12, 3, 40))
        trained = Trained.of(members, logs_of(members))
        model = model_of(trained)
        both = np.concatenate([members, running])
        points, asked = describe()(both), describe()(others)
        _, plain = Posterior(model.h, points, np.zeros(15))(asked)
        _, found = model.imagining(running)(others)
        np.testing.assert_allclose(found / found[0], plain / plain[0], rtol=1e-9)

    def test_an_earlier_run_on_other_images_helps(self) -> None:
        """Its accuracies are lower and lie further apart."""
        rng = seeded(4)
        members, earlier, others = (MOVES.random(count, rng) for count in (6, 100, 200))
        trained, before = Trained.of(members, logs_of(members)), Trained.of(earlier, 2 * logs_of(earlier) - 1)
        truth = logs_of(others)
        alone, _ = model_of(trained)(others)
        helped, _ = model_of(trained, before)(others)
        assert np.corrcoef(helped, truth)[0, 1] > 0.9 > np.corrcoef(alone, truth)[0, 1]

    def test_an_earlier_run_alone_is_enough(self) -> None:
        rng = seeded(5)
        earlier, others = MOVES.random(60, rng), MOVES.random(100, rng)
        nothing = Trained.of(earlier[:0], np.zeros(0))
        mean, deviation = model_of(nothing, Trained.of(earlier, logs_of(earlier)))(others)
        assert np.corrcoef(mean, logs_of(others))[0, 1] > 0.8
        assert (deviation > 0).all()

    @pytest.mark.parametrize("level", [np.log(1e-6), np.log(0.7), 0.0])
    @pytest.mark.parametrize("count", [1, 3, 7, 30])
    def test_results_that_are_all_alike_leave_doubt(self, level: float, count: int) -> None:
        """Though their average may miss them by a rounding error."""
        rng = seeded(count)
        members, others = MOVES.random(count, rng), MOVES.random(50, rng)
        mean, deviation = model_of(Trained.of(members, np.full(count, level)))(others)
        np.testing.assert_allclose(mean, level, atol=1e-3)
        assert deviation.max() > 1e-4

    def test_the_difference_of_two_members_is_that_of_joint_draws(self) -> None:
        rng = seeded(6)
        members, others = MOVES.random(25, rng), MOVES.random(4, rng)
        model = model_of(Trained.of(members, logs_of(members)))
        mean, _ = model(others)
        draws = rng.multivariate_normal(mean, model.between(others, others), 40_000)
        gains, deviations = model.gains(others[1:], others[0])
        apart = draws[:, 1:] - draws[:, :1]
        np.testing.assert_allclose(gains, mean[1:] - mean[0])
        np.testing.assert_allclose(deviations, apart.std(axis=0), rtol=0.03)

    def test_leaving_one_out_is_a_model_without_it(self) -> None:
        """Up to the scale, to which each result adds a little."""
        rng = seeded(7)
        members = MOVES.random(40, rng)
        logs = logs_of(members)
        earlier = Trained.of(MOVES.random(10, rng), rng.normal(size=10))
        model = model_of(Trained.of(members, logs), earlier)
        mean, deviation = model.left_out()
        assert mean.shape == deviation.shape == (40,)
        for place in range(0, 40, 9):
            rest = np.delete(np.arange(40), place)
            without = AccuracyModel(describe(), Trained.of(members[rest], logs[rest]), [earlier], model.h)
            once, doubt = without(members[[place]])
            assert mean[place] == pytest.approx(once[0], abs=0.2 * doubt[0])
            assert deviation[place] == pytest.approx(doubt[0], rel=0.2)


class TestFeasibility:
    def test_nothing_is_suspected_before_something_failed(self) -> None:
        members = MOVES.random(10, np.random.default_rng(0))
        for count in (0, 10):
            found = Feasibility(describe(), members[:count], np.ones(count, dtype=bool))
            assert (found.log_probability(members) == 0).all()

    def test_what_is_near_failures_is_avoided_and_what_is_near_successes_is_not(self) -> None:
        """The largest do not fit."""
        rng = seeded(1)
        members, others = MOVES.random(60, rng), MOVES.random(300, rng)
        large = np.median(costs()(members).params)
        found = np.exp(Feasibility(describe(), members, costs()(members).params < large).log_probability(others))
        of_others = costs()(others).params
        assert ((found > 0) & (found <= 1)).all()
        assert found[of_others < 0.8 * large].mean() > 0.8
        assert found[of_others > 1.25 * large].mean() < 0.2

    def test_a_single_failure_is_local(self) -> None:
        rng = seeded(2)
        members = MOVES.random(30, rng)
        is_feasible = np.ones(30, dtype=bool)
        is_feasible[3] = False
        feasibility = Feasibility(describe(), members, is_feasible)
        at, beside = (
            np.exp(feasibility.log_probability(each)) for each in (members[[3]], MOVES.exchanges(members[[3]]))
        )
        far = np.exp(feasibility.log_probability(members[is_feasible]))
        assert at[0] < beside.mean() < far.mean()
        assert far.mean() > 0.9

    def test_a_space_full_of_failures_leaves_differences_finite(self) -> None:
        members = MOVES.random(30, np.random.default_rng(3))
        found = Feasibility(describe(), members, np.zeros(30, dtype=bool)).log_probability(members)
        assert np.isfinite(found).all()


def design(seed: int = 0, *, with_step_times: bool = True, limits: Limits = Limits()) -> Design:
    inside = LimitedMembers(SPACE, MOVES, limits, seed)
    return Design(MEMBERS, inside, REWARD, costs(with_step_times=with_step_times), seed)


def chosen(plan: Design, count: int) -> np.ndarray:
    """The backbone, and what follows from it one by one."""
    known = np.array([SPACE.encode(SPACE.backbone)])
    for _ in range(count):
        known = np.concatenate([known, plan.ranking(known)[:1]])
    return known


def doubt_left(known: np.ndarray, asked: np.ndarray) -> float:
    """Average variance, by dense algebra, of members after some were seen."""
    seen, points = describe()(known), describe()(asked)
    h = expected(seen.bits.shape[1], seen.features.shape[1])
    inverse = np.linalg.inv(covariance(h, seen, seen) + h.noise * np.eye(len(known)))
    crossing = covariance(h, points, seen)
    return float(np.mean(np.diag(covariance(h, points, points)) - ((crossing @ inverse) * crossing).sum(axis=1)))


class TestDesign:
    def test_it_needs_no_step_times(self) -> None:
        assert (chosen(design(), 5) == chosen(design(with_step_times=False), 5)).all()

    def test_it_follows_from_the_seed_of_the_search(self) -> None:
        assert (chosen(design(3), 5) == chosen(design(3), 5)).all()
        assert (chosen(design(3), 5) != chosen(design(4), 5)).any()

    @pytest.mark.parametrize("seed", range(3))
    def test_it_leaves_less_doubt_about_what_is_promising_than_chance(self, seed: int) -> None:
        """Less than the best of twenty random designs."""
        rng = seeded(seed)
        asked = MOVES.random(1500, rng)
        of_asked = costs()(asked)
        factors = REWARD.w * np.log(of_asked.macs) + REWARD.v * np.log(of_asked.params)
        asked = asked[np.argsort(-factors)[:500]]
        known = chosen(design(seed), 7)
        random = [np.concatenate([known[:1], MOVES.random(7, rng)]) for _ in range(20)]
        assert doubt_left(known, asked) < min(doubt_left(each, asked) for each in random)

    def test_it_proposes_nothing_twice(self) -> None:
        known = chosen(design(1), 30)
        assert len(set(keys(known))) == 31

    def test_it_keeps_limits(self) -> None:
        most = float(np.quantile(costs()(MOVES.random(500, np.random.default_rng(0))).params, 0.02))
        limit = Limit(key="max_params", most=most, cost=lambda rows: costs()(rows).params, phrase="{}")
        found = chosen(design(limits=Limits((limit,))), 6)[1:]
        assert (costs()(found).params <= most).all()
        assert len(set(keys(found))) == 6

    def test_exponents_of_nought_are_no_trouble(self) -> None:
        inside = LimitedMembers(SPACE, MOVES, Limits(), 0)
        plan = Design(MEMBERS, inside, replace(REWARD, w=0.0, v=0.0), costs(), 0)
        assert len(set(keys(chosen(plan, 4)))) == 5
