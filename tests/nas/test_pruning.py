"""What the search makes of its pruner's decisions."""

import csv
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import epoch_search
import fake_search
import pytest
from epoch_search import NUM_EPOCHS, EpochExecutor, KilledError, Script, config

from nas.config import SearchConfig
from nas.driver_storage import DriverStorage
from nas.executors.interface import Died, Event
from nas.run import Run
from nas.study import Ending, StudyLoop
from nas.trial_checkpoints import checkpoint_folder, kept_training
from nas.trials import State, TrialRecord


def own(run: Run) -> list[TrialRecord]:
    """Trials with a verdict that counts."""
    return [record for record in run.records if record.is_judged]


def rows(run: Run) -> list[dict[str, str]]:
    with run.directory.trials_file.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_need_not_be_trained_is_not_and_counts(tmp_path: Path) -> None:
    executor = EpochExecutor()
    # Of the backbone, the first of all, nobody is asked.
    run, ending = epoch_search.run(config(tmp_path, trials=4), executor, Script(needless=(0, 2)))
    assert ending is Ending.COMPLETE
    assert [record.state for record in own(run)] == [State.COMPLETE, State.PRUNED, State.COMPLETE, State.PRUNED]
    pruned = own(run)[1]
    assert pruned.reason == "needless"
    assert pruned.partial is not None
    assert pruned.partial.accuracy is None
    assert pruned.partial.params > 0
    assert pruned.candidate is not None
    assert pruned.candidate.architecture not in {name for name, _ in executor.trained}
    assert len(run.leaderboard()) == 2
    row = rows(run)[1]
    assert (row["state"], row["reason"], row["epochs"], row["accuracy"]) == ("pruned", "needless", "0", "")


def test_a_training_is_stopped_after_an_epoch_and_what_it_came_to_is_kept(tmp_path: Path) -> None:
    executor, script = EpochExecutor(capacity=2), Script(stops={0: 2, 1: 1})
    run, _ = epoch_search.run(config(tmp_path, trials=4), executor, script)
    by_name = {record.candidate.architecture: record for record in own(run) if record.candidate}
    first, second = (by_name[name] for name in script.seen[:2])
    for record, epochs in ((first, 2), (second, 1)):
        assert record.state is State.PRUNED
        assert record.reason == "too slow"
        assert record.partial is not None
        assert record.partial.accuracy is not None
        assert record.candidate is not None
        name = record.candidate.architecture
        expected = [epoch_search.num_correct(name, epoch) / 1000 for epoch in range(1, epochs + 1)]
        assert list(record.partial.accuracy.curve) == expected
        assert record.partial.accuracy.train_seconds == 0.5 * epochs
        assert max(epoch for each, epoch in executor.trained if each == name) <= epochs + 1, "it was halted"
    assert sum(record.state is State.COMPLETE for record in own(run)) == 2
    told = {trained.subject.architecture: trained for trained, _ in script.told_of}
    assert [len(told[name].curve) for name in script.seen[:2]] == [2, 1]
    assert not any(told[name].is_complete for name in script.seen[:2])
    assert {row["epochs"] for row in rows(run)} == {"1", "2", "4"}


def test_the_last_epoch_and_the_backbone_are_not_asked_about(tmp_path: Path) -> None:
    script = Script()
    run, _ = epoch_search.run(config(tmp_path, trials=3), EpochExecutor(), script)
    assert {epochs for _, epochs in script.asked} == set(range(1, NUM_EPOCHS))
    assert len({name for name, _ in script.asked}) == 2
    assert str(run.config.search_space().backbone) not in {name for name, _ in script.asked}
    assert len(script.told_of) == 3
    assert all(trained.is_complete and len(trained.curve) == NUM_EPOCHS for trained, _ in script.told_of)


def test_the_reward_factor_is_that_of_the_reward(tmp_path: Path) -> None:
    script = Script()
    run, _ = epoch_search.run(config(tmp_path, trials=3), EpochExecutor(), script)
    rewards = {entry.architecture: entry.reward / entry.accuracy for entry in run.leaderboard()}
    for trained, _ in script.told_of:
        assert trained.subject.reward_factor == pytest.approx(rewards[trained.subject.architecture])


