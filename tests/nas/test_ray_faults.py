"""What a Ray cluster can do to a search, done to a real one of several nodes on this machine."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import fake_search
import node_worker
import psutil
import pytest
import slow_search
import workloads
from pruned_trainings import require_the_very_training
from small_cluster import small_cluster
from waiting import is_gone, until
from workloads import Asking, Held

from nas.config import ClusterConfig, SearchConfig, read_config
from nas.dispatch import Task, dispatch
from nas.evaluation_tasks import demand_of
from nas.executors.interface import Demand, Died, Done, Event, Executor, Interrupted, Progress, RefusedError, Started
from nas.run import Run
from nas.study import Ending

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ALONE = Demand(alone=True)
HANG = ("hold", 600.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with small_cluster({"num_cpus": 2, "resources": {"fast": 1}}, {"num_cpus": 1}) as cluster:
        yield cluster


@pytest.fixture
def make_executor(cluster: Any) -> Iterator[Callable[..., Executor]]:
    from nas.executors.ray_cluster import RayExecutor

    made: list[Executor] = []

    def make(workers: int | None = None, **setting: Any) -> Executor:
        config = ClusterConfig(address=cluster.address, **setting)
        made.append(
            RayExecutor(workloads.make_workload, cluster=config, demand_of=workloads.demand_of, workers=workers)
        )
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def new_node(cluster: Any) -> Iterator[Callable[..., Any]]:
    """Further nodes, which are gone when the test is, and known to be: nothing is sent to them any more."""
    import ray

    before = set(cluster.worker_nodes)
    yield cluster.add_node
    for node in set(cluster.worker_nodes) - before:
        cluster.remove_node(node, allow_graceful=True)
    until(lambda: sum(node["Alive"] for node in ray.nodes()) == 1 + len(before))


@dataclass(slots=True)
class Chores:
    """A source of tasks for `dispatch`, in their order; keeps all that is told of them."""

    tasks: Sequence[Task]
    events: list[Event] = field(default_factory=list)
    num_given: int = 0

    def next_task(self) -> Task | None:
        if self.num_given == len(self.tasks):
            return None
        self.num_given += 1
        return self.tasks[self.num_given - 1]

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def abandon(self, task: int) -> None:
        """Nothing was promised."""

    def end_of(self, task: int) -> Event:
        (end,) = [e for e in self.events if e.task == task and not isinstance(e, Started | Progress)]
        return end

    def held(self, task: int) -> Held:
        end = self.end_of(task)
        assert isinstance(end, Done), end
        assert isinstance(end.result, Held)
        return end.result

    def where(self, task: int) -> str:
        (where,) = [e.where for e in self.events if e.task == task and isinstance(e, Started)]
        return where


def run(executor: Executor, *works: object, timeouts: dict[int, float] | None = None) -> Chores:
    """Pass some works through the loop; they have the numbers 0, 1 …"""
    chores = Chores([Task(number, work, (timeouts or {}).get(number)) for number, work in enumerate(works)])
    end = time.monotonic() + 120
    assert dispatch(chores, executor, stop_requested=lambda: time.monotonic() > end, on_drain=lambda n: None), chores
    return chores


def raylet_above(pid: int) -> int:
    return next(parent.pid for parent in psutil.Process(pid).parents() if parent.name() == "raylet")


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def begin(executor: Executor, *tasks: int) -> dict[int, int]:
    """Let tasks hold their places; their processes."""
    for task in tasks:
        executor.submit(task, HANG)
    pids: dict[int, int] = {}
    until(lambda: pids.update(progress(executor)) or set(tasks) <= pids.keys())
    return pids


def progress(executor: Executor) -> dict[int, int]:
    events = executor.events(0.2)
    assert not [event for event in events if not isinstance(event, Started | Progress)], events
    return {e.task: int(e.doing) for e in events if isinstance(e, Progress) and e.fraction}


def ends(executor: Executor, *tasks: int) -> dict[int, Event]:
    ended: dict[int, Event] = {}

    def come() -> bool:
        ended.update({e.task: e for e in executor.events(0.2) if not isinstance(e, Started | Progress)})
        return set(tasks) <= ended.keys()

    until(come)
    return ended


@pytest.mark.parametrize("is_graceful", [False, True])
def test_a_lost_node_interrupts_its_tasks_alone(
    cluster: Any, make_executor: Any, new_node: Any, is_graceful: bool
) -> None:
    executor, node = make_executor(), new_node(num_cpus=1)
    until(lambda: executor.capacity == 4)
    pids = begin(executor, 0, 1, 2, 3)
    (hit,) = [task for task, pid in pids.items() if raylet_above(pid) == raylet_of(node)]
    cluster.remove_node(node, allow_graceful=is_graceful)
    assert ends(executor, hit) == {hit: Interrupted(hit, lost_node=True)}
    until(lambda: is_gone(pids[hit]))
    assert [task for task, pid in pids.items() if not is_gone(pid)] == [task for task in pids if task != hit]
    until(lambda: executor.capacity == 3)
    assert len(executor.places) == 2
    with pytest.raises(RuntimeError, match="busy"):
        executor.submit(9, HANG)


def test_a_node_that_comes_gets_work(make_executor: Any, new_node: Any) -> None:
    executor = make_executor()
    begin(executor, 0, 1, 2)
    with pytest.raises(RuntimeError, match="busy"):
        executor.submit(3, HANG)
    node = new_node(num_cpus=1)
    until(lambda: executor.capacity == 4)
    assert len(executor.places) == 3
    assert raylet_above(begin(executor, 3)[3]) == raylet_of(node)


def test_a_seat_that_is_killed_is_told_as_a_death(make_executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.executors import ray_cluster

    monkeypatch.setattr(ray_cluster, "_GRACE_S", 2.0)
    executor = make_executor()
    worker = psutil.Process(begin(executor, 0)[0])
    worker.parent().kill()
    died = ends(executor, 0)[0]
    assert isinstance(died, Died)
    assert "died" in died.reason
    assert "\n" not in died.reason
    until(lambda: is_gone(worker.pid))
    assert run(executor, ("add", 1, 2)).end_of(0) == Done(0, 3)


def test_a_task_that_hangs_is_ended_with_its_process(make_executor: Any) -> None:
    executor = make_executor()
    chores = run(executor, HANG, ("add", 1, 2), timeouts={0: 8.0})
    assert chores.end_of(0) == Died(0, "no verdict within 8 s (trial_timeout_s)")
    assert chores.end_of(1) == Done(1, 3)
    (pid,) = [int(event.doing) for event in chores.events if isinstance(event, Progress) and event.task == 0]
    until(lambda: is_gone(pid))


def test_who_is_alone_on_a_machine_waits_for_no_turn_and_shares_with_nobody(make_executor: Any) -> None:
    """Trials enough to keep every place busy for ever, if they could take turns."""
    executor = make_executor()
    trial, alone = ("hold", 0.7), Asking(Demand(alone=True, resource="fast"), ("hold", 0.7))
    chores = run(executor, trial, trial, trial, alone, *[trial] * 8, alone)
    timings, trials = (3, 12), [*range(3), *range(4, 12)]
    (place,) = {chores.where(task) for task in timings}
    beside = [chores.held(task) for task in trials if chores.where(task) == place]
    assert beside
    for task in timings:
        assert not [held for held in beside if held.overlaps(chores.held(task))]
    assert max(chores.held(task).start_s for task in trials) > chores.held(3).end_s, "it came before the last trial"


def test_a_task_for_the_target_comes_to_its_place_though_idle_seats_hold_it(
    make_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.executors import ray_cluster

    monkeypatch.setattr(ray_cluster, "_WAITING_S", 3.0)
    executor = make_executor()
    run(executor, *[("hold", 0.1)] * 6)
    chores = run(executor, *[Asking(Demand(resource="fast"), ("hold", 0.1))] * 3)
    assert len({chores.where(task) for task in range(3)}) == 1
    assert len({chores.held(task).pid for task in range(3)}) <= 2
    run(executor, *[("hold", 0.1)] * 6)


def test_each_machine_is_reached_by_its_name(make_executor: Any) -> None:
    executor = make_executor()
    places = executor.places
    chores = run(executor, *[Asking(Demand(place=place), ("hold", 0.1)) for place in places])
    assert tuple(chores.where(task) for task in range(len(places))) == places


def test_two_trials_share_a_gpu_and_a_timing_has_it_alone(make_executor: Any, new_node: Any) -> None:
    new_node(num_cpus=3, num_gpus=1)
    executor = make_executor(gpus_per_trial=0.5)
    until(lambda: executor.capacity == 2)
    trial, alone = ("hold", 1.0), Asking(ALONE, ("hold", 1.0))
    chores = run(executor, trial, trial, alone, trial, trial)
    held = [chores.held(task) for task in range(5)]
    assert {each.gpus for each in held} == {"0"}
    assert held[0].overlaps(held[1])
    assert not [each for each in held if each is not held[2] and each.overlaps(held[2])]


def test_a_task_that_cannot_be_placed_says_what_it_waits_for(
    make_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.executors import ray_cluster

    monkeypatch.setattr(ray_cluster, "_WAITING_S", 0.5)
    executor = make_executor(workers=1, cpus_per_trial=16, gpus_per_trial=0.0)
    assert executor.places == ()
    executor.submit(0, "count")
    told: list[Event] = []
    until(lambda: told.extend(executor.events(0.2)) or told)
    assert told == [Progress(0, 0.0, "waiting for a machine with 16 CPU")]


ANSWERS = (fake_search.INSPECTION, fake_search.PREPARATION, fake_search.TABLE)


def search_on(cluster: Any, out: Path, **changes: Any) -> tuple[Run, Ending]:
    from nas.executors.ray_cluster import RayExecutor

    # A node with a GPU that another test has taken away may still count as alive.
    setting = {"address": cluster.address, "gpus_per_trial": 0}
    config = fake_search.config(out, executor="ray", cluster=setting, trials=4, finalists=0, **changes)
    factory = partial(node_worker.make_node_worker, ANSWERS, 0.0)
    executor = RayExecutor(factory, cluster=config.cluster, demand_of=partial(demand_of, config))
    return fake_search.run(config, executor)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("NODE_IMAGES", "others", r"the images of fake on \S+ are not those of the other machines: .* digest others"),
        (
            "NODE_HARDWARE",
            "H100 (cuda)",
            r"the machines of this cluster differ \((fake; \S+: H100 \(cuda\)|H100 \(cuda\); \S+: fake)\): name a",
        ),
        ("PYTHONPATH", "", r"a machine .* cannot run .*: No module named 'node_worker' \(on 127\.0\.0\.1\)"),
    ],
)
def test_a_node_that_does_not_fit_is_refused_in_a_line(
    cluster: Any, new_node: Any, tmp_path: Path, variable: str, value: str, complaint: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variable, value)
        new_node(num_cpus=1)
    with pytest.raises(RefusedError, match=complaint) as refusal:
        search_on(cluster, tmp_path / "run")
    assert "\n" not in str(refusal.value)


def test_a_driver_that_is_killed_leaves_nobody_and_the_search_goes_on(cluster: Any, tmp_path: Path) -> None:
    """Workers are real and small; one at a time, since each of their processes imports for seconds."""
    # Only one of the nodes has two CPUs.
    setting = {"executor": "ray", "cluster": {"address": cluster.address, "cpus_per_trial": 2}}
    recipe = slow_recipe(tmp_path / "killed", **setting)
    with started(recipe) as process:
        process.kill()
        process.wait(timeout=60)
        until(lambda: all(is_gone(pid) for pid, _ in steps(recipe)), seconds=15)
    with started(recipe) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 130
        until(lambda: all(is_gone(pid) for pid, _ in steps(recipe)), seconds=15)
    killed = finish(recipe)
    whole = finish(slow_recipe(tmp_path / "whole"))
    assert accuracies(killed) == accuracies(whole)
    assert len(accuracies(whole)) == 2
    assert [step for _, step in steps(recipe)].count(1) == 2, "no training began anew"


def test_a_promoted_training_goes_on_elsewhere(cluster: Any, tmp_path: Path) -> None:
    require_the_very_training(
        tmp_path / "run", executor="ray", workers=1, cluster={"address": cluster.address, "cpus_per_trial": 2}
    )


@contextmanager
def started(recipe: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A search whose training has come some steps further, and is kept on disk."""
    log, before = recipe.with_name("errors"), len(steps(recipe))
    command = [sys.executable, slow_search.__file__, str(recipe), str(recipe.with_name("log")), "0.1", "0"]
    with log.open("w") as errors, subprocess.Popen(command, stdout=errors, stderr=errors) as process:
        until(lambda: process.poll() is not None or (len(steps(recipe)) > before + 5 and kept(recipe)))
        assert process.poll() is None, log.read_text()
        yield process


def kept(recipe: Path) -> list[Path]:
    return list((recipe.with_name("run") / "checkpoints" / "trials").glob("*.pt"))


def finish(recipe: Path) -> Run:
    config = read_config(recipe)
    factory = partial(slow_search.make_slow_evaluator, config, recipe.with_name("log"), 0.0)
    run, ending = slow_search.search(config, factory)
    assert ending is Ending.COMPLETE
    return run


def slow_recipe(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    setting = slow_search.SETTING | changes | {"out": folder / "run"}
    (folder / "recipe.yaml").write_text(SearchConfig.model_validate(setting).to_yaml())
    return folder / "recipe.yaml"


def steps(recipe: Path) -> list[tuple[int, int]]:
    """Process and number of each training step that was done."""
    log = recipe.with_name("log")
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def accuracies(run: Run) -> dict[str, int]:
    return {
        record.candidate.architecture: record.outcome.accuracy.num_correct
        for record in run.records
        if record.candidate and record.outcome
    }
