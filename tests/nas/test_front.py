"""The expected widening of a Pareto front against Optuna's hypervolumes, integrated over what accuracy may turn out."""

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from nas.samplers.front import Front

Array = np.ndarray


def volume(levels: Array, costs: Array, lowest: float, reference: Array) -> float:
    """Of what these dominate, down to a level and up to costs."""
    inside = (levels > lowest) & (costs < reference).all(axis=1)
    if not inside.any():
        return 0.0
    losses = np.column_stack([-levels, costs])[inside]
    return float(compute_hypervolume(losses, np.append(-lowest, reference)))


def integrated(levels: Array, costs: Array, reference: Array, mean: float, deviation: float, cost: Array) -> float:
    """The gain at many accuracies, weighed by how likely they are."""
    lowest = levels.min()
    before = volume(levels, costs, lowest, reference)
    grid = np.linspace(mean - 7 * deviation, mean + 7 * deviation, 281)
    density = np.exp(-0.5 * ((grid - mean) / deviation) ** 2)
    gains = [volume(np.append(levels, x), np.vstack([costs, cost]), lowest, reference) - before for x in grid]
    return float((density * gains).sum() / density.sum())


def front_of(rng: np.random.Generator, members: int, num_costs: int, kind: str) -> tuple[Array, Array]:
    if kind == "ties":  # of levels, of costs, and of members as a whole
        return rng.integers(0, 4, members) * 0.25, rng.integers(0, 4, (members, num_costs)) * 0.25
    levels = rng.normal(size=members)
    trade_off = levels[:, None] + 0.3 * rng.normal(size=(members, num_costs))
    return levels, trade_off if kind == "front" else rng.normal(size=(members, num_costs))


@pytest.mark.parametrize("num_costs", [1, 2])
@pytest.mark.parametrize("kind", ["cloud", "front", "ties"])
@pytest.mark.parametrize("members", [1, 2, 6])
def test_the_gain_is_that_of_hypervolumes(num_costs: int, kind: str, members: int) -> None:
    """Candidates lie anywhere: dominated, beyond the worst costs, cheaper than all, and at a member's own costs."""
    seed = 100 * num_costs + members
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    levels, costs = front_of(rng, members, num_costs, kind)
    mean, deviation = rng.normal(levels.mean(), 1.0, 4), rng.uniform(0.05, 1.0, 4)
    asked = np.vstack([rng.normal(0.0, 1.2, (3, num_costs)), costs[:1]])
    reference = costs.max(axis=0) + rng.choice([0.0, 0.5], num_costs)
    found = np.exp(Front(levels, costs, reference).log_expected_gain(mean, deviation, asked))
    slow = [integrated(levels, costs, reference, *each) for each in zip(mean, deviation, asked, strict=True)]
    np.testing.assert_allclose(found, slow, rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("num_costs", [1, 2])
def test_a_certain_gain_is_a_volume(num_costs: int) -> None:
    print("seed 7")
    rng = np.random.default_rng(7)
    levels, costs = front_of(rng, 12, num_costs, "front")
    asked = rng.normal(size=(30, num_costs))
    mean = rng.normal(0.5, 1.0, 30)
    bounds = levels.min(), costs.max(axis=0) + 0.3
    found = np.exp(Front(levels, costs, bounds[1]).log_expected_gain(mean, np.full(30, 1e-9), asked))
    before = volume(levels, costs, *bounds)
    after = [volume(np.append(levels, x), np.vstack([costs, c]), *bounds) for x, c in zip(mean, asked, strict=True)]
    np.testing.assert_allclose(found, np.array(after) - before, atol=1e-7)


@pytest.mark.parametrize("num_costs", [1, 2])
def test_no_candidate_breaks_it(num_costs: int) -> None:
    """Hopeless ones, and the front's own members."""
    print("seed 8")
    rng = np.random.default_rng(8)
    levels, costs = front_of(rng, 8, num_costs, "front")
    front = Front(levels, costs, costs.max(axis=0))
    asked = np.vstack([costs, costs + 10, costs - 10])
    for shift in (-1e6, -100.0, 0.0, 100.0):
        found = front.log_expected_gain(np.tile(levels, 3) + shift, np.full(24, 1e-3), asked)
        assert np.isfinite(found).all()
    assert front.log_expected_gain(np.zeros(0), np.zeros(0), np.zeros((0, num_costs))).shape == (0,)
