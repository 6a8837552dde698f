"""Limits that are known before a candidate is trained: kept exactly, by every sampler, and found even where tight."""

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import fake_search
import numpy as np
import optuna
import pytest

from nas.evaluation_tasks import Calibrate, Inspect, Judge
from nas.executors.interface import RefusedError
from nas.limits import Limit, Limits
from nas.reward import Reward
from nas.run import Run
from nas.samplers import make_sampler
from nas.samplers.knowledge import Knowledge
from nas.samplers.problem import Problem
from nas.study import Ending
from nas.trials import State, distributions
from proxies.complexity import count_macs, count_params
from proxies.costs import CostModel
from proxies.memory import predict_peak_memory
from search_spaces.architecture import Architecture
from search_spaces.named_spaces import get_space
from search_spaces.space_file import space_from_mapping

GIB = 2**30
SPACE = space_from_mapping(fake_search.SPACE)
LARGE = get_space("mnasnet")


def peak(architecture: Architecture) -> float:
    mode = fake_search.TABLE.workload.mode
    return predict_peak_memory(architecture, batch_size=32, mode=mode, num_classes=10, in_channels=1) / GIB


COSTS: dict[str, Callable[[Architecture], float]] = {
    "max_params": lambda architecture: count_params(architecture, 10, 1),
    "max_macs": lambda architecture: count_macs(architecture, num_classes=10, in_channels=1),
    "max_step_time_s": lambda architecture: fake_search.TABLE.predict(architecture).median_s,
    "max_memory_gib": peak,
}


@cache
def costs_of_all(key: str) -> dict[str, float]:
    """Of every member of the fake space, one by one."""
    choices = SPACE.choices
    members = (SPACE.from_params(dict(zip(choices, chosen, strict=True))) for chosen in product(*choices.values()))
    return {str(member): COSTS[key](member) for member in members}


def limit_for(key: str, members: int) -> float:
    """A limit that exactly so many members keep."""
    ordered = sorted(costs_of_all(key).values())
    limit = (ordered[members - 1] + ordered[members]) / 2
    return int(limit) if key in ("max_params", "max_macs") else limit


def search(out: Path, **changes: Any) -> tuple[Run, Ending, list[object]]:
    """A search, and what its workers were asked."""
    seen: list[object] = []

    def evaluate(work: object, report: Any) -> object:
        seen.append(work)
        return fake_search.evaluate(work, report)

    config = fake_search.config(out, finalists=0, **changes)
    run, ending = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    return run, ending, seen


def launched(seen: list[object]) -> list[str]:
    return [work.architecture for work in seen if isinstance(work, Judge)]


@pytest.mark.parametrize("key", COSTS)
def test_what_is_beyond_a_limit_is_told_infeasible_and_never_launched(tmp_path: Path, key: str) -> None:
    costs, limit = costs_of_all(key), limit_for(key, 144)
    run, _, seen = search(tmp_path / "run", **{key: limit})
    assert launched(seen)
    assert all(costs[architecture] <= limit for architecture in launched(seen))
    refused = [r for r in run.records if r.state is State.INFEASIBLE and r.candidate]
    assert refused, "random search meets some"
    for record in refused:
        assert record.candidate is not None
        assert costs[record.candidate.architecture] > limit
        assert record.reason is not None
        assert f"{key} is {limit:,.12g}" in record.reason


@pytest.mark.parametrize("key", COSTS)
def test_the_known_cost_sampler_proposes_nothing_beyond_a_limit(tmp_path: Path, key: str) -> None:
    limit = limit_for(key, 20)
    run, ending, seen = search(tmp_path / "run", sampler="known-cost", trials=10, **{key: limit})
    assert ending is Ending.COMPLETE
    assert all(costs_of_all(key)[architecture] <= limit for architecture in launched(seen))
    refused = [r.candidate.architecture for r in run.records if r.state is State.INFEASIBLE and r.candidate]
    assert set(refused) <= {str(SPACE.backbone)}, "which nobody proposed"
    assert len(launched(seen)) == 10 - len(refused)


