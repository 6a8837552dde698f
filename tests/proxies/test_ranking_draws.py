"""The interval of Kendall's τ: the bootstrap is that of SciPy's own τ of every resample."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from proxies.ranking import NUM_DRAWS, mean_rank, rank


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("count", [3, 40, 530])
def test_interval_is_scipys_tau_of_every_resample(count: int, seed: int) -> None:
    """With ties within and without; 530 candidates are more than one block."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=count).round(1)
    predicted = (true + rng.normal(size=count)).round(2)
    rows = np.random.default_rng(0).integers(count, size=(NUM_DRAWS, count))
    few = rows[:: 1 if count < 500 else 10]
    taus = [kendalltau(predicted[row], true[row]).statistic for row in few]
    found = rank(predicted, true)
    expected = np.nanquantile(taus, (0.05, 0.95))
    tolerance = 1e-9 if count < 500 else 0.02
    assert [found.low, found.high] == pytest.approx(expected, abs=tolerance)


def test_an_infinite_prediction_ranks_first() -> None:
    true = np.arange(10.0)
    found = rank(np.append(true[:9], np.inf), true)
    assert [found.tau, found.low, found.high] == pytest.approx([1.0, 1.0, 1.0])


def test_the_mean_of_several_rankings_draws_candidates_with_all_their_numbers() -> None:
    rng = np.random.default_rng(5)
    true = rng.normal(size=(3, 15))
    predicted = true + rng.normal(size=(3, 15))
    rows = np.random.default_rng(0).integers(15, size=(NUM_DRAWS, 15))
    taus = [
        np.mean([kendalltau(one[row], other[row]).statistic for one, other in zip(predicted, true, strict=True)])
        for row in rows
    ]
    found = mean_rank(predicted, true)
    assert [found.low, found.high] == pytest.approx(np.quantile(taus, (0.05, 0.95)), abs=1e-9)
    pairs = zip(predicted, true, strict=True)
    assert found.tau == pytest.approx(np.mean([kendalltau(one, other).statistic for one, other in pairs]))


@pytest.mark.parametrize("shape", [(0, 5), (2, 2), (5,)])
def test_a_mean_ranking_takes_pairs_of_three_candidates(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least three candidates"):
        mean_rank(np.zeros(shape), np.zeros(shape))
