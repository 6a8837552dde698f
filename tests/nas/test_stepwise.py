"""A candidate led an epoch at a time comes to what a search's worker finds, wherever it was left and taken up."""

from pathlib import Path
from typing import Any

import fake_search
import pytest
import torch

from nas.config import SearchConfig
from nas.prepared import Prepared, prepare
from nas.stepwise import StepwiseEvaluation
from proxies.accuracy import AccuracyProxy
from proxies.device import find_device
from proxies.execution import parse_mode
from proxies.seeds import derived_seed
from proxies.training.checkpoint import read_checkpoint
from search_spaces.architecture import parse

PARAMS = {"stage1_block": "ir", "stage1_num_repeats": 1, "stage1_kernel_size": 3, "stage1_expand_ratio": 4}
TEXT = "stem8-ir_r1_k3_s2_e4_c8_se0.25-head32@32"
EPOCHS = 3


def prepared(**changes: Any) -> Prepared:
    values = {
        "space": fake_search.TINY_SPACE, "fidelity": {"epochs": EPOCHS, "data_share": 0.2, "resolution": 16},
        "threads": 1, "device": "cpu",
    } | changes  # fmt: skip
    config = SearchConfig.model_validate(values)
    return Prepared(config=config, preparation=fake_search.PREPARATION, tables=(fake_search.TABLE,))


@pytest.fixture(scope="module")
def known() -> Prepared:
    return prepared()


def rest(evaluation: StepwiseEvaluation) -> list[dict[str, Any]]:
    """All reports to the end, without their times."""
    found = [evaluation.step()]
    while not found[-1]["done"]:
        found.append(evaluation.step())
    return [{name: value for name, value in report.items() if name != "train_seconds"} for report in found]


@pytest.fixture(scope="module")
def undisturbed(known: Prepared) -> list[dict[str, Any]]:
    return rest(StepwiseEvaluation(known, PARAMS))


def test_it_finds_what_a_worker_of_a_search_finds(known: Prepared, undisturbed: list[dict[str, Any]]) -> None:
    config = known.config
    proxy = AccuracyProxy(
        data=config.data, train=config.train, fidelity=config.fidelity, device=find_device("cpu"),
        mode=parse_mode(known.preparation.mode),
    )  # fmt: skip
    result = proxy.evaluate(parse(TEXT), seed=derived_seed(config.seed, TEXT, 0))
    assert [report["accuracy"] for report in undisturbed] == [epoch.score.accuracy for epoch in result.curve]
    assert [report["train_loss"] for report in undisturbed] == [epoch.train_loss for epoch in result.curve]
    assert [report["done"] for report in undisturbed] == [False, False, True]


def test_a_report_says_what_the_candidate_costs_and_earns(known: Prepared, undisturbed: list[dict[str, Any]]) -> None:
    last = undisturbed[-1]
    assert last["architecture"] == TEXT
    assert last["infeasible"] == ""
    assert last["step_time_s"] == fake_search.TABLE.predict(parse(TEXT)).median_s
    assert last["num_correct"] / last["num_images"] == last["accuracy"]
    speed, size = last["step_time_s"] / 0.1, last["params"] / 100_000
    assert last["reward"] == pytest.approx(last["accuracy"] * speed**-0.07 * size**-0.05, rel=1e-12)


