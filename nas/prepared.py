"""What is found out once before candidates are judged by somebody else's loop, such as Ray Tune's."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from proxies.costs import CostModel
from proxies.step_time_table import StepTimeTable
from search_spaces.space import SearchSpace

from .config import SearchConfig, make_config
from .evaluation_tasks import Calibrate, Inspect, Inspection, Preparation, make_evaluator
from .executors.interface import Report
from .limits import Limits
from .pricing import make_cost_model, preparation_work, read_tables, reward_of, with_reference_of
from .reward import Reward
from .search_problem import require_reachable_sizes, require_reachable_step_time, search_problem

Result = TypeVar("Result")


def _to_nobody(fraction: float, doing: str, found: object = None) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search whose machine has been measured: it can price and judge any candidate.

    Raises:
        ValueError: If step times are predicted and there is no table to predict them from.
    """

    config: SearchConfig
    preparation: Preparation
    tables: tuple[StepTimeTable, ...] = ()
    """Step-time tables; none where multiply-adds stand in for S."""

    def __post_init__(self) -> None:
        if self.config.step_time.method == "predicted" and not self.tables:
            raise ValueError("predicted step times need a step-time table, got none")

    @cached_property
    def space(self) -> SearchSpace:
        return self.config.search_space()

    @cached_property
    def reward(self) -> Reward:
        """What is maximised."""
        return reward_of(self.config, self.preparation)

    @cached_property
    def costs(self) -> CostModel:
        """What is known of a candidate before it is trained."""
        costs = make_cost_model(self.config, self.preparation, self.tables)
        if costs is None:
            raise RuntimeError("step times are known here")
        return costs

    @cached_property
    def limits(self) -> Limits:
        """What candidates may cost at most."""
        return search_problem(self.config, self.preparation, self.reward, self.costs).limits

    def __getstate__(self) -> dict[str, object]:
        """What it was made of; functions that were derived from it do not travel."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


def prepare(config: SearchConfig, report: Report = _to_nobody) -> Prepared:
    """Look at the images, find the fastest execution mode, measure the backbone and calibrate step times.

    All of it in this process, which must have the device to itself; one of a cluster's where S is that machine's.

    Args:
        config: What is searched. The one who leads the loop decides on workers, retries and finalists.
        report: Is told how far it is.

    Raises:
        ValueError: In one line, if the configuration asks for what cannot be had, here or under another's loop.
    """
    config = make_config(config.model_dump(mode="json"), {}, source="the configuration")  # names files from the root
    _require_others_can_lead(config)
    evaluate = make_evaluator(config, 0)
    inspection = _expect(Inspection, evaluate(Inspect(), report))
    require_reachable_sizes(config, inspection.data)
    tables = read_tables(config, inspection)
    preparation = _expect(Preparation, evaluate(preparation_work(inspection, tables), report))
    if tables:
        preparation = with_reference_of(config, preparation, tables)
    elif config.step_time.method == "predicted":
        tables = [_expect(StepTimeTable, evaluate(Calibrate(preparation=preparation), report))]
    prepared = Prepared(config=config, preparation=preparation, tables=tuple(tables))
    require_reachable_step_time(search_problem(config, preparation, prepared.reward, prepared.costs))
    return prepared


def _require_others_can_lead(config: SearchConfig) -> None:
    """What only our own loop can do.

    Raises:
        ValueError: In one line.
    """
    if config.step_time.method == "measured":
        raise ValueError("step_time.method must be predicted or macs where trials share a device, got measured")
    if config.out_of_memory != "infeasible":
        raise ValueError(f"out_of_memory must be infeasible under another's loop, got {config.out_of_memory}")
    if config.pruners:
        raise ValueError(f"pruners must be empty under another's loop, got {', '.join(config.pruners)}")
    if config.objectives:
        raise ValueError(f"objectives must be empty under another's loop, got {', '.join(config.objectives)}")


def _expect(kind: type[Result], found: object) -> Result:
    if not isinstance(found, kind):
        raise TypeError(f"{kind.__name__} was expected, got {type(found).__name__}")
    return found
