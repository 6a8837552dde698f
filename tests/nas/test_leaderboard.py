"""Ranks, errors and verdicts on hand-made cases."""

import math
from dataclasses import replace

import pytest

from nas.evaluation_tasks import AccuracyRecord
from nas.leaderboard import compare, leaderboard, mean_accuracy, variance_between_trainings
from nas.reward import Reward
from nas.trials import Candidate, Outcome, State, TrialRecord
from proxies.step_time import StepTime, Visit

REWARD = Reward(step_time_ref_s=1.0, params_ref=1000)


def training(correct: int, images: int = 400) -> AccuracyRecord:
    return AccuracyRecord(num_correct=correct, num_images=images, seed=0, train_seconds=1.0)


def step_time(*ratios: float) -> StepTime:
    """A measurement against a reference of exactly one second."""
    return StepTime(
        visits=(Visit(samples_s=ratios, reference_samples_s=(1.0,) * (len(ratios) + 1)),),
        reference="reference",
        reference_s=1.0,
        batch_size=2,
        resolution=32,
        mode="float32",
        device="cpu",
    )


def judged(number: int, correct: int, *, ratio: float = 1.0, params: int = 1000, images: int = 400) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=State.COMPLETE,
        candidate=Candidate(architecture=f"network {number}", proposal=number),
        outcome=Outcome(
            accuracy=training(correct, images),
            step_time=step_time(ratio, ratio, ratio),
            step_time_s=ratio,
            step_time_rse=0.0,
            params=params,
            macs=10,
            peak_memory_bytes=1,
            seconds=2.0,
        ),
    )


def test_ranks_by_reward() -> None:
    """Half the step time is worth 2^0.07 = 1.0497, half the parameters 2^0.05 = 1.0353."""
    records = [judged(0, 360), judged(1, 350, ratio=0.5), judged(2, 346, params=500), judged(3, 361)]
    board = leaderboard(records, REWARD, {})
    assert [entry.number for entry in board] == [1, 3, 0, 2]
    assert [entry.rank for entry in board] == [1, 2, 3, 4]
    assert board[0].reward == pytest.approx(350 / 400 * 1.04972, rel=1e-4)
    assert board[3].reward == pytest.approx(346 / 400 * 1.03526, rel=1e-4)


def test_equal_rewards_keep_the_order_of_trials() -> None:
    assert [entry.number for entry in leaderboard([judged(0, 360), judged(1, 360)], REWARD, {})] == [0, 1]


def test_no_trials() -> None:
    assert leaderboard([], REWARD, {}) == []


@pytest.mark.parametrize("state", [State.INFEASIBLE, State.FAILED, State.RUNNING, State.WAITING])
def test_only_complete_trials_are_ranked(state: State) -> None:
    other = TrialRecord(number=1, state=state, candidate=Candidate(architecture="x", proposal=1))
    assert [entry.number for entry in leaderboard([judged(0, 360), other], REWARD, {})] == [0]


def test_duplicates_are_ranked_once() -> None:
    original = judged(0, 360)
    copy = TrialRecord(
        number=1,
        state=State.COMPLETE,
        candidate=Candidate(architecture="network 0", proposal=1, duplicate_of=0),
        outcome=original.outcome,
    )
    assert [entry.number for entry in leaderboard([original, copy], REWARD, {})] == [0]


def test_error_of_one_training_is_binomial() -> None:
    assert mean_accuracy([training(360)]) == pytest.approx((0.9, math.sqrt(0.9 * 0.1 / 400)), rel=2e-3)


@pytest.mark.parametrize("correct", [0, 400])
def test_all_or_none_right_is_not_exact(correct: int) -> None:
    """Wilson's interval at one deviation: half of 1 / (400 + 1)."""
    assert mean_accuracy([training(correct)])[1] == pytest.approx(0.5 / 401)


def test_error_of_three_trainings_adds_their_spread() -> None:
    """0.90, 0.91 and 0.95: mean 0.92, variance (0.0004 + 0.0001 + 0.0009) / 2 = 0.0007, a third of it 0.000233."""
    trainings = [training(360), training(364), training(380)]
    between = variance_between_trainings([trainings])
    assert between == pytest.approx(0.0007)
    mean, error = mean_accuracy(trainings, between)
    assert mean == pytest.approx(0.92)
    assert error == pytest.approx(math.sqrt(0.92 * 0.08 / 400 + 0.0007 / 3), rel=2e-3)


