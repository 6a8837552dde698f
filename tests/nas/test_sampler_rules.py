"""The rules of our own samplers, against other people's accounts of them."""

import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy.stats import chisquare

from nas.samplers.evolution import EvolutionSampler
from nas.samplers.history import Members, Places, Verdicts, read_known, read_verdicts
from nas.samplers.member_sampler import MemberSampler
from nas.samplers.random_search import RandomSearchSampler
from nas.samplers.reinforce import PolicySettings, ReinforceSampler, advantages, gradient, learn, log_softmax
from nas.samplers.repeat_free import RepeatFreeSampler
from nas.trials import distributions
from search_spaces.named_spaces import get_space
from search_spaces.space_file import space_from_mapping

LARGE = get_space("mnasnet")
FUSED = space_from_mapping({
    "resolution": 32,
    "stem_channels": 8,
    "head_channels": 32,
    "stages": [
        {"out_channels": 8, "stride": 1, "num_repeats": 1, "kernel_size": [3, 5], "se_ratio": [0.0, 0.25, 0.5]},
        {"out_channels": 16, "stride": 2, "num_repeats": [1, 2], "block": "er", "se_ratio": [0.0, 0.25]},
    ],
})  # fmt: skip
"""Parameters that mean nothing: the SE ratio where the block is Fused-MBConv."""
START = datetime(2026, 1, 1)

Told = tuple[Mapping[str, Any], TrialState, float | None]


def study_of(told: Sequence[Told], *, order: Sequence[int] | None = None, space: Any = LARGE) -> optuna.Study:
    """A study of trials that ended in this order, by default in that of their numbers."""
    study = optuna.create_study(direction="maximize")
    places = {number: place for place, number in enumerate(order or range(len(told)))}
    for number, (params, state, value) in enumerate(told):
        trial = create_trial(params=dict(params), distributions=distributions(space), value=value, state=state)
        if trial.state.is_finished():
            trial.datetime_complete = START + timedelta(seconds=places[number])
        study.add_trial(trial)
    return study


def propose(sampler: MemberSampler, study: optuna.Study, space: Any = LARGE) -> Places:
    """What it proposes, without asking, so that the study stays as it is."""
    trial = create_trial(state=TrialState.RUNNING)
    members = Members(space)
    places = members.encode(sampler.sample_relative(study, trial, distributions(space)))
    assert places is not None
    return places


def verdicts_of(members: Any, scores: Any) -> Verdicts:
    return Verdicts(members=members, values=scores[:, None], signs=np.ones(1))


def random_params(rng: random.Random, space: Any = LARGE) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in space.choices.items()}


