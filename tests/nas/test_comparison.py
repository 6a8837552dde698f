"""Two runs side by side."""

from collections.abc import Callable

from nas.comparison import compare_runs, flatten
from nas.run import Run


def test_a_run_beside_itself(finished_run: Run) -> None:
    comparison = compare_runs(finished_run, finished_run)
    assert comparison.rewards_comparable
    assert comparison.differences == ()
    assert comparison.verdict == "undecided"
    assert len(comparison.shared) == len(finished_run.leaderboard())
    assert comparison.left.num_judged == 40
    assert comparison.left.num_infeasible == sum(record.reason is not None for record in finished_run.records) - 1


def test_seeds_may_differ(finished_run: Run, make_run: Callable[..., Run]) -> None:
    comparison = compare_runs(finished_run, make_run(trials=3, seed=21, retrain=False))
    assert comparison.rewards_comparable
    assert {difference.key for difference in comparison.differences} == {"seed", "trials"}
    backbone = str(finished_run.config.search_space().backbone)
    assert backbone in {shared.architecture for shared in comparison.shared}


def test_other_exponents_are_not_comparable(finished_run: Run, make_run: Callable[..., Run]) -> None:
    comparison = compare_runs(finished_run, make_run(trials=2, retrain=False, overrides={"w": -0.1}))
    assert comparison.obstacles == ("w differs",)
    assert comparison.verdict is None


def test_predicted_and_measured_step_times_are_not_comparable(finished_run: Run, make_run: Callable[..., Run]) -> None:
    comparison = compare_runs(finished_run, make_run(trials=2, retrain=False, overrides={"step_time": "measured"}))
    assert comparison.obstacles == ("step_time differs",)


def test_how_long_finalists_are_measured_changes_no_reward(finished_run: Run, make_run: Callable[..., Run]) -> None:
    overrides: dict[str, object] = {"step_time.visits": 9, "step_time.inference": True, "data.num_workers": 3}
    comparison = compare_runs(finished_run, make_run(trials=2, retrain=False, overrides=overrides))
    assert comparison.rewards_comparable


def test_other_data_and_space_are_not_comparable(finished_run: Run, make_run: Callable[..., Run]) -> None:
    other = {"space": {"name": "efficientnetv2", "scale": [0.5, 0.5], "resolution": 32}}
    comparison = compare_runs(finished_run, make_run(trials=2, retrain=False, source="cifar10", overrides=other))
    assert comparison.obstacles == (
        "data differs",
        "the backbones differ, to which S and P are related",
        "the images, their labels or their split differ",
    )
    assert comparison.shared == ()


def test_a_run_without_a_result(finished_run: Run, make_run: Callable[..., Run]) -> None:
    comparison = compare_runs(finished_run, make_run(trials=0, planned=5, retrain=False))
    assert comparison.right.best is None
    assert comparison.verdict is None


def test_flat_keys_are_those_of_overrides() -> None:
    assert flatten({"a": {"b": {"c": [1, 2]}}, "d": None}) == {"a.b.c": [1, 2], "d": None}
