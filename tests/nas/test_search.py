"""The loop with instant, deterministic evaluations: budget, duplicates, infeasible ones, deaths, resuming."""

import time
from pathlib import Path
from typing import Any

import fake_search
import pytest

from nas.evaluation_tasks import Inspect, Judge, Retrain
from nas.executors.interface import Event, Interrupted, RefusedError
from nas.recovery import MAX_INTERRUPTIONS
from nas.run import Run, read_run
from nas.run_directory import RunDirectory, RunDirectoryError
from nas.run_lock import CHECK_S, LostLockError, holder_file
from nas.samplers import SAMPLER_NAMES
from nas.storage import load_study
from nas.study import Ending
from nas.trials import State, read_fingerprint, read_records, write_fingerprint
from proxies.infeasible import InfeasibleError


def judged(run: Run) -> list[str]:
    return [record.candidate.architecture for record in run.records if record.is_judged and record.candidate]


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_the_budget_is_reached_exactly_with_different_architectures(tmp_path: Path, sampler: str) -> None:
    run, ending = fake_search.run(fake_search.config(tmp_path / "run", sampler=sampler))
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == len(set(judged(run))) == 12


def test_the_backbone_is_trial_0(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run")
    run, _ = fake_search.run(config)
    first = run.records[0].candidate
    assert first is not None
    assert first.architecture == str(config.search_space().backbone)


def test_the_value_in_the_study_is_the_reward(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run"))
    reward, study = run.reward(), load_study(run.directory)
    for record in run.records:
        if record.outcome is not None:
            outcome = record.outcome
            expected = reward(
                accuracy=outcome.accuracy.accuracy, step_time_s=outcome.step_time_s, params=outcome.params
            )
            assert study.trials[record.number].value == expected


def test_a_small_space_is_exhausted(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", trials=1000, space=fake_search.TINY_SPACE)
    run, ending = fake_search.run(config)
    assert ending is Ending.EXHAUSTED
    assert len(set(judged(run))) == len(run.records) == config.search_space().size


def test_a_duplicate_gets_the_known_verdict_and_costs_no_training(tmp_path: Path) -> None:
    trained: list[str] = []

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge):
            trained.append(work.architecture)
        return fake_search.evaluate(work, report)

    config = fake_search.config(tmp_path / "run", trials=12, space=fake_search.TINY_SPACE, sampler="tpe")
    run, _ = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    duplicates = [record for record in run.records if record.candidate and record.candidate.duplicate_of is not None]
    assert duplicates, "TPE repeats itself on its way to 12 of a space of 16"
    assert len(trained) == len(set(trained)) == 12
    for record in duplicates:
        assert record.candidate is not None
        assert record.outcome == run.records[record.candidate.duplicate_of].outcome  # type: ignore[index]


def test_proposals_of_a_running_architecture_wait_for_its_verdict(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", trials=16, space=fake_search.TINY_SPACE, sampler="tpe")
    run, ending = fake_search.run(config, fake_search.InlineExecutor(capacity=8))
    assert ending in (Ending.COMPLETE, Ending.EXHAUSTED)
    assert {record.state for record in run.records} == {State.COMPLETE}
    assert len(judged(run)) == len(set(judged(run)))


def test_an_infeasible_candidate_counts_and_the_search_goes_on(tmp_path: Path) -> None:
    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge) and "k5" in work.architecture:
            raise InfeasibleError("loss is not finite in epoch 2")
        return fake_search.evaluate(work, report)

    run, ending = fake_search.run(fake_search.config(tmp_path / "run"), fake_search.InlineExecutor(evaluate))
    infeasible = [record for record in run.records if record.state is State.INFEASIBLE]
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == 12
    assert {record.reason for record in infeasible if record.is_judged} == {"loss is not finite in epoch 2"}
    assert all("k5" not in entry.architecture for entry in run.leaderboard())
    trial = load_study(run.directory).trials[infeasible[0].number]
    assert trial.constraints == {"infeasible": 1.0}


@pytest.mark.parametrize("ratio", [0.0, float("nan"), float("inf")])
def test_a_step_time_that_is_no_positive_number_never_becomes_a_value(tmp_path: Path, ratio: float) -> None:
    def evaluate(work: object, report: Any) -> object:
        result: Any = fake_search.evaluate(work, report)
        if isinstance(work, Judge) and "k5" in work.architecture:
            object.__setattr__(result, "step_time", fake_search.step_time(ratio))
        return result

    config = fake_search.config(tmp_path / "run", step_time="measured")
    run, _ = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    reasons = {record.reason for record in run.records if record.state is State.INFEASIBLE and record.reason}
    assert reasons
    assert all("not positive and finite" in reason for reason in reasons)


def test_a_candidate_that_dies_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", max_retries=2)
    unlucky = str(config.search_space().backbone)

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge) and work.architecture == unlucky:
            raise OSError("the worker's machine went away")
        return fake_search.evaluate(work, report)

    run, ending = fake_search.run(config, fake_search.InlineExecutor(evaluate))
    attempts = [r for r in run.records if r.candidate and r.candidate.architecture == unlucky]
    assert [record.state for record in attempts[:3]] == [State.FAILED, State.FAILED, State.INFEASIBLE]
    assert [record.candidate.retry_of for record in attempts[:3] if record.candidate] == [
        None, attempts[0].number, attempts[1].number,
    ]  # fmt: skip
    assert "died 3 times" in (attempts[2].reason or "")
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == 12


def test_a_finished_search_can_be_extended(tmp_path: Path) -> None:
    first, _ = fake_search.run(fake_search.config(tmp_path / "run"))
    again, ending = fake_search.run(fake_search.config(tmp_path / "run", trials=20))
    whole, _ = fake_search.run(fake_search.config(tmp_path / "whole", trials=20))
    assert ending is Ending.COMPLETE
    assert judged(again)[:12] == judged(first)
    assert judged(again) == judged(whole)


def test_running_a_finished_search_again_changes_nothing(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run")
    first, _ = fake_search.run(config)
    executor = fake_search.InlineExecutor()
    again, ending = fake_search.run(config, executor)
    assert ending is Ending.COMPLETE
    assert again.records == first.records
    assert again.replicates == first.replicates


def test_leaders_and_backbone_are_trained_again(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", finalists=2, finalist_seeds=2))
    assert 0 in run.replicates
    assert all(set(further) == {1, 2} for further in run.replicates.values())
    seeds = [training.seed for further in run.replicates.values() for training in further.values()]
    assert len(set(seeds)) == len(seeds)
    assert run.leaderboard()[0].num_trainings == 3


def test_several_objectives_make_a_front(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", objectives=["accuracy", "step_time", "params"]))
    study, outcome = load_study(run.directory), run.records[0].outcome
    assert outcome is not None
    assert study.trials[0].values == [outcome.accuracy.accuracy, outcome.step_time_s, outcome.params]
    assert run.leaderboard()


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("seed", {"seed": 1}),
        ("sampler", {"sampler": "tpe"}),
        ("space.resolution", {"space": fake_search.SPACE | {"resolution": 64}}),
        ("data.source", {"data": {"source": "fashion-mnist"}}),
        ("data.minival_share", {"data": {"minival_share": 0.2}}),
        ("fidelity.epochs", {"fidelity": {"epochs": 3}}),
        ("train.lr", {"train": {"lr": 0.1}}),
        ("step_time.batch_size", {"step_time": {"batch_size": 64}}),
        ("w", {"w": -0.1}),
        ("objectives", {"objectives": ["accuracy", "params"]}),
    ],
)
def test_another_question_is_refused_and_nothing_is_overwritten(
    tmp_path: Path, key: str, changes: dict[str, Any]
) -> None:
    fake_search.run(fake_search.config(tmp_path / "run", trials=2, finalists=0))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.suffix != ".db"}
    with pytest.raises(RunDirectoryError, match=f"another {key}: "):
        fake_search.run(fake_search.config(tmp_path / "run", trials=2, finalists=0, **changes))
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.suffix != ".db"}
    assert after == before