def test_a_result_that_came_before_the_halt_counts(tmp_path: Path) -> None:
    run, _ = epoch_search.run(config(tmp_path, trials=3), EpochExecutor(is_deaf=True), Script(stops={0: 1}))
    assert [record.state for record in own(run)] == [State.COMPLETE] * 3


def test_a_death_is_a_death_though_it_was_halted(tmp_path: Path) -> None:
    deaths: list[str] = []

    def die_once(architecture: str, task: int) -> Died | None:
        deaths.append(architecture)
        return Died(task, "worker killed by SIGKILL") if len(deaths) == 1 else None

    run, _ = epoch_search.run(config(tmp_path, trials=3), EpochExecutor(fate=die_once), Script(stops={0: 1}))
    failed = next(record for record in run.records if record.state is State.FAILED)
    again = next(r for r in run.records if r.candidate and r.candidate.retry_of == failed.number)
    assert again.state is State.PRUNED, "the next attempt is judged alike"
    assert len(own(run)) == 3


def test_a_pruned_training_is_a_sign_of_life(tmp_path: Path) -> None:
    died: set[str] = set()

    def die_first(architecture: str, task: int) -> Died | None:
        is_first = architecture not in died
        died.add(architecture)
        return Died(task, "worker killed by SIGKILL") if is_first else None

    script = Script(stops=dict.fromkeys(range(8), 1))
    run, ending = epoch_search.run(config(tmp_path, trials=9), EpochExecutor(fate=die_first), script)
    assert ending is Ending.COMPLETE
    assert len(died) == 8, "twice as many as may die in a row"
    assert [record.state for record in own(run)] == [State.COMPLETE] + [State.PRUNED] * 8


def test_a_promoted_candidate_goes_on_and_is_counted_once(tmp_path: Path) -> None:
    executor, script = EpochExecutor(), Script(stops={0: 2}, promotes={0: 3})
    run, ending = epoch_search.run(config(tmp_path, trials=4), executor, script)
    assert ending is Ending.COMPLETE
    name = script.seen[0]
    pruned, promoted = (r for r in run.records if r.candidate and r.candidate.architecture == name)
    assert pruned.state is State.PRUNED
    assert promoted.state is State.COMPLETE
    assert promoted.candidate is not None
    assert promoted.candidate.continues == pruned.number
    assert pruned.continued_by == promoted.number
    assert len(own(run)) == 4
    assert pruned not in own(run)
    epochs = [epoch for each, epoch in executor.trained if each == name]
    assert epochs == [1, 2, 3, 4], "no epoch is trained twice"
    assert [count for each, count in script.asked if each == name] == [1, 2, 3], "nor asked about twice"
    assert len(run.leaderboard()) == 4
    assert [row["continues"] for row in rows(run) if row["architecture"] == name] == ["", str(pruned.number)]


def test_a_promotion_comes_before_what_is_new_and_after_the_budget_is_reached(tmp_path: Path) -> None:
    early = Script(stops={0: 1}, promotes={0: 2})
    run, _ = epoch_search.run(config(tmp_path / "early", trials=5), EpochExecutor(), early)
    assert [record.number for record in run.records if record.candidate and record.candidate.continues == 1] == [2]
    late = Script(stops={0: 1}, promotes={0: 5})
    run, ending = epoch_search.run(config(tmp_path / "late", trials=5), EpochExecutor(), late)
    assert ending is Ending.COMPLETE
    assert [record.number for record in run.records if record.candidate and record.candidate.continues == 1] == [5]
    assert len(own(run)) == 5


