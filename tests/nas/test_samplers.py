"""What every sampler owes the search; each runs through the same tests."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import fake_search
import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.reward import Reward
from nas.samplers import SAMPLER_NAMES, make_sampler
from nas.samplers.problem import Problem
from nas.trials import distributions
from proxies.costs import CostModel, MacsStepTimes
from search_spaces.named_spaces import get_space
from search_spaces.space import SearchSpace
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
TINY_STAGE = {"out_channels": 8, "stride": 2, "block": "ir", "num_repeats": 1, "kernel_size": 3, "expand_ratio": 4}
REPEAT = ("tpe", "nsga2")
"""Samplers that may propose what the study knows."""
MULTI_OBJECTIVE = ("tpe", "nsga2", "random")

Objective = Callable[[Mapping[str, Any]], float]


@cache
def problem_of(space: SearchSpace) -> Problem:
    """With step times and parameters known."""
    work = fake_search.TABLE.workload
    step_times = MacsStepTimes(work, space.backbone, backbone_s=0.1)
    costs = CostModel(workload=work, device_kind="cpu", step_times=step_times).over(space)
    return Problem(space=space, seed=0, reward=Reward(step_time_ref_s=0.1, params_ref=100_000), costs=costs)


def deep_first_stage(params: Mapping[str, Any]) -> float:
    return params["stage1_num_repeats"] + 0.1 * (params["stage2_expand_ratio"] == 4)


def sum_of_places(space: SearchSpace) -> Objective:
    """The average choice, from 0 (all the first) to 1 (all the last)."""
    choices = space.choices
    return lambda params: float(np.mean([choices[k].index(v) / (len(choices[k]) - 1) for k, v in params.items()]))


def play(
    name: str,
    trials: int,
    *,
    seed: int = 0,
    space: SearchSpace = SPACE,
    objective: Objective = deep_first_stage,
    study: optuna.Study | None = None,
) -> optuna.Study:
    """A search up to so many trials, with a fresh sampler for each proposal."""
    study = study or optuna.create_study(direction="maximize")
    sampler_of = make_sampler(name, replace(problem_of(space), seed=seed))
    for index in range(len(study.trials), trials):
        study.sampler = sampler_of(1000 * seed + index)
        trial = study.ask(distributions(space))
        study.tell(trial, objective(trial.params))
    return study


def proposals(study: optuna.Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.trials]


def propose(name: str, study: optuna.Study, seed: int, space: SearchSpace = SPACE) -> dict[str, Any]:
    """The next proposal, whose trial then runs."""
    study.sampler = make_sampler(name, problem_of(space))(seed)
    return study.ask(distributions(space)).params


def few(name: str, trials: int) -> int:
    """Fewer where a proposal takes long; still some more than the ten that Optuna's Gaussian process draws first."""
    return min(trials, 14) if name == "gp" else trials


