"""How a search comes to know the costs of its candidates: tables found or calibrated, and what they must fit."""

import math
from collections.abc import Sequence
from dataclasses import replace

from proxies.costs import CostModel, MacsStepTimes, StepTimes, TableStepTimes
from proxies.device_identity import DeviceIdentity
from proxies.execution import parse_mode
from proxies.infeasible import InfeasibleError
from proxies.step_time import StepTime
from proxies.step_time_table import StepTimeTable, read_table
from proxies.workload import Workload

from .config import SearchConfig
from .evaluation_tasks import DataFacts, Inspection, Preparation, Prepare
from .reward import Reward


class TableError(ValueError):
    """A step-time table that the configuration names cannot be used, in one line."""


def target_workload(config: SearchConfig, preparation: Preparation) -> Workload:
    """The step whose time is S."""
    return Workload(
        resolution=config.step_time.resolution,
        batch_size=config.step_time.batch_size,
        mode=parse_mode(preparation.step_mode),
        num_classes=preparation.data.num_classes,
        in_channels=preparation.data.in_channels,
        optimizer=config.train.optimizer,
    )


def require_tables(config: SearchConfig) -> list[StepTimeTable]:
    """The tables that the configuration names, in its order, as far as they can be judged without a device.

    Raises:
        TableError: If one cannot be read or does not cover the space, in one line.
    """
    tables = []
    for target in config.step_time.tables:
        try:
            table = read_table(target.file)
        except ValueError as error:
            raise TableError(str(error)) from None
        if not table.covers(config.search_space()):
            raise TableError(f"{target.file} was not calibrated for this search space but for {table.space!r}")
        tables.append(table)
    return tables


def read_tables(config: SearchConfig, inspection: Inspection) -> list[StepTimeTable]:
    """The tables that the configuration names, in its order.

    Raises:
        TableError: If one cannot be read, does not cover the space, or was calibrated for something else, in one line.
    """
    tables = require_tables(config)
    for target, table in zip(config.step_time.tables, tables, strict=True):
        if not target.foreign:
            _require_same(f"{target.file} was calibrated", table, config, inspection)
    return tables


def is_of(table: StepTimeTable, device: DeviceIdentity) -> bool:
    """Whether a table was calibrated on this very hardware and software."""
    return table.device == device


def reward_of(
    config: SearchConfig, preparation: Preparation, *, w: float | None = None, v: float | None = None
) -> Reward:
    """A run's reward, or the same with other exponents."""
    return Reward(
        w=config.w if w is None else w,
        v=config.v if v is None else v,
        step_time_ref_s=preparation.step_time_ref_s,
        params_ref=preparation.params_ref,
    )


def require_usable(measured: StepTime | None) -> None:
    """Make sure that a measured step time, where there is one, is a number: no clock stood still, or ran over.

    Raises:
        InfeasibleError: If it is none.
    """
    # What is no number must never reach Optuna, which would call infinity its best value.
    for ratio in (ratio for visit in measured.visits for ratio in visit.ratios) if measured else ():
        if not (math.isfinite(ratio) and ratio > 0):
            raise InfeasibleError(f"step time is not positive and finite: {ratio} × the reference's")


def preparation_work(inspection: Inspection, tables: Sequence[StepTimeTable]) -> Prepare:
    """What is to be found out once, before the first candidate, where these tables are there already."""
    own = tables[0] if len(tables) == 1 and is_of(tables[0], inspection.target) else None
    return Prepare(inspection=inspection, table=own, is_target_here=own is not None or not tables)


def make_cost_model(
    config: SearchConfig, preparation: Preparation, tables: Sequence[StepTimeTable]
) -> CostModel | None:
    """What the driver knows of candidates before they are trained; None while the table is not there yet."""
    if config.step_time.method == "predicted" and not tables:
        return None
    return CostModel(
        workload=target_workload(config, preparation),
        device_kind=preparation.target_kind,
        step_times=_step_times(config, preparation, tables),
    )


def with_reference_of(config: SearchConfig, preparation: Preparation, tables: Sequence[StepTimeTable]) -> Preparation:
    """The preparation of a search for other devices: S of the backbone is theirs."""
    seconds, _ = _table_step_times(config, tables)(config.search_space().backbone)
    return replace(preparation, step_time_ref_s=seconds)


def _step_times(config: SearchConfig, preparation: Preparation, tables: Sequence[StepTimeTable]) -> StepTimes | None:
    if config.step_time.method == "macs":
        workload, backbone = target_workload(config, preparation), config.search_space().backbone
        return MacsStepTimes(workload, backbone, preparation.step_time_ref_s)
    return _table_step_times(config, tables) if config.step_time.method == "predicted" else None


def _table_step_times(config: SearchConfig, tables: Sequence[StepTimeTable]) -> TableStepTimes:
    weights = [target.weight for target in config.step_time.tables or config.step_time.targets] or [1.0]
    return TableStepTimes(tables, weights, config.search_space().backbone)


def _require_same(what: str, table: StepTimeTable, config: SearchConfig, inspection: Inspection) -> None:
    """Refuse a table whose times mean something else than the search's."""
    if not is_of(table, inspection.target):
        raise TableError(
            f"{what} on {table.device}, here is {inspection.target} (foreign: true searches for that device)"
        )
    wanted, found = _meaning(config, inspection.data), table.workload
    for name, value in wanted.items():
        if getattr(found, name) != value:
            raise TableError(f"{what} for {name} {getattr(found, name)}, the search asks for {value}")


def _meaning(config: SearchConfig, data: DataFacts) -> dict[str, object]:
    return {
        "resolution": config.step_time.resolution,
        "batch_size": config.step_time.batch_size,
        "num_classes": data.num_classes,
        "in_channels": data.in_channels,
        "optimizer": config.train.optimizer,
        "phase": "training",
    }
