"""What a search asks of its sampler, from its configuration and what was measured before the first trial."""

from collections.abc import Sequence

from proxies.costs import CostModel
from proxies.workload import Workload

from .config import SearchConfig
from .evaluation_tasks import DataFacts, Preparation
from .executors.interface import RefusedError
from .limits import Limits
from .pricing import target_workload
from .reward import Reward
from .samplers.history import Expectation, nothing_expected
from .samplers.problem import EarlierRun, Problem
from .search_limits import search_limits, size_limits


def search_problem(
    config: SearchConfig,
    preparation: Preparation,
    reward: Reward,
    costs: CostModel | None = None,
    earlier: Sequence[EarlierRun] = (),
    expected: Expectation = nothing_expected,
) -> Problem:
    """The problem as it stands: without step times while they are not known beforehand.

    Args:
        config: Of the search.
        preparation: Of its run.
        reward: What is maximised.
        costs: What is known of candidates before they are trained; None while there is no step-time table.
        earlier: What other runs found out.
        expected: Of pruned candidates.
    """
    space = config.search_space()
    known = costs or CostModel(workload=target_workload(config, preparation), device_kind=preparation.target_kind)
    of_members = known.over(space)
    return Problem(
        space=space,
        seed=config.seed,
        reward=reward,
        costs=of_members,
        is_priced=costs is not None,
        objectives=config.objectives,
        limits=search_limits(config, known, of_members),
        earlier=earlier,
        expected=expected,
    )


def require_reachable_sizes(config: SearchConfig, data: DataFacts) -> None:
    """Make sure that some member keeps the limits that are known as soon as the images are.

    Raises:
        RefusedError: If a limit is below the smallest member, in one line.
    """
    if config.max_params is None and config.max_macs is None:
        return
    work = Workload(resolution=config.step_time.resolution, num_classes=data.num_classes, in_channels=data.in_channels)
    space = config.search_space()
    costs = CostModel(workload=work, device_kind="cpu").over(space)
    _require(size_limits(config, costs).unreachable(space))


def require_reachable_step_time(problem: Problem) -> None:
    """Make sure that some member keeps the limit on step time, if there is one and step times are known.

    Raises:
        RefusedError: If it is below the fastest member, in one line.
    """
    of_time = Limits(tuple(limit for limit in problem.limits.each if limit.key == "max_step_time_s"))
    _require(of_time.unreachable(problem.space))


def _require(problem: str | None) -> None:
    if problem is not None:
        raise RefusedError(problem)
