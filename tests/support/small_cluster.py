"""A Ray cluster of several nodes on this machine, for tests; it listens, so only in a network namespace of its own."""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HEAD = {"num_cpus": 0, "include_dashboard": False}
"""It trains nothing, so that every node that does may be lost."""
_OWN_NAMESPACE = "unshare -rn sh -c 'ip link set lo up; exec pytest -q -n 0 -m cluster'"


def require_own_network() -> None:
    """Ray listens on every interface there is, whatever it is told: here there must be none but the loopback."""
    others = {name for _, name in socket.if_nameindex()} - {"lo"}
    if others:
        pytest.fail(f"tests with Ray need a network of their own, here is {', '.join(others)}: {_OWN_NAMESPACE}")


@contextmanager
def small_cluster(*nodes: dict[str, Any]) -> Iterator[Any]:
    """A cluster, and this process joined to it; yields Ray's `Cluster`, which adds and removes nodes.

    Args:
        nodes: Arguments of each node beside the head, such as its CPUs.
    """
    require_own_network()
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    support = Path(__file__).parent
    # Sockets lie there, whose names must be short.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(support), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        cluster = Cluster(initialize_head=True, head_node_args=HEAD)
        try:
            for node in nodes:
                cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