def distance(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def is_likely(observed: Sequence[float], expected: Sequence[float]) -> bool:
    """Fails a true hypothesis once in 10,000 seeds; seeds here are fixed."""
    return bool(chisquare(observed, expected).pvalue > 1e-4)


class TestHistory:
    @pytest.mark.parametrize("space", [LARGE, FUSED], ids=["mnasnet", "fused"])
    def test_members_are_written_as_the_space_writes_them(self, space: Any) -> None:
        members, rng = Members(space), random.Random(0)
        for _ in range(300):
            params = random_params(rng, space)
            architecture = space.from_params(params)
            places = members.encode(params)
            assert places == space.encode(architecture)
            assert space.from_params(members.params(places)) == architecture

    def test_parameters_of_another_space_are_no_member(self) -> None:
        params = random_params(random.Random(0))
        assert Members(LARGE).encode(params | {"stage1_kernel_size": 7}) is None
        assert Members(LARGE).encode({}) is None

    def test_verdicts_come_in_their_order_and_once(self) -> None:
        one, two, three, four = (random_params(random.Random(seed)) for seed in range(4))
        complete, pruned = TrialState.COMPLETE, TrialState.PRUNED
        told: list[Told] = [
            (one, complete, 1.0), (two, complete, 2.0), (three, pruned, None), (four, TrialState.FAIL, None),
            (one, complete, 9.0), (four, TrialState.RUNNING, None),
        ]  # fmt: skip
        study = study_of(told, order=[2, 1, 3, 0, 4, 5])
        verdicts, members = read_verdicts(study, Members(LARGE)), Members(LARGE)
        assert verdicts.members.tolist() == [list(members.encode(p) or ()) for p in (three, two, one)]
        assert verdicts.scores.tolist() == [-np.inf, 2.0, 1.0]
        assert read_known(study, members) == {members.encode(p) for p in (one, two, three, four)}


class TestRandomSearch:
    def test_each_choice_is_uniform_and_none_knows_of_another(self) -> None:
        study = optuna.create_study()
        drawn = np.array([propose(RandomSearchSampler(LARGE, seed=seed), study) for seed in range(1200)])
        for column, values in enumerate(LARGE.choices.values()):
            counts = np.bincount(drawn[:, column], minlength=len(values))
            assert is_likely(counts, [1200 / len(values)] * len(values)), (column, counts)
        pairs = np.bincount(2 * drawn[:, 1] + drawn[:, 3], minlength=4)
        assert is_likely(pairs, [300] * 4), pairs

    def test_a_space_is_exhausted_before_anything_comes_again(self) -> None:
        study = optuna.create_study()
        for seed in range(FUSED.size + 5):
            study.sampler = RandomSearchSampler(FUSED, seed=seed)
            trial = study.ask(distributions(FUSED))
            study.tell(trial, 1.0) if seed % 3 else study.tell(trial, state=TrialState.PRUNED)
        architectures = [str(FUSED.from_params(trial.params)) for trial in study.trials]
        assert len(set(architectures[: FUSED.size])) == FUSED.size


def newest(told: Sequence[Told], order: Sequence[int], population: int) -> list[tuple[Places, float]]:
    """The population as Algorithm 1 of arXiv:1802.01548 keeps it: what joins goes right, what dies goes left."""
    alive: deque[tuple[Places, float]] = deque()
    seen = []
    for number in order:
        params, state, value = told[number]
        places = Members(LARGE).encode(params)
        if places is None or places in seen or state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        seen.append(places)
        alive.append((places, -1e9 if value is None else value))
        if len(alive) > population:
            alive.popleft()
    return list(alive)


def many_told(rng: random.Random, trials: int) -> list[Told]:
    ends = [TrialState.COMPLETE] * 3 + [TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    told: list[Told] = []
    for _ in range(trials):
        state = rng.choice(ends)
        again = told and rng.random() < 0.1
        params = rng.choice(told)[0] if again else random_params(rng)
        told.append((params, state, rng.random() if state is TrialState.COMPLETE else None))
    return told


class TestEvolution:
    @pytest.mark.parametrize("seed", range(6))
    def test_the_child_is_one_change_from_the_best_that_lives(self, seed: int) -> None:
        """A tournament so large that all take part; the population by a slow twin."""
        print(f"seed {seed}")
        rng = random.Random(seed)
        told = many_told(rng, 40)
        order = rng.sample(range(40), 40)
        alive = newest(told, order, 8)
        best = max(alive, key=lambda each: each[1])[0]
        study = study_of(told, order=order)
        for proposal in range(5):
            sampler = EvolutionSampler(LARGE, seed=proposal, population=8, tournament=500)
            assert distance(propose(sampler, study), best) == 1

    def test_the_first_ones_are_random(self) -> None:
        """One short of the population, children are as far from everything as chance has it."""
        rng = random.Random(1)
        told: list[Told] = [(random_params(rng), TrialState.COMPLETE, rng.random()) for _ in range(8)]
        for judged, is_child in ((7, False), (8, True)):
            study = study_of(told[:judged])
            child = propose(EvolutionSampler(LARGE, seed=0, population=8, tournament=2), study)
            nearest = min(distance(child, Members(LARGE).encode(params) or ()) for params, _, _ in told[:judged])
            assert (nearest == 1) is is_child

    def test_parents_win_as_often_as_a_tournament_with_replacement_lets_them(self) -> None:
        """Of 5, the k-th from below wins with probability (k² − (k−1)²)/25 where two are drawn."""
        rng = random.Random(2)
        told: list[Told] = [(random_params(rng), TrialState.COMPLETE, float(rank)) for rank in range(1, 5)]
        told.insert(2, (random_params(rng), TrialState.PRUNED, None))
        ranks = {Members(LARGE).encode(params): int(value or 0) for params, _, value in told}
        study, wins = study_of(told), Counter[int]()
        for seed in range(600):
            child = propose(EvolutionSampler(LARGE, seed=seed, population=5, tournament=2), study)
            wins[next(rank for parent, rank in ranks.items() if parent and distance(child, parent) == 1)] += 1
        expected = [600 * (2 * k - 1) / 25 for k in range(1, 6)]
        assert is_likely([wins[rank] for rank in range(5)], expected), wins

    def test_every_choice_is_changed_as_often_and_to_every_other_value(self) -> None:
        study = study_of([(random_params(random.Random(3)), TrialState.COMPLETE, 1.0)])
        parent = read_verdicts(study, Members(LARGE)).members[0]
        changes = Counter[tuple[int, int]]()
        for seed in range(1400):
            child = propose(EvolutionSampler(LARGE, seed=seed, population=1, tournament=1), study)
            column = int(np.flatnonzero(parent != child)[0])
            changes[column, child[column]] += 1
        sizes = [len(values) for values in LARGE.choices.values()]
        cells = [(c, v) for c, size in enumerate(sizes) for v in range(size) if v != parent[c]]
        expected = [1400 / len(sizes) / (sizes[column] - 1) for column, _ in cells]
        assert is_likely([changes[cell] for cell in cells], expected), changes

    @pytest.mark.parametrize("wrong", [{"population": 0}, {"tournament": 0}])
    def test_nobody_lives_in_an_empty_population(self, wrong: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="must be at least 1"):
            EvolutionSampler(LARGE, seed=0, **wrong)


class TestReinforce:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_gradient_is_autograds(self, seed: int) -> None:
        print(f"seed {seed}")
        rng = np.random.default_rng(seed)
        sizes, most = [3, 2, 4], 4
        logits, chosen = np.full((3, most), -1e6), np.zeros((3, most))
        advantage, entropy, expected = rng.normal(), rng.random(), np.zeros((3, most))
        for row, size in enumerate(sizes):
            logits[row, :size], place = rng.normal(size=size), rng.integers(size)
            chosen[row, place] = 1
            free = torch.tensor(logits[row, :size], requires_grad=True)
            policy = torch.distributions.Categorical(logits=free)
            (advantage * policy.log_prob(torch.tensor(place)) + entropy * policy.entropy()).backward()
            expected[row, :size] = free.grad
        np.testing.assert_allclose(gradient(logits, chosen, advantage, entropy), expected, atol=1e-12)

    def test_advantages_are_of_exponential_averages(self) -> None:
        """Written out with the weights that each verdict has."""
        scores, memory = np.random.default_rng(0).normal(5.0, 2.0, 30), 0.7
        deviations = [0.0]
        for now in range(1, 30):
            weights = memory ** np.arange(now)[::-1]
            deviations.append(scores[now] - np.average(scores[:now], weights=weights))
        expected = [0.0]
        for now in range(1, 30):
            weights = memory ** np.arange(now)[::-1]
            expected.append(deviations[now] / np.sqrt(np.average(np.square(deviations[1 : now + 1]), weights=weights)))
        np.testing.assert_allclose(advantages(scores, memory), expected)

    def test_what_is_infeasible_is_as_bad_as_the_worst_so_far(self) -> None:
        infeasible = -np.inf
        found = advantages(np.array([infeasible, 3.0, 2.0, infeasible, 1.0, infeasible, 4.0]), 0.8)
        assert found == [0.0, *advantages(np.array([3.0, 2.0, 2.0, 1.0, 1.0, 4.0]), 0.8)]
        assert max(found[3], found[5]) < 0

    def test_units_of_the_reward_do_not_matter(self) -> None:
        rng = np.random.default_rng(0)
        sizes = Members(LARGE).sizes
        rows, scores = rng.integers(sizes, size=(60, len(sizes))), rng.normal(size=60)
        policies = [learn(verdicts_of(rows, each), sizes, PolicySettings()) for each in (scores, 0.01 * scores + 7)]
        np.testing.assert_allclose(*policies, atol=1e-6)

    def test_values_that_a_choice_lacks_are_never_drawn(self) -> None:
        rng = np.random.default_rng(1)
        rows, scores = rng.integers([3, 2, 4], size=(300, 3)), rng.normal(size=300)
        policy = np.exp(log_softmax(learn(verdicts_of(rows, scores), [3, 2, 4], PolicySettings())))
        assert policy[0, 3] == policy[1, 2] == policy[1, 3] == 0
        np.testing.assert_allclose(policy.sum(axis=1), 1)

    def test_proposals_are_draws_from_the_policy(self) -> None:
        rng = random.Random(4)
        told: list[Told] = [(random_params(rng), TrialState.COMPLETE, rng.random()) for _ in range(12)]
        study, members = study_of(told), Members(LARGE)
        policy = np.exp(log_softmax(learn(read_verdicts(study, members), members.sizes, PolicySettings())))
        drawn = np.array([propose(ReinforceSampler(LARGE, seed=seed), study) for seed in range(800)])
        for column, size in enumerate(members.sizes):
            counts = np.bincount(drawn[:, column], minlength=size)
            assert is_likely(counts, 800 * policy[column, :size] / policy[column, :size].sum()), (column, counts)


class Stubborn(BaseSampler):
    """Proposes one member for ever."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = params

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError


class TestRepeatFree:
    def test_its_proposal_is_taken_once_then_what_is_near(self) -> None:
        params = random_params(random.Random(5))
        first = Members(LARGE).encode(params) or ()
        study, found = optuna.create_study(), []
        for seed in range(15):
            study.sampler = RepeatFreeSampler(Stubborn(params), LARGE, seed=seed)
            trial = study.ask(distributions(LARGE))
            found.append(Members(LARGE).encode(trial.params) or ())
            study.tell(trial, state=TrialState.PRUNED)
        assert found[0] == first
        assert len(set(found)) == 15
        assert all(1 <= distance(places, first) <= 3 for places in found[1:])

    def test_where_it_proposes_nothing_chance_does(self) -> None:
        study = optuna.create_study()
        drawn = {propose(RepeatFreeSampler(Stubborn({}), LARGE, seed=seed), study) for seed in range(5)}
        assert len(drawn) == 5
