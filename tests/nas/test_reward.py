"""The reward, against the paper's own table and against hand-computed values."""

import math

import pytest

from nas.reward import PAPER_V, PAPER_W, Reward

# arXiv:2104.00298, Table 3 (EfficientNet-B4): where Fused-MBConv is placed -> parameters in millions, top-1,
# images per second of a TPU core and of a V100.
TABLE_3 = {
    "none": (19.3, 0.828, 262, 155),
    "1-3": (20.0, 0.831, 362, 216),
    "1-5": (43.4, 0.831, 327, 223),
    "1-7": (132.0, 0.817, 254, 206),
}
# Reward over that of the first row, worked out by hand from the table's rounded figures.
RATIOS = {
    "TPU": {"none": 1.000, "1-3": 1.025, "1-5": 0.979, "1-7": 0.894},
    "V100": {"none": 1.000, "1-3": 1.025, "1-5": 0.989, "1-7": 0.914},
}


def table_3_rewards(device: str) -> dict[str, float]:
    column = {"TPU": 2, "V100": 3}[device]
    reward = Reward(step_time_ref_s=1 / TABLE_3["none"][column], params_ref=round(TABLE_3["none"][0] * 1e6))
    return {
        placement: reward(accuracy=row[1], step_time_s=1 / row[column], params=round(row[0] * 1e6))
        for placement, row in TABLE_3.items()
    }


@pytest.mark.parametrize("device", ["TPU", "V100"])
def test_table_3_puts_fused_in_stages_1_to_3_first(device: str) -> None:
    rewards = table_3_rewards(device)
    assert max(rewards, key=rewards.__getitem__) == "1-3"


@pytest.mark.parametrize("device", ["TPU", "V100"])
def test_table_3_ratios(device: str) -> None:
    rewards = table_3_rewards(device)
    for placement, expected in RATIOS[device].items():
        assert rewards[placement] / rewards["none"] == pytest.approx(expected, abs=0.0006), placement


def test_exponents_are_the_papers() -> None:
    assert (PAPER_W, PAPER_V) == (-0.07, -0.05)


def test_backbone_gets_its_accuracy() -> None:
    assert Reward(step_time_ref_s=0.3, params_ref=5)(accuracy=0.7, step_time_s=0.3, params=5) == 0.7


def test_tenth_of_a_point_weighs_as_much_as_1_8_percent_of_step_time() -> None:
    reward = Reward(step_time_ref_s=1.0, params_ref=1)
    slower = reward(accuracy=0.801, step_time_s=1.018, params=1)
    assert slower == pytest.approx(reward(accuracy=0.8, step_time_s=1.0, params=1), rel=1e-4)


@pytest.mark.parametrize("name", ["w", "v", "step_time_ref_s", "params_ref"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite_settings_are_refused(name: str, value: float) -> None:
    settings: dict[str, float] = {"step_time_ref_s": 1.0, "params_ref": 1}
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        Reward(**(settings | {name: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("accuracy", "step_time_s", "params"), [(1.01, 1.0, 1), (math.nan, 1.0, 1), (0.5, 0.0, 1), (0.5, 1.0, 0)]
)
def test_impossible_candidates_are_refused(accuracy: float, step_time_s: float, params: int) -> None:
    with pytest.raises(ValueError, match="must"):
        Reward(step_time_ref_s=1.0, params_ref=1)(accuracy=accuracy, step_time_s=step_time_s, params=params)
