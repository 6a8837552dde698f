"""A Ray cluster of this machine alone."""

import contextlib
import logging
from collections.abc import Iterator

import ray

_OBJECT_STORE_BYTES = 200 * 2**20


@contextlib.contextmanager
def simulated_cluster(num_cpus: int) -> Iterator[None]:
    """Ray on this machine with so many CPUs, however many it has: they limit only how many actors there are."""
    ray.init(
        address="local",
        num_cpus=num_cpus,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
    )
    try:
        yield
    finally:
        ray.shutdown()
