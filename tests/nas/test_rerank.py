"""Other exponents on a finished search."""

import random
import time
from dataclasses import replace

import pytest

from nas.leaderboard import Entry, compare
from nas.rerank import exponents, rerank, sensitivity_map
from nas.reward import Reward
from nas.run import Run

REWARD = Reward(step_time_ref_s=0.02, params_ref=250_000)


def entry(number: int, accuracy: float, ratio: float, params: int, *, trainings: int = 1, error: float = 0.0) -> Entry:
    return Entry(
        rank=number + 1, number=number, architecture=f"network {number}", is_backbone=number == 0,
        accuracy=accuracy, accuracy_se=error, num_trainings=trainings, step_time_s=0.02 * ratio, step_time_se=0.0,
        predicted_step_time_s=0.02 * ratio, measurement=None, peak_memory_bytes=1, micro_batches=1,
        params=params, macs=1, reward=0.0, reward_se=0.0, tied=False, better_than_backbone=None,
    )  # fmt: skip


def random_entries(seed: int, size: int) -> list[Entry]:
    print(f"seed {seed}")
    rng = random.Random(seed)
    return [
        replace(
            entry(number, rng.uniform(0.5, 1), rng.uniform(0.2, 3), rng.randrange(10_000, 900_000), error=0.01),
            num_trainings=rng.choice([1, 1, 1, 3]),
            step_time_se=rng.uniform(0, 1e-3),
        )
        for number in range(size)
    ]


def test_own_exponents_give_the_runs_own_leaderboard(finished_run: Run) -> None:
    config = finished_run.config
    assert rerank(finished_run, config.w, config.v) == finished_run.leaderboard()


def test_without_costs_the_most_accurate_leads(finished_run: Run) -> None:
    board = rerank(finished_run, 0.0, 0.0)
    retrained = [entry for entry in board if entry.num_trainings > 1]
    assert board[0].reward == board[0].accuracy
    assert board[0] == max(retrained, key=lambda entry: entry.accuracy) or compare(board[0], retrained[0]) == "yes"
    assert [entry.rank for entry in board] == list(range(1, len(board) + 1))
    assert not board[0].tied


def test_all_but_the_leader_are_ordered_by_reward(finished_run: Run) -> None:
    """Having been retrained for other exponents lifts no architecture but the leader."""
    rewards = [entry.reward for entry in rerank(finished_run, -0.3, -0.3)[1:]]
    assert rewards == sorted(rewards, reverse=True)


def test_heavy_costs_name_another_leader(finished_run: Run) -> None:
    cheapest = min(finished_run.leaderboard(), key=lambda entry: entry.params)
    assert rerank(finished_run, 0.0, -50.0)[0].number == cheapest.number


def test_map_on_a_hand_made_case() -> None:
    """Accurate and dear against cheap: they change places where 0.9 = 0.8 · 2^-w, at w = -0.1699."""
    accurate, cheap = entry(0, 0.9, 2.0, 250_000), entry(1, 0.8, 1.0, 250_000)
    found = sensitivity_map([accurate, cheap], REWARD, ws=(-0.3, -0.18, -0.16, 0.0), vs=(-0.1, 0.0))
    assert found.winners == ((1, 1), (1, 1), (0, 0), (0, 0))
    assert found.shares == {0: 0.5, 1: 0.5}


def test_parameters_act_through_v() -> None:
    accurate, small = entry(0, 0.9, 1.0, 250_000), entry(1, 0.8, 1.0, 125_000)
    found = sensitivity_map([accurate, small], REWARD, ws=(0.0,), vs=(-0.18, -0.16))
    assert found.winners == ((1, 0),)


def test_the_luckiest_single_training_does_not_win_inside_the_noise() -> None:
    retrained, lucky = entry(0, 0.90, 1, 250_000, trainings=3, error=0.01), entry(1, 0.91, 1, 250_000, error=0.01)
    assert sensitivity_map([retrained, lucky], REWARD, ws=(0.0,), vs=(0.0,)).winners == ((0,),)
    better = entry(1, 0.95, 1, 250_000, error=0.01)
    assert sensitivity_map([retrained, better], REWARD, ws=(0.0,), vs=(0.0,)).winners == ((1,),)


def test_map_agrees_with_rerank(finished_run: Run) -> None:
    """Cell by cell, against the slow way."""
    ws, vs = (-0.4, -0.21, -0.1, 0.0, 0.05), (-0.3, -0.12, 0.0)
    found = sensitivity_map(finished_run.leaderboard(), finished_run.reward(), ws=ws, vs=vs)
    assert found.winners == tuple(tuple(rerank(finished_run, w, v)[0].number for v in vs) for w in ws)


@pytest.mark.parametrize("own", [-0.07, -1.5, 0.02])
def test_grid_holds_the_runs_own_exponent(own: float) -> None:
    grid = exponents(-0.07, own)
    assert own in grid
    assert 0.0 in grid
    assert list(grid) == sorted(set(grid))


def test_map_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one judged architecture"):
        sensitivity_map([], REWARD)


def test_map_costs_little_beside_a_plain_loop() -> None:
    """1,000 trials, 1,089 cells: the plain loop over a hundredth of the cells takes longer than the whole map."""
    entries = random_entries(7, 1000)
    start = time.perf_counter()
    found = sensitivity_map(entries, REWARD)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    for w in found.ws[:3]:
        for v in found.vs[:4]:
            reward = replace(REWARD, w=w, v=v)
            max(reward(accuracy=e.accuracy, step_time_s=e.step_time_s, params=e.params) for e in entries)
    hundredth = time.perf_counter() - start
    assert whole < 30 * hundredth
