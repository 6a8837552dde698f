"""The standard error of an accuracy."""

import math
import subprocess
import sys

import pytest

from proxies.binomial import binomial_error


@pytest.mark.parametrize(("correct", "total"), [(50, 100), (970, 1000), (3, 287)])
def test_the_error_is_near_the_binomial_one(correct: int, total: int) -> None:
    share = correct / total
    assert binomial_error(correct, total) == pytest.approx(math.sqrt(share * (1 - share) / total), rel=0.06)


def test_perfection_on_few_images_is_not_certain() -> None:
    assert 0 < binomial_error(287, 287) < binomial_error(20, 20)


def test_a_mean_over_trainings_may_lie_between_two_counts() -> None:
    assert binomial_error(90, 100) < binomial_error(89.5, 100) < binomial_error(89, 100)


def test_it_is_known_without_torch() -> None:
    script = "import sys, proxies.binomial; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
