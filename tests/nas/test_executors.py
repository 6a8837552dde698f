"""Processes of this machine keep the executors' contract."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import workloads
from executor_contract import ExecutorContract, outcome, wait_until_it_waits
from waiting import is_gone, until

from nas.executors.interface import Died, Done, Executor, Interrupted, Refused
from nas.executors.local import MAX_DEATHS_IN_A_ROW, LocalExecutor


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        executor = LocalExecutor(workloads.make_workload, workers=2)
        yield executor
        executor.close()

    def test_a_worker_over_which_all_die_gets_no_more_tasks_where_there_is_another(self) -> None:
        executor = LocalExecutor(workloads.make_broken_first, workers=2)
        assert executor.capacity == 2
        for task in range(MAX_DEATHS_IN_A_ROW):
            executor.submit(task, "count")
            died = outcome(executor, task)[task]
            assert isinstance(died, Died)
        assert died.reason == "RuntimeError: uncorrectable error, the 6th in a row of worker 0"
        assert executor.capacity == 1
        executor.submit(9, "count")
        assert outcome(executor, 9) == {9: Done(9, 1)}
        executor.close()

    def test_a_task_that_is_halted_is_a_sign_of_life(self) -> None:
        executor = LocalExecutor(workloads.make_workload, workers=2)
        for task, work in enumerate(["bug"] * (MAX_DEATHS_IN_A_ROW - 1) + ["wait", "bug"]):
            executor.submit(task, work)
            if work == "wait":
                wait_until_it_waits(executor, task)
                executor.halt(task)
            outcome(executor, task)
        assert executor.capacity == 2
        executor.close()

    def test_close_leaves_no_process(self) -> None:
        executor = LocalExecutor(workloads.make_workload, workers=2)
        executor.submit(0, "hang")
        executor.submit(1, "worker")
        event = outcome(executor, 1)[1]
        assert isinstance(event, Done)
        pid = event.result[1]  # type: ignore[index]
        executor.close()
        assert not psutil.pid_exists(pid)

    def test_a_death_is_noticed_while_what_the_worker_had_started_lives(self, tmp_path: Path) -> None:
        executor = LocalExecutor(workloads.make_workload)
        executor.submit(0, ("kill beside a reader", str(tmp_path / "reader")))
        died = outcome(executor, 0)[0]
        assert isinstance(died, Died)
        assert "SIGKILL" in died.reason
        executor.close()
        reader = int((tmp_path / "reader").read_text())
        until(lambda: is_gone(reader))

    def test_a_worker_that_cannot_listen_yet_is_interrupted_all_the_same(self) -> None:
        executor = LocalExecutor(workloads.make_workload)
        executor.submit(0, "wait")
        executor.interrupt(0)
        assert outcome(executor, 0) == {0: Interrupted(0)}
        executor.close()

    def test_a_worker_that_cannot_begin_says_why(self) -> None:
        executor = LocalExecutor(workloads.make_nothing)
        executor.submit(0, "count")
        assert outcome(executor, 0) == {0: Refused(0, "no such folder: nowhere")}
        executor.close()