def test_a_run_that_is_older_than_a_field_had_its_default(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=2, finalists=0))
    study = load_study(run.directory)
    written = read_fingerprint(study)
    assert written is not None
    older = {key: value for key, value in written.items() if key not in ("warm_start", "max_params")}
    data = written["data"]
    assert isinstance(data, dict)
    older["data"] = {key: value for key, value in data.items() if key != "corrupt_images"}
    write_fingerprint(study, older)
    fake_search.run(fake_search.config(tmp_path / "run", trials=3, finalists=0))
    with pytest.raises(RunDirectoryError, match=r"another data\.corrupt_images: 'fail', now 'skip'"):
        fake_search.run(
            fake_search.config(tmp_path / "run", trials=3, finalists=0, data={**data, "corrupt_images": "skip"})
        )
    with pytest.raises(RunDirectoryError, match="another max_params: None, now 1000000"):
        fake_search.run(fake_search.config(tmp_path / "run", trials=3, finalists=0, max_params=1_000_000))


def test_changed_images_are_refused_on_resume(tmp_path: Path) -> None:
    from dataclasses import replace

    def evaluate(work: object, report: Any) -> object:
        result = fake_search.evaluate(work, report)
        if isinstance(work, Inspect):
            return replace(fake_search.INSPECTION, data=replace(fake_search.DATA, digest="other"))
        return result

    fake_search.run(fake_search.config(tmp_path / "run", trials=2))
    with pytest.raises(RunDirectoryError, match="images of fake have changed"):
        fake_search.run(fake_search.config(tmp_path / "run", trials=4), fake_search.InlineExecutor(evaluate))


