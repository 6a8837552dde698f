"""A rule that nobody knows makes members infeasible that would otherwise be the best: it is learnt, and avoided."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from nas.reward import Reward
from nas.samplers import make_sampler
from nas.samplers.feasibility import Feasibility
from nas.samplers.problem import Problem
from nas.trials import distributions
from proxies.complexity import count_params
from proxies.costs import CostModel
from proxies.workload import Workload
from search_spaces.space_file import space_from_mapping

CHOICES = {"num_repeats": [1, 2, 3], "kernel_size": [3, 5], "expand_ratio": [1, 4, 6]}
SPACE = space_from_mapping({
    "resolution": 32,
    "stem_channels": 8,
    "head_channels": 32,
    "stages": [{"out_channels": 8 * number, "stride": 2, **CHOICES} for number in range(1, 5)],
})  # fmt: skip
"""1.7 million members."""
COSTS = CostModel(workload=Workload(num_classes=10), device_kind="cpu").over(SPACE)
PROBLEM = Problem(
    space=SPACE, seed=0, reward=Reward(step_time_ref_s=1.0, params_ref=count_params(SPACE.backbone, 10)), costs=COSTS
)
TRIALS = 60


def is_infeasible(params: Mapping[str, Any]) -> bool:
    return params["stage3_kernel_size"] == 5 and params["stage3_expand_ratio"] == 6


def reward(params: Mapping[str, Any]) -> float:
    """Larger kernels and expansions are better, in the third stage above all; each training has its luck."""
    weights = {"stage3_kernel_size": 0.03, "stage3_expand_ratio": 0.03}
    gain = sum(
        weights.get(name, 0.004) * SPACE.choices[name].index(value)
        for name, value in params.items()
        if name.endswith(("kernel_size", "expand_ratio"))
    )
    costs = COSTS(np.array([SPACE.encode(SPACE.from_params(params))]))
    luck = np.random.default_rng(list(SPACE.encode(SPACE.from_params(params)))).normal(0.0, 0.004)
    return float((0.7 + gain + luck) * (costs.params[0] / PROBLEM.reward.params_ref) ** PROBLEM.reward.v)


def infeasible_proposals(seed: int) -> np.ndarray:
    """Whether each of a search's proposals is infeasible."""
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(SPACE.to_params(SPACE.backbone))
    sampler_of, found = make_sampler("known-cost", PROBLEM), []
    for index in range(TRIALS):
        study.sampler = sampler_of(1000 * seed + index)
        trial = study.ask(distributions(SPACE))
        found.append(is_infeasible(trial.params))
        if found[-1]:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, reward(trial.params))
    return np.array(found)


@pytest.mark.slow
def test_what_keeps_failing_is_proposed_less(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = range(2)
    taught = np.array([infeasible_proposals(seed) for seed in seeds])
    monkeypatch.setattr(Feasibility, "log_probability", lambda self, encoded: np.zeros(len(encoded)))
    blind = np.array([infeasible_proposals(seed) for seed in seeds])
    shares = {
        name: [part.mean() for part in np.split(each, 3, axis=1)]
        for name, each in (("taught", taught), ("blind", blind))
    }
    print(shares)
    assert shares["blind"][2] > 0.5, "the forbidden members are attractive"
    assert shares["taught"][2] < 0.4
    assert taught.sum() < blind.sum() / 2