def test_a_promoted_candidate_that_is_pruned_again_may_go_on_again(tmp_path: Path) -> None:
    class Twice(Script):
        def after_epoch(self, subject, curve):  # type: ignore[no-untyped-def]
            super().after_epoch(subject, curve)
            return "too slow" if self._place(subject.architecture) == 0 and len(curve) < 3 else None

        def promoted(self, consent=None):  # type: ignore[no-untyped-def]
            last = self.told_of[-1][0] if self.told_of else None
            return None if last is None or last.is_complete else last.subject.number

    executor, script = EpochExecutor(), Twice()
    run, _ = epoch_search.run(config(tmp_path, trials=3), executor, script)
    chain = [r for r in run.records if r.candidate and r.candidate.architecture == script.seen[0]]
    assert [r.state for r in chain] == [State.PRUNED, State.PRUNED, State.COMPLETE]
    assert [r.candidate.continues for r in chain if r.candidate] == [None, 1, 2]
    assert [epoch for name, epoch in executor.trained if name == script.seen[0]] == [1, 2, 3, 4]
    assert [each.number for each in own(run)] == [0, 3, 4]


@pytest.mark.parametrize(
    "pruner",
    ["halving", pytest.param("hyperband", marks=pytest.mark.slow), pytest.param("known-cost", marks=pytest.mark.slow)],
)
def test_a_killed_driver_decides_the_same_afterwards(tmp_path: Path, pruner: str) -> None:
    setting = {"trials": 14, "pruners": [pruner], "rungs": {"first": 1, "factor": 2}}
    whole = EpochExecutor()
    run, _ = epoch_search.run(config(tmp_path / "whole", **setting), whole)
    facts = _facts(run)
    if pruner == "halving":
        assert any(record.continued_by is not None for record in run.records), "somebody is promoted"
        assert {state for _, state, _ in facts} == {State.COMPLETE, State.PRUNED}
    for steps in range(3, len(whole.trained), 9):
        out, executor = tmp_path / str(steps), EpochExecutor(steps_left=steps)
        with pytest.raises(KilledError):
            epoch_search.run(config(out, **setting), executor)
        executor.steps_left = None
        executor.begin_anew()
        resumed, _ = epoch_search.run(config(out, **setting), executor)
        assert _facts(resumed) == facts, f"killed after {steps} epochs"
        assert executor.trained == whole.trained


def _facts(run: Run) -> list[tuple[str, State, int]]:
    return [
        (record.candidate.architecture, record.state, record.partial.epochs if record.partial else NUM_EPOCHS)
        for record in run.records
        if record.candidate and record.state.is_verdict and record.candidate.duplicate_of is None
    ]


def test_a_duplicate_of_a_pruned_candidate_gets_its_verdict(tmp_path: Path) -> None:
    script = Script(stops=dict.fromkeys(range(0, 16, 2), 1))
    run, ending = epoch_search.run(
        config(tmp_path, space=fake_search.TINY_SPACE, trials=50, sampler="tpe"), EpochExecutor(), script
    )
    assert ending is Ending.EXHAUSTED
    repeated = [r for r in run.records if r.candidate and r.candidate.duplicate_of is not None and r.state.is_verdict]
    assert {record.state for record in repeated} == {State.COMPLETE, State.PRUNED}
    for record in repeated:
        assert record.candidate is not None
        assert record.candidate.duplicate_of is not None
        assert record.state is run.records[record.candidate.duplicate_of].state
        assert not record.is_judged


@pytest.mark.parametrize("sampler", ["known-cost", "tpe", "gp", "nsga2", "evolution", "reinforce", "random"])
def test_every_sampler_lives_with_pruned_candidates(tmp_path: Path, sampler: str) -> None:
    setting = {"trials": 16, "pruners": ["known-cost", "halving"], "sampler": sampler, "rungs": {"factor": 2}}
    run, _ = epoch_search.run(config(tmp_path, **setting), EpochExecutor(capacity=2))
    states = [record.state for record in own(run)]
    assert len(states) == 16
    assert {State.COMPLETE, State.PRUNED} == set(states)


