"""Step-time tables from files: which are taken, which are refused, and what several of them say together."""

import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_search
import pytest

from nas.config import SearchConfig, make_config
from nas.evaluation_tasks import Calibrate, Measure
from nas.pricing import TableError, make_cost_model, read_tables, require_usable, with_reference_of
from nas.run import Run
from proxies.costs import CostModel
from proxies.device_identity import DeviceIdentity
from proxies.infeasible import InfeasibleError
from proxies.step_time_table import StepTimeTable, dump_table
from search_spaces.space_file import space_from_mapping

SPACE = space_from_mapping(fake_search.SPACE)
OTHER_DEVICE = DeviceIdentity(kind="cuda", name="NVIDIA H100", torch="2.0", cuda="12.4", threads=1)


def write(path: Path, table: StepTimeTable) -> Path:
    path.write_text(dump_table(table), encoding="utf-8")
    return path


def config(out: Path, *tables: object, **changes: Any) -> SearchConfig:
    return fake_search.config(out / "run", step_time={"tables": list(tables)}, **changes)


def run(config: SearchConfig) -> tuple[Run, list[object]]:
    seen: list[object] = []

    def evaluate(work: object, report: Any) -> object:
        seen.append(work)
        return fake_search.evaluate(work, report)

    found, _ = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    return found, seen


def test_a_table_of_this_device_saves_the_calibration(tmp_path: Path) -> None:
    table = fake_search.table(SPACE, salt="another table")
    found, seen = run(config(tmp_path, {"file": write(tmp_path / "table.json", table)}))
    assert not any(isinstance(work, Calibrate) for work in seen)
    assert any(isinstance(work, Measure) for work in seen)
    assert found.tables == (table,)
    outcome = found.records[0].outcome
    assert outcome is not None
    assert outcome.step_time_s == table.predict(SPACE.backbone).median_s


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"device": OTHER_DEVICE}, r"was calibrated on NVIDIA H100 .*here is fake .*foreign: true"),
        ({"device": replace(fake_search.HERE, torch="9.9")}, r"was calibrated on fake .*torch 9\.9, here is .*torch 2"),
        ({"device": replace(fake_search.HERE, threads=2)}, r"2 threads.*here is .*1 thread"),
        ({"workload": {"batch_size": 64}}, "was calibrated for batch_size 64, the search asks for 32"),
        ({"workload": {"num_classes": 7}}, "was calibrated for num_classes 7, the search asks for 10"),
        ({"workload": {"optimizer": "sgd"}}, "was calibrated for optimizer sgd, the search asks for adamw"),
        ({"workload": {"phase": "inference"}}, "was calibrated for phase inference, the search asks for training"),
    ],
)
def test_a_table_of_something_else_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    if "workload" in changes:
        changes = {"workload": replace(fake_search.TABLE.workload, **changes["workload"])}
    path = write(tmp_path / "table.json", replace(fake_search.TABLE, **changes))
    with pytest.raises(TableError, match=rule) as refused:
        run(config(tmp_path, {"file": path}))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_table_that_does_not_cover_the_space_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "table.json", fake_search.table(space_from_mapping(fake_search.TINY_SPACE)))
    with pytest.raises(TableError, match=r"table\.json was not calibrated for this search space but for"):
        run(config(tmp_path, {"file": path, "foreign": True}))


@pytest.mark.parametrize(
    ("text", "rule"),
    [("{}", "is no step-time table of format 1"), (None, "cannot read the step-time table"), ("x", "is no step-time")],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path: Path, text: str | None, rule: str) -> None:
    path = tmp_path / "table.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TableError, match=rule) as refused:
        run(config(tmp_path, {"file": path}))
    assert "\n" not in str(refused.value)


def test_a_search_for_another_device_predicts_and_measures_nothing(tmp_path: Path) -> None:
    """The reward's reference is the backbone's step time there, not here."""
    table = replace(fake_search.table(SPACE, salt="H100"), device=OTHER_DEVICE)
    found, seen = run(config(tmp_path, {"file": write(tmp_path / "h100.json", table), "foreign": True}))
    assert not any(isinstance(work, Calibrate | Measure) for work in seen)
    assert found.measurements == found.failed_measurements == {}
    assert not found.preparation.is_target_here
    assert found.preparation.step_time_ref_s == table.predict(SPACE.backbone).median_s
    backbone = next(entry for entry in found.leaderboard() if entry.is_backbone)
    assert backbone.reward == pytest.approx(backbone.accuracy * (backbone.params / 100_000) ** -0.05)