def test_variance_between_trainings_is_pooled_by_degrees_of_freedom() -> None:
    """Variances 0.0007 with 2 degrees and 0.0002 with 1: (2 · 0.0007 + 0.0002) / 3. Single trainings say nothing."""
    groups = [[training(360), training(364), training(380)], [training(360), training(368)], [training(100)]]
    assert variance_between_trainings(groups) == pytest.approx((2 * 0.0007 + 0.0002) / 3)
    assert variance_between_trainings([[training(100)]]) == 0.0


def test_a_single_training_carries_the_seed_error_that_others_showed() -> None:
    board = leaderboard([judged(0, 360), judged(1, 360)], REWARD, {0: {1: training(364), 2: training(380)}})
    errors = {entry.number: entry.accuracy_se for entry in board}
    assert errors[1] == pytest.approx(math.sqrt(0.9 * 0.1 / 400 + 0.0007), rel=2e-3)
    assert errors[0] == pytest.approx(math.sqrt(0.92 * 0.08 / 400 + 0.0007 / 3), rel=2e-3)


def test_the_backbone_is_known_even_where_its_first_attempt_died() -> None:
    died = TrialRecord(
        number=0, state=State.FAILED, candidate=Candidate(architecture="network 1", proposal=0), reason="killed"
    )
    again = replace(judged(1, 360), candidate=Candidate(architecture="network 1", proposal=None, retry_of=0))
    board = leaderboard([died, again, judged(2, 200)], REWARD, {})
    assert [entry.is_backbone for entry in board] == [True, False]


def test_further_trainings_never_undercut_the_error_of_the_images() -> None:
    trainings = [training(360)] * 50
    assert mean_accuracy(trainings)[1] == pytest.approx(math.sqrt(0.9 * 0.1 / 400), rel=2e-3)


def test_replicates_enter_the_mean() -> None:
    board = leaderboard([judged(0, 360)], REWARD, {0: {1: training(364), 2: training(380)}})
    assert board[0].accuracy == pytest.approx(0.92)
    assert board[0].num_trainings == 3


def test_a_retrained_leader_is_not_overtaken_by_the_luckiest_single_training() -> None:
    records = [judged(0, 340), judged(1, 380), judged(2, 381)]
    board = leaderboard(records, REWARD, {1: {1: training(379), 2: training(381)}})
    assert board[0].number == 1


def test_ties_with_the_leader() -> None:
    """On 400 images near 90 % the error is 1.5 points, of a difference 2.1, so 4.2 points decide at 95 %."""
    board = leaderboard([judged(0, 320), judged(1, 368), judged(2, 356), judged(3, 344)], REWARD, {})
    assert [(entry.number, entry.tied) for entry in board] == [(1, False), (2, True), (3, False), (0, False)]


@pytest.mark.parametrize(("correct", "verdict"), [(380, "yes"), (364, "undecided"), (356, "undecided"), (320, "no")])
def test_better_than_the_backbone(correct: int, verdict: str) -> None:
    board = leaderboard([judged(0, 360), judged(1, correct)], REWARD, {})
    verdicts = {entry.number: entry.better_than_backbone for entry in board}
    assert verdicts == {0: None, 1: verdict}


def test_no_verdict_without_a_backbone() -> None:
    assert leaderboard([judged(1, 360)], REWARD, {})[0].better_than_backbone is None


def test_spread_of_step_time_enters_the_error_of_the_reward() -> None:
    """Of 0.8, 1 and 1.2 the logarithms lie 0.22, 0 and 0.18 from their median: the median deviation is log 1.2."""
    calm, shaky = judged(0, 360), judged(1, 360)
    assert shaky.outcome is not None
    measured = step_time(0.8, 1.0, 1.2)
    outcome = replace(shaky.outcome, step_time=measured, step_time_rse=measured.relative_standard_error)
    shaky = replace(shaky, outcome=outcome)
    entries = {entry.number: entry for entry in leaderboard([calm, shaky], REWARD, {})}
    # A single visit is expected to differ from others by 1 %.
    relative = math.hypot(1.2533 * 1.4826 * math.log(1.2) / math.sqrt(3), 0.01)
    assert entries[1].step_time_se == pytest.approx(relative)
    assert entries[0].step_time_se == 0
    expected = math.hypot(entries[0].reward_se, 0.9 * 0.07 * relative)
    assert entries[1].reward_se == pytest.approx(expected)


def test_comparison_is_antisymmetric() -> None:
    board = leaderboard([judged(0, 320), judged(1, 380)], REWARD, {})
    assert (compare(board[0], board[1]), compare(board[1], board[0])) == ("yes", "no")
