"""The executor that a configuration asks for."""

from functools import partial

from ..config import SearchConfig
from ..evaluation_tasks import demand_of, make_evaluator
from .interface import Executor, RefusedError
from .local import LocalExecutor


def make_executor(config: SearchConfig) -> Executor:
    """Processes of this machine, or a Ray cluster.

    Raises:
        RefusedError: If Ray is not installed, or there is no such cluster.
    """
    # Workers on other machines start in folders of their own.
    factory = partial(make_evaluator, config.model_copy(update={"out": config.out.absolute()}))
    if config.executor == "local":
        return LocalExecutor(factory, workers=config.workers or 1)
    try:
        from .ray_cluster import RayExecutor
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise RefusedError('--executor ray needs Ray: pip install "training-aware-nas[cluster]"') from None
    cluster = config.cluster
    if cluster.gpus_per_trial is None and config.device in ("cpu", "cuda"):
        # A cluster that grows may have no GPU yet.
        cluster = cluster.model_copy(update={"gpus_per_trial": float(config.device == "cuda")})
    return RayExecutor(factory, cluster=cluster, demand_of=partial(demand_of, config), workers=config.workers)