class Keeping(EpochExecutor):
    """Writes a file for each training that has begun, and notes whether any is left of those that are told."""

    def __init__(self, config: SearchConfig, script: Script) -> None:
        super().__init__()
        self.config, self.script = config, script
        self.is_left: list[bool] = []

    def events(self, timeout_s: float) -> list[Event]:
        if self.script.told_of:
            self.is_left.append(
                any(self.file(trained.subject.architecture).exists() for trained, _ in self.script.told_of)
            )
        return super().events(timeout_s)

    def train(self, architecture: str, epoch: int) -> None:
        super().train(architecture, epoch)
        self.file(architecture).parent.mkdir(parents=True, exist_ok=True)
        self.file(architecture).touch()

    def file(self, architecture: str) -> Path:
        return checkpoint_folder(self.config) / kept_training(self.config, architecture).file_name(self.config)


def test_checkpoints_stay_while_they_may_be_of_use(tmp_path: Path) -> None:
    promoting, others = config(tmp_path / "one", trials=4), config(tmp_path / "two", trials=4, pruners=["known-cost"])
    executor = Keeping(promoting, Script(stops={0: 1}))
    epoch_search.run(promoting, executor, executor.script)
    assert executor.is_left[-1], "of the pruned one"
    assert not list(checkpoint_folder(promoting).iterdir()), "the search is complete"
    executor = Keeping(others, Script(stops={0: 1}))
    epoch_search.run(others, executor, executor.script)
    assert not any(executor.is_left), "nobody promotes"


def test_what_is_owed_when_the_time_is_over_goes_on_the_next_time(tmp_path: Path) -> None:
    late = config(tmp_path, trials=5, timeout_s=60.0)
    executor = Keeping(late, Script(stops={0: 1}, promotes={0: 5}))
    # When the last of the five ends, so that the pruner asks for the first one again: 4 times 4 epochs and 1.
    loop = partial(StudyLoop, clock=lambda: 61.0 if len(executor.trained) >= 17 else 0.0)
    with mock.patch("nas.search.StudyLoop", loop):
        run, ending = epoch_search.run(late, executor, executor.script)
    assert ending is Ending.TIMEOUT
    assert len(own(run)) == 5
    assert run.records[-1].state is State.WAITING
    assert len(executor.trained) == 17, "nothing is begun any more"
    name = executor.script.seen[0]
    assert executor.file(name).exists()
    run, ending = epoch_search.run(config(tmp_path, trials=5), executor, Script())
    assert ending is Ending.COMPLETE
    assert [record.state for record in run.records] == [State.COMPLETE, State.PRUNED] + [State.COMPLETE] * 4
    assert [epoch for each, epoch in executor.trained if each == name] == [1, 2, 3, 4]
    assert not executor.file(name).exists()


@pytest.mark.slow
def test_a_driver_that_is_killed_at_any_write_decides_the_same_afterwards(tmp_path: Path) -> None:
    setting = {"trials": 14, "rungs": {"factor": 2}}
    whole, count = EpochExecutor(), [0]
    with dying_after(10**9, count):
        run, _ = epoch_search.run(config(tmp_path / "whole", **setting), whole)
    assert any(record.continued_by is not None for record in run.records), "somebody is promoted"
    rng = random.Random(7)
    for writes in sorted(rng.sample(range(5, count[0]), 12)):
        out, executor = tmp_path / str(writes), EpochExecutor()
        with pytest.raises(KilledError), dying_after(writes, [0]):
            epoch_search.run(config(out, **setting), executor)
        executor.begin_anew()
        resumed, ending = epoch_search.run(config(out, **setting), executor)
        assert ending is Ending.COMPLETE
        assert _facts(resumed) == _facts(run), f"seed 7, killed after {writes} writes"
        assert executor.trained == whole.trained


@contextmanager
def dying_after(writes: int, count: list[int]) -> Iterator[None]:
    """Let the study take so many writes and no more, as if its driver were dead; `count` tells how many it took."""

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] > writes:
                raise KilledError
            return method(*args, **kwargs)

        return write

    with ExitStack() as stack:
        for name in (
            "create_new_trial", "set_trial_user_attr", "set_trial_intermediate_value", "set_trial_state_values",
            "set_study_user_attr",
        ):  # fmt: skip
            stack.enter_context(mock.patch.object(DriverStorage, name, counted(getattr(DriverStorage, name))))
        yield