def test_two_devices_are_weighed_by_a_geometric_mean(tmp_path: Path) -> None:
    """By hand: ratios to the backbone on each device, to the powers of 3/4 and 1/4."""
    cpu, gpu = fake_search.table(SPACE, salt="cpu"), replace(fake_search.table(SPACE, salt="gpu"), device=OTHER_DEVICE)
    files = [
        {"file": write(tmp_path / "cpu.json", cpu), "weight": 3.0},
        {"file": write(tmp_path / "gpu.json", gpu), "weight": 1.0, "foreign": True},
    ]
    found, seen = run(config(tmp_path, *files))
    assert not any(isinstance(work, Calibrate | Measure) for work in seen)
    assert found.tables == (cpu, gpu)
    base = [table.predict(SPACE.backbone).median_s for table in (cpu, gpu)]
    for record in found.records:
        assert record.outcome is not None
        member = SPACE.from_params(record.params)
        first, second = (table.predict(member) for table in (cpu, gpu))
        expected = base[0] * (first.median_s / base[0]) ** 0.75 * (second.median_s / base[1]) ** 0.25
        assert record.outcome.step_time_s == pytest.approx(expected)
        error = math.sqrt((0.75 * first.relative_standard_error) ** 2 + (0.25 * second.relative_standard_error) ** 2)
        assert record.outcome.step_time_rse == pytest.approx(error)
    names = sorted(path.name for path in (tmp_path / "run").glob("step_time_table*.json"))
    assert len(names) == 2
    assert "step_time_table.json" in names


def test_a_table_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    write(tmp_path / "table.json", fake_search.TABLE)
    recipe = {"space": fake_search.SPACE, "step_time": {"tables": ["table.json"]}}
    found = make_config(recipe, {}, folder=tmp_path)
    assert [target.file for target in found.step_time.tables] == [tmp_path / "table.json"]
    assert not found.step_time.tables[0].foreign


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_must_be_positive(tmp_path: Path, weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        make_config({}, {"step_time.tables": [{"file": "table.json", "weight": weight}]})


def test_tables_beside_another_method_are_refused() -> None:
    with pytest.raises(ValueError, match=r"step_time.*method must be predicted, got measured"):
        make_config({}, {"step_time": {"method": "measured", "tables": ["table.json"]}})


def test_costs_wait_for_the_table(tmp_path: Path) -> None:
    settings = fake_search.config(tmp_path)
    assert make_cost_model(settings, fake_search.PREPARATION, []) is None
    costs = make_cost_model(settings, fake_search.PREPARATION, [fake_search.TABLE])
    assert isinstance(costs, CostModel)
    assert costs(SPACE.backbone).step_time_s == fake_search.TABLE.predict(SPACE.backbone).median_s


@pytest.mark.parametrize("method", ["measured", "macs"])
def test_other_methods_know_their_costs_at_once(tmp_path: Path, method: str) -> None:
    costs = make_cost_model(fake_search.config(tmp_path, step_time=method), fake_search.PREPARATION, [])
    assert costs is not None
    seconds = costs(SPACE.backbone).step_time_s
    assert seconds == (None if method == "measured" else fake_search.PREPARATION.step_time_ref_s)


def test_the_reference_is_the_targets(tmp_path: Path) -> None:
    settings = config(tmp_path, {"file": tmp_path / "table.json"})
    found = with_reference_of(settings, fake_search.PREPARATION, [fake_search.TABLE])
    assert found.step_time_ref_s == fake_search.TABLE.predict(SPACE.backbone).median_s


def test_tables_are_read_in_their_order(tmp_path: Path) -> None:
    tables = [fake_search.table(SPACE, salt=salt) for salt in ("one", "two")]
    files = [{"file": write(tmp_path / f"{place}.json", table)} for place, table in enumerate(tables)]
    assert read_tables(config(tmp_path, *files), fake_search.INSPECTION) == tables


@pytest.mark.parametrize(
    ("ratio", "is_good"), [(1.0, True), (0.0, False), (float("inf"), False), (float("nan"), False), (-1.0, False)]
)
def test_a_step_time_must_be_a_positive_number(ratio: float, is_good: bool) -> None:
    with nullcontext() if is_good else pytest.raises(InfeasibleError, match="step time is not positive and finite"):
        require_usable(fake_search.step_time(ratio))


def test_where_none_was_measured_there_is_nothing_to_refuse() -> None:
    require_usable(None)
