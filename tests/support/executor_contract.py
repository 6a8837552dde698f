"""What every executor owes the loop: each of them runs through this class."""

import time

import pytest

from nas.executors.interface import Died, Done, Event, Executor, Infeasible, Interrupted, Progress, Refused, Started


def outcome(executor: Executor, *tasks: int) -> dict[int, Event]:
    """Wait until each of these tasks has ended."""
    ended: dict[int, Event] = {}
    end = time.monotonic() + 60
    while set(ended) != set(tasks):
        assert time.monotonic() < end, f"only {sorted(ended)} of {tasks} ended"
        ended |= {event.task: event for event in executor.events(0.2) if not isinstance(event, Started | Progress)}
    return ended


def wait_until_it_waits(executor: Executor, task: int) -> None:
    end = time.monotonic() + 60
    while Progress(task, 0.5, "waiting to be interrupted") not in executor.events(0.2):
        assert time.monotonic() < end, f"task {task} does not wait"


class ExecutorContract:
    """A subclass gives ``executor``, idle, with two workers that run `workloads.make_workload`; tests may share it."""

    def test_a_result_comes_back_once_after_its_progress(self, executor: Executor) -> None:
        executor.submit(7, ("add", 1, 2))
        events: list[Event] = []
        end = time.monotonic() + 60
        while not any(isinstance(event, Done) for event in events) and time.monotonic() < end:
            events += executor.events(0.2)
        started, *rest = events
        assert isinstance(started, Started)
        assert started.task == 7
        assert started.where in executor.places
        assert rest == [Progress(7, 0.5, "adding"), Done(7, 3)]
        assert executor.events(0.2) == []

    def test_capacity_tasks_run_at_once_and_no_more(self, executor: Executor) -> None:
        assert executor.capacity == 2
        executor.submit(0, "worker")
        executor.submit(1, "worker")
        with pytest.raises(RuntimeError, match="busy"):
            executor.submit(2, "worker")
        pids = {event.result[1] for event in outcome(executor, 0, 1).values() if isinstance(event, Done)}  # type: ignore[index]
        assert len(pids) == 2

    def test_a_worker_keeps_its_state(self, executor: Executor) -> None:
        executor.submit(0, "count")
        first = outcome(executor, 0)[0]
        assert isinstance(first, Done)
        executor.submit(1, "count")
        assert outcome(executor, 1) == {1: Done(1, first.result + 1)}  # type: ignore[operator]

    def test_verdicts_are_told_apart(self, executor: Executor) -> None:
        executor.submit(0, "infeasible")
        executor.submit(1, "refuse")
        ended = outcome(executor, 0, 1)
        assert ended == {0: Infeasible(0, "out of memory"), 1: Refused(1, "no such folder: nowhere")}

    def test_a_bug_comes_with_its_traceback_and_a_fresh_worker_follows(self, executor: Executor) -> None:
        executor.submit(0, "bug")
        died = outcome(executor, 0)[0]
        assert isinstance(died, Died)
        assert died.reason == "ZeroDivisionError: a bug"
        assert "workloads.py" in died.traceback
        executor.submit(1, "count")
        assert outcome(executor, 1) == {1: Done(1, 1)}, "the state of the process that failed is gone"

    @pytest.mark.parametrize(("work", "reason"), [("kill", "SIGKILL"), ("exit", "code 3")])
    def test_a_dead_worker_is_replaced(self, executor: Executor, work: str, reason: str) -> None:
        executor.submit(0, work)
        died = outcome(executor, 0)[0]
        assert isinstance(died, Died)
        assert reason in died.reason
        for task in (1, 2):
            executor.submit(task, ("add", task, 1))
        assert outcome(executor, 1, 2) == {1: Done(1, 2), 2: Done(2, 3)}

    def test_an_interrupted_task_keeps_what_it_has_and_its_process_ends(self, executor: Executor) -> None:
        executor.submit(0, "wait")
        wait_until_it_waits(executor, 0)
        executor.interrupt(0)
        executor.interrupt(99)
        assert outcome(executor, 0) == {0: Interrupted(0)}
        executor.submit(1, "count")
        assert outcome(executor, 1) == {1: Done(1, 1)}

    def test_a_halted_task_ends_and_its_process_does_the_next_one(self, executor: Executor) -> None:
        pids = {}
        for task, work in enumerate(("worker", "wait", "worker")):
            executor.submit(task, work)
            executor.submit(9, "wait")  # the other worker, whose own task goes on
            executor.halt(99)
            if work == "wait":
                wait_until_it_waits(executor, task)
                executor.halt(task)
            pids[task] = outcome(executor, task)[task]
            executor.halt(9)
            assert outcome(executor, 9) == {9: Interrupted(9)}
            executor.halt(task)  # too late: its end has come
        assert pids.pop(1) == Interrupted(1)
        assert pids[0] == Done(0, pids[2].result)  # type: ignore[union-attr]

    def test_a_task_is_halted_before_it_has_begun_or_not_at_all(self, executor: Executor) -> None:
        executor.submit(0, "wait")
        executor.halt(0)
        assert outcome(executor, 0) == {0: Interrupted(0)}
        executor.submit(1, ("add", 1, 1))
        ended = outcome(executor, 1)
        executor.halt(1)
        assert ended == {1: Done(1, 2)}
        # The next one is asked nothing, though it may have the same number.
        executor.submit(1, ("hold", 0.2))
        assert isinstance(outcome(executor, 1)[1], Done)

    def test_a_halted_worker_that_is_spent_is_replaced(self, executor: Executor) -> None:
        executor.submit(0, "wait and be spent")
        wait_until_it_waits(executor, 0)
        executor.halt(0)
        assert outcome(executor, 0) == {0: Interrupted(0)}
        executor.submit(1, "count")
        assert outcome(executor, 1) == {1: Done(1, 1)}

    def test_a_spent_worker_is_replaced(self, executor: Executor) -> None:
        pids = set()
        for task in range(4):
            executor.submit(task, "spend")
            event = outcome(executor, task)[task]
            assert isinstance(event, Done)
            pids.add(event.result)
        assert len(pids) == 4, "one process a task"

    def test_a_stopped_task_says_nothing_more_and_frees_its_worker(self, executor: Executor) -> None:
        executor.submit(0, "hang")
        executor.submit(1, "hang")
        executor.stop(0)
        executor.stop(99)
        executor.submit(2, ("add", 2, 2))
        assert outcome(executor, 2) == {2: Done(2, 4)}