@pytest.mark.slow
def test_a_search_ends_when_all_that_is_within_the_limits_is_judged(tmp_path: Path) -> None:
    """Three of 288 members; nothing else is tried instead."""
    limit = limit_for("max_params", 3)
    run, ending, seen = search(tmp_path / "run", sampler="known-cost", trials=10, max_params=limit)
    assert ending is Ending.EXHAUSTED
    within = {architecture for architecture, cost in costs_of_all("max_params").items() if cost <= limit}
    assert set(launched(seen)) == within
    assert {r.candidate.architecture for r in run.records if r.candidate} == within | {str(SPACE.backbone)}


@pytest.mark.parametrize(("changes", "waiting"), [({"max_step_time_s": 1.0}, 0), ({}, 3)])
def test_a_limit_on_step_time_holds_candidates_back_until_step_times_are_known(
    tmp_path: Path, changes: dict[str, float], waiting: int
) -> None:
    found: list[int] = []

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Calibrate):
            found.append(len(executor.tasks))
        return fake_search.evaluate(work, report)

    executor = fake_search.InlineExecutor(evaluate, capacity=4)
    fake_search.run(fake_search.config(tmp_path / "run", finalists=0, **changes), executor)
    assert found == [waiting]


@pytest.mark.parametrize("key", ["max_params", "max_macs"])
def test_sizes_that_no_member_keeps_are_refused_before_anything_is_measured(tmp_path: Path, key: str) -> None:
    least = int(min(costs_of_all(key).values()))
    seen: list[object] = []

    def evaluate(work: object, report: Any) -> object:
        seen.append(work)
        return fake_search.evaluate(work, report)

    executor = fake_search.InlineExecutor(evaluate)
    rule = rf"^no member of the space keeps {key}: at the least, it would have {least:,} .*, {key} is {least - 1:,}$"
    with pytest.raises(RefusedError, match=rule):
        fake_search.run(fake_search.config(tmp_path / "run", **{key: least - 1}), executor)
    assert [type(work) for work in seen] == [Inspect]
    _, _, seen = search(tmp_path / "other", trials=2, **{key: least})
    assert any(isinstance(work, Judge) for work in seen)


@pytest.mark.parametrize("step_time", ["predicted", "macs"])
def test_a_step_time_that_no_member_keeps_is_refused_before_anything_is_trained(tmp_path: Path, step_time: str) -> None:
    seen: list[object] = []

    def evaluate(work: object, report: Any) -> object:
        seen.append(work)
        return fake_search.evaluate(work, report)

    config = fake_search.config(tmp_path / "run", max_step_time_s=1e-4, step_time=step_time)
    with pytest.raises(RefusedError, match=r"^no member of the space keeps max_step_time_s: .*, max_step_time_s is"):
        fake_search.run(config, fake_search.InlineExecutor(evaluate))
    assert launched(seen) == []


def test_of_a_batch_in_parts_the_measured_step_time_counts(tmp_path: Path) -> None:
    limits = {"max_memory_gib": limit_for("max_memory_gib", 144), "max_step_time_s": 0.1}
    seen: list[object] = []

    def evaluate(work: object, report: Any) -> object:
        seen.append(work)
        return fake_search.evaluate(work, report)

    config = fake_search.config(tmp_path / "run", finalists=0, trials=20, out_of_memory="micro_batches", **limits)
    run, _ = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    judged = [record for record in run.records if record.is_judged]
    assert all(record.outcome.step_time_s <= 0.1 for record in judged if record.outcome)
    late = [r for r in judged if r.reason and r.reason.startswith("a training step takes")]
    assert late, "some turn out slower than predicted"
    assert all(record.state is State.INFEASIBLE for record in late)


def test_step_times_that_are_measured_allow_no_limit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"max_step_time_s needs .* known beforehand, got step_time\.method measured"):
        fake_search.config(tmp_path / "run", max_step_time_s=1.0, step_time="measured")


def test_a_search_is_not_resumed_with_other_limits(tmp_path: Path) -> None:
    search(tmp_path / "run", trials=2, max_params=100_000)
    with pytest.raises(ValueError, match=r"another max_params: 100000, now 90000"):
        search(tmp_path / "run", trials=4, max_params=90_000)


