"""How the tests are run: whole suites on several cores, every test on one thread, and some with the machine alone."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from quick_disk import do_not_wait_for_disks

from proxies.device_lease import DeviceLease

MOST_WORKERS = 4
"""Each imports PyTorch and Optuna for itself, and the longest tests end no sooner with more."""

# Read when PyTorch is imported, here and in the processes that tests start. Networks as small as those of tests only
# wait for a second thread, longest where the cores are busy; tests about threads ask for theirs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray runs its workers at niceness 15: beside other tests they would hardly get a turn.
os.environ.setdefault("RAY_worker_niceness", "0")
do_not_wait_for_disks()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker per core for whole suites; none for single files, which end before workers have started."""
    if any(argument.split("::")[0].endswith(".py") for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS) if cores > 1 else 0


@pytest.fixture(autouse=True, scope="session")
def _leases_of_its_own() -> Iterator[None]:
    """Leases lie among the temporary files: no worker waits for another, nor for a search that measures meanwhile."""
    with tempfile.TemporaryDirectory(prefix="nas-tests-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def _alone_or_beside_others(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[None]:
    """A test marked ``alone`` waits until no other worker runs one, and they wait for it."""
    if worker_id == "master":
        yield
        return
    machine = DeviceLease("machine", tmp_path_factory.getbasetemp().parent)
    with machine.exclusive() if request.node.get_closest_marker("alone") else machine.shared():
        yield
