"""What earlier runs add to the model of accuracies: a good deal where they are alike, nothing where they mislead."""

from functools import cache

import fake_search
import numpy as np
import pytest

from nas.reward import Reward
from nas.samplers.knowledge import Knowledge
from nas.samplers.problem import EarlierRun, Problem
from proxies.costs import CostModel, Encoded
from search_spaces.named_spaces import get_space

SPACE = get_space("mnasnet")
SIZES = [len(values) for values in SPACE.choices.values()]


@cache
def slopes() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.02, 0.04, len(SIZES))


def log_accuracy(members: Encoded) -> np.ndarray:
    return np.asarray(-0.4 + (members / (np.array(SIZES) - 1)) @ slopes())


def members(count: int, seed: int) -> Encoded:
    print("seed", seed)
    return np.random.default_rng(seed).integers(0, SIZES, (count, len(SIZES)))


def knowledge(*earlier: EarlierRun) -> Knowledge:
    costs = CostModel(workload=fake_search.TABLE.workload, device_kind="cpu").over(SPACE)
    reward = Reward(step_time_ref_s=1.0, params_ref=100_000)
    return Knowledge(Problem(space=SPACE, seed=0, reward=reward, costs=costs, earlier=earlier))


def good_run(level: float = 1.0) -> EarlierRun:
    """The best of many, as a search finds them, all higher or lower than they would be in the present run."""
    drawn = members(200, 1)
    best = drawn[np.argsort(-log_accuracy(drawn))[:80]]
    return EarlierRun(members=best, accuracies=level * np.exp(log_accuracy(best)))


@pytest.mark.parametrize("level", [0.7, 1.0])
def test_one_result_tells_the_level_of_all(level: float) -> None:
    """Although the earlier run has trained better members, and other images make all of them better or worse."""
    asked, known, errors = members(300, 3), knowledge(good_run(level)), []
    for seed in range(10, 14):
        one = members(1, seed)
        mean, _ = known.model_after(one, log_accuracy(one))(asked)
        assert np.corrcoef(mean, log_accuracy(asked))[0, 1] > 0.8
        errors.append(abs((mean - log_accuracy(asked)).mean()))
    assert np.mean(errors) < 0.5 * log_accuracy(asked).std()


def test_what_misleads_is_left_out_as_soon_as_results_tell() -> None:
    run, seen, asked = good_run(), members(25, 4), members(300, 5)
    accuracies = np.random.default_rng(6).permutation(run.accuracies)
    misled = knowledge(EarlierRun(members=run.members, accuracies=accuracies))
    alone = knowledge().model_after(seen, log_accuracy(seen))
    np.testing.assert_allclose(misled.model_after(seen, log_accuracy(seen))(asked)[0], alone(asked)[0])
    helped = knowledge(run).model_after(seen, log_accuracy(seen))
    errors = [float(np.std(model(asked)[0] - log_accuracy(asked))) for model in (helped, alone)]
    assert errors[0] < errors[1]