@pytest.mark.parametrize("key", COSTS)
def test_the_cheapest_member_is_found_stage_by_stage(key: str) -> None:
    found = Limits((Limit(key=key, most=1.0, cost=by_one(key), phrase="{}"),)).cheapest(SPACE)
    assert COSTS[key](SPACE.decode(found[0].tolist())) == min(costs_of_all(key).values())


def by_one(key: str) -> Callable[[Any], Any]:
    return lambda encoded: np.array([COSTS[key](SPACE.decode(places)) for places in encoded.tolist()])


def limited_problem(share: float) -> Problem:
    """On 28 choices: about so many of the members keep limits on parameters and multiply-adds together."""
    costs = CostModel(workload=fake_search.TABLE.workload, device_kind="cpu").over(LARGE)
    sizes = [len(values) for values in LARGE.choices.values()]
    sample = costs(np.random.default_rng(1).integers(0, sizes, (200_000, len(sizes))))
    ranks = np.maximum(sample.params.argsort().argsort(), sample.macs.argsort().argsort())
    place = int(np.argsort(ranks)[max(1, round(share * len(ranks)))])
    limits = (
        Limit(key="max_params", most=sample.params[place], cost=lambda e: costs(e).params, phrase="{} parameters"),
        Limit(key="max_macs", most=sample.macs[place], cost=lambda e: costs(e).macs, phrase="{} multiply-adds"),
    )
    return Problem(
        space=LARGE,
        seed=0,
        reward=Reward(step_time_ref_s=0.1, params_ref=4_000_000),
        costs=costs,
        limits=Limits(limits),
    )


@pytest.mark.parametrize("share", [0.01, 1e-4, 5e-6])
def test_members_are_found_within_tight_limits(share: float) -> None:
    problem = limited_problem(share)
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(LARGE.to_params(LARGE.backbone))
    sampler_of = make_sampler("known-cost", problem)
    proposed = []
    for index in range(12):
        study.sampler = sampler_of(index)
        trial = study.ask(distributions(LARGE))
        member = LARGE.from_params(trial.params)
        if problem.limits.reason(LARGE.encode(member)) is not None:
            assert index == 0, f"proposal {index} is beyond a limit"
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        proposed.append(member)
        study.tell(trial, 0.5 + 0.01 * sum(stage.kernel_size for stage in member.stages))
    assert len(set(proposed)) == 11
    for limit, count in zip(problem.limits.each, (count_params, _macs), strict=True):
        assert max(count(member, 10, 1) for member in proposed) <= limit.most


def _macs(architecture: Architecture, num_classes: int, in_channels: int) -> int:
    return count_macs(architecture, num_classes=num_classes, in_channels=in_channels)


@pytest.mark.slow
def test_walkers_visit_all_that_is_within_reach_alike() -> None:
    """Of 288 members 30 keep the limit; each is met about as often as any other, by the walk alone."""
    costs = costs_of_all("max_params")
    limit = Limit(key="max_params", most=limit_for("max_params", 30), cost=by_one("max_params"), phrase="{}")
    known = CostModel(workload=fake_search.TABLE.workload, device_kind="cpu").over(SPACE)
    reward = Reward(step_time_ref_s=0.1, params_ref=100_000)
    problem = Problem(space=SPACE, seed=3, reward=reward, costs=known, limits=Limits((limit,)))
    walkers = Knowledge(problem).inside._mixed
    texts = [str(SPACE.decode(row)) for row in walkers.tolist()]
    counts = {text: texts.count(text) for text in set(texts)}
    assert all(costs[text] <= limit.most for text in counts)
    assert len(counts) >= 28, "of 30"
    assert max(counts.values()) < 4 * len(texts) / 30


def test_no_limit_allows_everything() -> None:
    encoded = np.array([SPACE.encode(SPACE.backbone)] * 2)
    assert Limits().allowed(encoded).tolist() == [True, True]
    assert Limits().reason(encoded[0].tolist()) is None
    assert Limits().unreachable(SPACE) is None