def eventful(seed: int, trials: int) -> optuna.Study:
    """A study as a search on several workers leaves it: every end that an attempt can come to, and some running."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
    asked = [study.ask(distributions(SPACE)) for _ in range(trials)]
    for place in rng.permutation(trials):
        trial, fate = asked[place], rng.integers(5)
        if fate < 2:
            study.tell(trial, deep_first_stage(trial.params))
        elif fate == 2:
            trial.set_constraint("infeasible", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
        elif fate == 3:
            study.tell(trial, state=TrialState.FAIL)
    study.ask()
    study.enqueue_trial(asked[0].params)
    return study


def architectures(study: optuna.Study, space: SearchSpace, states: Sequence[TrialState]) -> list[str]:
    return [str(space.from_params(t.params)) for t in study.trials if t.state in states and t.params]


@pytest.mark.parametrize("name", SAMPLER_NAMES)
class TestSampler:
    def test_every_proposal_is_a_member(self, name: str) -> None:
        assert all(SPACE.contains(SPACE.from_params(params)) for params in proposals(play(name, few(name, 30))))

    def test_the_same_seeds_give_the_same_proposals(self, name: str) -> None:
        trials = few(name, 60)
        assert proposals(play(name, trials, seed=1)) == proposals(play(name, trials, seed=1))
        assert proposals(play(name, trials, seed=1)) != proposals(play(name, trials, seed=2))

    def test_a_killed_search_goes_on_as_if_nothing_had_happened(self, name: str) -> None:
        """Nothing that the sampler needs is lost with its process; the study is as its storage has it."""
        trials = few(name, 80)
        stopped = deepcopy(play(name, trials - 3, seed=3))
        assert proposals(play(name, trials, seed=3, study=stopped)) == proposals(play(name, trials, seed=3))

    @pytest.mark.parametrize("trials", [8, 120])
    def test_any_mixture_of_ends_is_survived(self, name: str, trials: int) -> None:
        """What failed, or waits, changes nothing but the trials' numbers."""
        study = eventful(trials, few(name, trials) if trials > 8 else trials)
        copy = optuna.create_study(direction="maximize")
        copy.add_trials([t for t in study.trials if t.state not in (TrialState.FAIL, TrialState.WAITING)])
        study.ask()  # takes what waits
        study.tell(study.trials[-1].number, state=TrialState.FAIL)
        expected = propose(name, copy, seed=5)
        assert SPACE.contains(SPACE.from_params(expected))
        if name != "nsga2":  # keeps its populations by the trials' numbers
            assert propose(name, study, seed=5) == expected

    def test_eight_workers_get_eight_members(self, name: str) -> None:
        """Of which none is known, where the sampler promises that."""
        study = play(name, few(name, 60), seed=4)
        known = set(architectures(study, SPACE, [TrialState.COMPLETE]))
        workers = 3 if name == "gp" else 8
        pending = [str(SPACE.from_params(propose(name, study, seed=seed))) for seed in range(workers)]
        if name not in REPEAT:
            assert len(set(pending) - known) == workers

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_tiny_spaces_are_searched_whole(self, name: str, size: int) -> None:
        widest = {1: {}, 2: {"kernel_size": [3, 5]}, 3: {"num_repeats": [1, 2, 3]}}
        choices = widest.get(size, {"kernel_size": [3, 5], "expand_ratio": [1, 4]})
        space = space_from_mapping({**fake_search.SPACE, "stages": [{**TINY_STAGE, **choices}]})
        assert space.size == size
        study = play(name, 12, space=space, objective=lambda params: 0.5)
        found = architectures(study, space, [TrialState.COMPLETE])
        if size > 1 and name not in REPEAT:
            assert len(set(found[:size])) == size


@pytest.mark.parametrize("name", [name for name in SAMPLER_NAMES if name != "known-cost"])
def test_what_is_minimised_is_not_searched_upside_down(name: str) -> None:
    """A cost is searched exactly as its negative is as a reward; ours are told no costs but rewards."""
    trials = few(name, 60)
    minimised = optuna.create_study(direction="minimize")
    play(name, trials, seed=8, objective=lambda params: -deep_first_stage(params), study=minimised)
    assert proposals(minimised) == proposals(play(name, trials, seed=8))


@pytest.mark.parametrize("name", MULTI_OBJECTIVE)
def test_pareto_fronts_are_searched(name: str) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for index in range(60):
        params = propose(name, study, seed=index)
        study.tell(index, [deep_first_stage(params), float(params["stage2_num_repeats"])])
    assert len(study.best_trials) >= 1


def _slow(names: Sequence[str]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in names]


@pytest.mark.parametrize("name", _slow([name for name in SAMPLER_NAMES if name not in ("random", "known-cost")]))
def test_what_learns_beats_chance(name: str) -> None:
    """On 28 choices: the last 20 proposals are better than 20 random ones by more than four standard errors."""
    space = get_space("mnasnet")
    objective = sum_of_places(space)
    chance = [objective(params) for params in proposals(play("random", 200, space=space, objective=objective))]
    trials = {"gp": 40, "nsga2": 300}.get(name, 100)
    learnt = play(name, trials, space=space, objective=objective)
    late = [objective(params) for params in proposals(learnt)[-20:]]
    bound = np.mean(chance) + 4 * np.std(chance) / np.sqrt(20)
    assert np.mean(late) > bound, f"{np.mean(late):.3f}, chance {np.mean(chance):.3f}, needed {bound:.3f}"


def test_the_known_space_is_what_optuna_would_have_found() -> None:
    """The wrapped sampler proposes as the bare one does."""
    bare = optuna.create_study(direction="maximize")
    for index in range(30):
        bare.sampler = optuna.samplers.TPESampler(seed=index)
        trial = bare.ask(distributions(SPACE))
        bare.tell(trial, deep_first_stage(trial.params))
    assert proposals(bare) == proposals(play("tpe", 30))