@pytest.mark.parametrize("epochs", range(1, EPOCHS + 1))
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_happened(
    epochs: int, known: Prepared, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    first = StepwiseEvaluation(known, PARAMS)
    for _ in range(epochs):
        first.step()
    first.save(tmp_path / "training.pt")
    second = StepwiseEvaluation(known, PARAMS)
    second.load(tmp_path / "training.pt")
    second.save(tmp_path / "again.pt")
    second.load(tmp_path / "again.pt")
    assert rest(second) == (undisturbed[epochs:] or undisturbed[-1:])


def test_one_process_does_several_candidates(known: Prepared, undisturbed: list[dict[str, Any]]) -> None:
    evaluation = StepwiseEvaluation(known, PARAMS | {"stage1_kernel_size": 5, "lr": 0.1})
    evaluation.step()
    evaluation.begin(PARAMS)
    assert rest(evaluation) == undisturbed


def test_settings_that_change_on_the_way_hold_from_there(known: Prepared, tmp_path: Path) -> None:
    """A step of no length moves no weight; what the optimizer's own state says of its settings does not count."""
    first = StepwiseEvaluation(known, PARAMS)
    first.step()
    first.save(tmp_path / "first.pt")
    second = StepwiseEvaluation(known, PARAMS | {"lr": 1e-38, "weight_decay": 0.123})
    second.load(tmp_path / "first.pt")
    second.step()
    second.save(tmp_path / "second.pt")
    before, after = (read_checkpoint(tmp_path / f"{name}.pt")["training"] for name in ("first", "second"))
    assert after["steps_done"] == 2 * before["steps_done"]
    for name, weights in before["network"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(weights, after["network"][name]), name
    decays = [sorted(group["weight_decay"] for group in each["optimizer"]["param_groups"]) for each in (before, after)]
    assert decays == [[0.0, 0.05], [0.0, 0.123]]


def test_a_checkpoint_of_another_architecture_is_refused(known: Prepared, tmp_path: Path) -> None:
    evaluation = StepwiseEvaluation(known, PARAMS)
    evaluation.save(tmp_path / "training.pt")
    evaluation.begin(PARAMS | {"stage1_num_repeats": 2})
    with pytest.raises(ValueError, match=r"only lr, .* may change in mid-training, got a checkpoint of stem8-ir_r1_"):
        evaluation.load(tmp_path / "training.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 0.9}, "no parameter 'momentum'"),
        ({"stage1_kernel_size": 4}, "stage1_kernel_size"),
        ({"lr": -1.0}, "the trial's parameters: lr: .* greater than 0, got -1"),
    ],
)
def test_what_describes_no_candidate_is_refused(changes: dict[str, Any], message: str, known: Prepared) -> None:
    with pytest.raises(ValueError, match=message):
        StepwiseEvaluation(known, PARAMS | changes)


def test_a_loss_that_is_no_number_is_a_verdict(known: Prepared) -> None:
    report = StepwiseEvaluation(known, PARAMS | {"lr": 1e30}).step()
    assert report["done"], report
    assert (report["reward"], report["accuracy"]) == (0.0, 0.0)
    assert report["infeasible"].startswith("loss is not finite")
    assert report["params"] > 0, "its costs are known all the same"


def test_a_candidate_beyond_a_limit_is_never_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = StepwiseEvaluation(prepared(max_params=1000), PARAMS)
    monkeypatch.setattr("nas.stepwise.ShortTraining", None)
    report = evaluation.step()
    assert report["done"]
    assert report["reward"] == 0.0
    assert "parameters, max_params is 1,000" in report["infeasible"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_time": {"method": "measured"}}, "step_time.method must be predicted or macs"),
        ({"out_of_memory": "micro_batches"}, "out_of_memory must be infeasible"),
        ({"objectives": ("accuracy", "params")}, "objectives must be empty"),
        ({"pruners": ("known-cost",)}, "pruners must be empty"),
        ({"max_params": 100}, "no member of the space keeps max_params"),
    ],
)
def test_what_only_our_own_loop_can_do_is_refused(changes: dict[str, Any], message: str) -> None:
    config = SearchConfig.model_validate({"space": fake_search.TINY_SPACE, "device": "cpu", "threads": 1} | changes)
    with pytest.raises(ValueError, match=message):
        prepare(config)


@pytest.mark.slow
def test_preparing_calibrates_where_there_is_no_table() -> None:
    config = SearchConfig.model_validate(
        {
            "space": fake_search.TINY_SPACE, "device": "cpu", "threads": 1,
            "fidelity": {"epochs": 1, "data_share": 0.1, "resolution": 16},
            "step_time": {"batch_size": 4, "num_pairs": 3, "visits": 1, "budget_s": 0.0, "calibration_s": 0.0},
        }
    )  # fmt: skip
    found = prepare(config)
    backbone = found.space.backbone
    (table,) = found.tables
    assert table.covers(found.space)
    assert found.costs(backbone).step_time_s == table.predict(backbone).median_s
    assert found.reward.params_ref == found.costs(backbone).params
    with pytest.raises(ValueError, match="need a step-time table"):
        Prepared(config=found.config, preparation=found.preparation)
