"""What a search asks of its sampler, from its configuration and what was measured before the first trial."""

from proxies.costs import CostModel

from .config import SearchConfig
from .evaluation_tasks import Preparation
from .pricing import target_workload
from .reward import Reward
from .samplers.problem import Problem


def search_problem(
    config: SearchConfig, preparation: Preparation, reward: Reward, costs: CostModel | None = None
) -> Problem:
    """The problem as it stands: without step times while they are not known beforehand.

    Args:
        config: Of the search.
        preparation: Of its run.
        reward: What is maximised.
        costs: What is known of candidates before they are trained; None while there is no step-time table.
    """
    space = config.search_space()
    known = costs or CostModel(workload=target_workload(config, preparation), device_kind=preparation.target_kind)
    return Problem(space=space, seed=config.seed, reward=reward, costs=known.over(space), objectives=config.objectives)