def test_two_searches_on_one_directory(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run")
    directory = RunDirectory(config.out)
    directory.create()
    with directory.locked(), pytest.raises(RunDirectoryError, match=r"in use by process \d+ on "):
        fake_search.run(config)


def test_somebodys_folder_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunDirectoryError, match=r"not empty and holds no run: thesis\.txt"):
        fake_search.run(fake_search.config(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["thesis.txt"]


def test_a_damaged_study_is_refused_untouched(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fake_search.run(fake_search.config(out, trials=2, finalists=0))
    (out / "study.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    before = (out / "study.db").read_bytes()
    with pytest.raises(RunDirectoryError, match=r"cannot use .*study\.db"):
        fake_search.run(fake_search.config(out, trials=4))
    with pytest.raises(RunDirectoryError, match=r"cannot read .*study\.db"):
        read_run(out)
    assert (out / "study.db").read_bytes() == before


def test_a_timeout_ends_the_search_and_it_can_go_on(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path / "run", timeout_s=1e-6)
    run, ending = fake_search.run(config)
    assert ending is Ending.TIMEOUT
    assert judged(run) == []
    run, ending = fake_search.run(fake_search.config(tmp_path / "run"))
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == 12


def test_other_hardware_is_refused_on_resume(tmp_path: Path) -> None:
    from dataclasses import replace

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Inspect):
            return replace(fake_search.INSPECTION, hardware="NVIDIA H100 (cuda)")
        return fake_search.evaluate(work, report)

    fake_search.run(fake_search.config(tmp_path / "run", trials=2))
    with pytest.raises(RunDirectoryError, match=r"was started on fake, now on NVIDIA H100 \(cuda\)"):
        fake_search.run(fake_search.config(tmp_path / "run", trials=4), fake_search.InlineExecutor(evaluate))


def test_a_mistake_before_the_first_trial_may_be_mended(tmp_path: Path) -> None:
    def refuse(work: object, report: Any) -> object:
        raise RefusedError("imagefolder must name a folder, got /phots")

    executor = fake_search.InlineExecutor(refuse)
    with pytest.raises(RefusedError, match="phots"):
        fake_search.run(fake_search.config(tmp_path / "run", data={"source": "imagefolder:/phots"}), executor)
    run, ending = fake_search.run(fake_search.config(tmp_path / "run", data={"source": "imagefolder:/photos"}))
    assert ending is Ending.COMPLETE
    assert run.config.data.source == "imagefolder:/photos"


def test_workers_and_reading_may_change_on_resume(tmp_path: Path) -> None:
    fake_search.run(fake_search.config(tmp_path / "run", trials=2))
    changes = {"workers": 2, "data": {"num_workers": 7, "memory_limit_gib": 1.0}, "timeout_s": 100.0}
    run, ending = fake_search.run(fake_search.config(tmp_path / "run", trials=4, **changes))
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == 4


def test_owed_attempts_do_not_exceed_a_lowered_budget(tmp_path: Path) -> None:
    calls = iter(range(100))

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge) and next(calls) == 3:
            raise KeyboardInterrupt
        return fake_search.evaluate(work, report)

    with pytest.raises(KeyboardInterrupt):
        fake_search.run(fake_search.config(tmp_path / "run", trials=6), fake_search.InlineExecutor(evaluate))
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=3))
    assert len(judged(run)) == 3
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=6))
    assert len(judged(run)) == 6


