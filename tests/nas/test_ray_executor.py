"""A Ray cluster keeps the executors' contract, and what only a cluster can promise."""

from collections.abc import Iterator
from typing import Any

import pytest
import workloads
from executor_contract import ExecutorContract
from small_cluster import small_cluster

from nas.config import ClusterConfig
from nas.executors.interface import Demand, Executor

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with small_cluster({"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        yield cluster


def make_executor(cluster: Any, **setting: Any) -> Executor:
    from nas.executors.ray_cluster import RayExecutor

    config = ClusterConfig(address=cluster.address, **setting)
    return RayExecutor(workloads.make_workload, cluster=config, demand_of=lambda work: Demand())


@pytest.fixture(scope="module")
def shared(cluster: Any) -> Iterator[Executor]:
    executor = make_executor(cluster)
    yield executor
    executor.close()


class TestRayExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, shared: Executor) -> Iterator[Executor]:
        """Seats cost seconds, so all tests have the same ones."""
        yield shared
        for task in range(10):
            shared.stop(task)