def test_a_retraining_that_diverges_is_recorded_once(tmp_path: Path) -> None:
    asked: list[Retrain] = []

    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Retrain):
            asked.append(work)
            raise InfeasibleError("loss is not finite in epoch 1")
        return fake_search.evaluate(work, report)

    for _ in range(2):
        run, ending = fake_search.run(fake_search.config(tmp_path / "run"), fake_search.InlineExecutor(evaluate))
        assert ending is Ending.COMPLETE
    assert len(asked) == 3, "two leaders and the backbone, one further training each, and none at the second start"
    assert {entry.num_trainings for entry in run.leaderboard()} == {1}


def test_an_exhausted_search_stays_so_and_writes_nothing_more(tmp_path: Path) -> None:
    """TPE may be taken for exhausted before it has found every member."""
    config = fake_search.config(tmp_path / "run", trials=1000, space=fake_search.TINY_SPACE, sampler="tpe")
    first, _ = fake_search.run(config)
    again, ending = fake_search.run(config)
    assert ending is Ending.EXHAUSTED
    assert len(again.records) == len(first.records)


def test_tracebacks_are_kept(tmp_path: Path) -> None:
    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge) and "k5" in work.architecture:
            raise KeyError("a bug")
        return fake_search.evaluate(work, report)

    run, _ = fake_search.run(fake_search.config(tmp_path / "run"), fake_search.InlineExecutor(evaluate))
    assert "KeyError('a bug')" in run.directory.errors_file.read_text()


def test_a_search_whose_directory_another_host_has_taken_writes_nothing_more(tmp_path: Path) -> None:
    out = tmp_path / "run"
    count = 0

    def evaluate(work: object, report: Any) -> object:
        nonlocal count
        count += isinstance(work, Judge)
        if count == 5:
            time.sleep(CHECK_S)  # so long the last look is trusted
            holder_file(out).write_text('{"host": "node7", "pid": 1, "since": "now", "token": "theirs"}')
        return fake_search.evaluate(work, report)

    with pytest.raises(LostLockError, match="taken over by process 1 on node7"):
        fake_search.run(fake_search.config(out), fake_search.InlineExecutor(evaluate))
    holder = holder_file(out).read_text()
    assert "theirs" in holder, "the other host's lock is left alone"
    records = read_records(load_study(RunDirectory(out)))
    assert [record.state for record in records] == [State.COMPLETE] * 4 + [State.RUNNING]
    holder_file(out).unlink()
    run, _ = fake_search.run(fake_search.config(out))
    assert len(judged(run)) == 12


def test_where_all_workers_die_the_search_ends_and_can_go_on_when_that_is_mended(tmp_path: Path) -> None:
    def evaluate(work: object, report: Any) -> object:
        if isinstance(work, Judge) and count_of(work) > 2:
            raise OSError("uncorrectable error")
        return fake_search.evaluate(work, report)

    seen: dict[str, int] = {}

    def count_of(work: Judge) -> int:
        return seen.setdefault(work.architecture, len(seen) + 1)

    with pytest.raises(RefusedError, match=r"workers died over 5 candidates in a row, last: OSError.*uncorrectable"):
        fake_search.run(fake_search.config(tmp_path / "run"), fake_search.InlineExecutor(evaluate))
    records = read_records(load_study(RunDirectory(tmp_path / "run")))
    assert sum(record.state is State.COMPLETE for record in records) == 2
    assert State.RUNNING not in {record.state for record in records}
    run, ending = fake_search.run(fake_search.config(tmp_path / "run"))
    assert ending is Ending.COMPLETE
    assert len(judged(run)) == 12


def test_a_candidate_that_is_interrupted_for_ever_is_given_up(tmp_path: Path) -> None:
    class Interrupting(fake_search.InlineExecutor):
        def events(self, timeout_s: float) -> list[Event]:
            task, work = self.tasks[0]
            if isinstance(work, Judge) and work.architecture == unlucky:
                self.tasks.pop(0)
                return [Interrupted(task)]
            return super().events(timeout_s)

    config = fake_search.config(tmp_path / "run", trials=3)
    unlucky = str(config.search_space().backbone)
    run, ending = fake_search.run(config, Interrupting())
    assert ending is Ending.COMPLETE
    attempts = [record for record in run.records if record.candidate and record.candidate.architecture == unlucky]
    assert [record.state for record in attempts] == [State.FAILED] * MAX_INTERRUPTIONS + [State.INFEASIBLE]
    assert attempts[-1].reason == f"was interrupted {MAX_INTERRUPTIONS + 1} times"
