"""A search whose step times are predicted: the table comes beside the first candidates, and finalists are timed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import fake_search
import pandas as pd
import pytest

from nas.evaluation_tasks import Calibrate, Evaluation, Judge, Measure, Measurement, Prepare, Retrain
from nas.executors.interface import RefusedError
from nas.observer import Observer
from nas.run import Run
from nas.run_directory import RunDirectory
from nas.storage import load_study
from nas.study import Ending
from nas.trials import State, TrialRecord, read_records
from proxies.complexity import count_macs
from proxies.infeasible import InfeasibleError
from proxies.memory import predict_peak_memory
from proxies.step_time_table import StepTimeTable, load_table
from search_spaces.architecture import parse

GIB = 2**30
Answer = Callable[[object, Any], object]


def recorded(work_seen: list[object], answer: Answer = fake_search.evaluate) -> Answer:
    def evaluate(work: object, report: Any) -> object:
        work_seen.append(work)
        return answer(work, report)

    return evaluate


def run(config: Any, answer: Answer = fake_search.evaluate) -> tuple[Run, list[object]]:
    """The run, and what its workers were asked."""
    seen: list[object] = []
    found, _ = fake_search.run(config, fake_search.InlineExecutor(recorded(seen, answer)))
    return found, seen


def of_kind(seen: list[object], kind: type) -> list[Any]:
    return [work for work in seen if isinstance(work, kind)]


def outcomes(run: Run) -> list[TrialRecord]:
    return [record for record in run.records if record.is_judged and record.outcome]


def test_step_times_are_predicted_by_default(tmp_path: Path) -> None:
    found, seen = run(fake_search.config(tmp_path / "run"))
    assert len(of_kind(seen, Calibrate)) == 1
    assert not any(work.measure for work in of_kind(seen, Judge))
    for record in outcomes(found):
        assert record.candidate is not None
        assert record.outcome is not None
        predicted = fake_search.TABLE.predict(parse(record.candidate.architecture))
        assert record.outcome.step_time is None
        assert record.outcome.step_time_s == predicted.median_s
        assert record.outcome.step_time_rse == predicted.relative_standard_error


class Watcher(Observer):
    def __init__(self) -> None:
        self.said: list[object] = []

    def calibrated(self, table: StepTimeTable) -> None:
        self.said.append("table")

    def finished(self, record: TrialRecord, reward: float | None, *, judged: int) -> None:
        self.said.append(record.number)


class LateCalibration(fake_search.InlineExecutor):
    """Answers the calibration only when nothing else can be done, or after so many other tasks."""

    def __init__(self, after: int) -> None:
        super().__init__(capacity=after + 1)
        self._others = after

    def events(self, timeout_s: float) -> list[Any]:
        if len(self.tasks) > 1 and isinstance(self.tasks[0][1], Calibrate) and self._others:
            self._others -= 1
            self.tasks.append(self.tasks.pop(0))
            event = super().events(timeout_s)
            self.tasks.insert(0, self.tasks.pop())
            return event
        return super().events(timeout_s)


def test_verdicts_wait_for_the_table_and_are_told_when_it_comes(tmp_path: Path) -> None:
    watcher = Watcher()
    config = fake_search.config(tmp_path / "run", finalists=0)
    found, ending = fake_search.run(config, LateCalibration(after=3), watcher)
    assert ending is Ending.COMPLETE
    assert watcher.said[0] == "table"
    assert len(outcomes(found)) == 12
    at_once, _ = run(fake_search.config(tmp_path / "other", finalists=0))
    assert {r.candidate for r in outcomes(found)[:3]} == {r.candidate for r in outcomes(at_once)[:3]}


def test_what_waits_for_a_table_that_never_comes_is_left_to_the_next_start(tmp_path: Path) -> None:
    def answer(work: object, report: Any) -> object:
        if isinstance(work, Calibrate):
            raise InfeasibleError("out of memory")
        return fake_search.evaluate(work, report)

    executor = LateCalibration(after=2)
    executor._evaluate = answer
    config = fake_search.config(tmp_path / "run", finalists=0)
    with pytest.raises(RefusedError, match=r"^step times cannot be calibrated: out of memory$"):
        fake_search.run(config, executor)
    states = [record.state for record in read_records(load_study(RunDirectory(tmp_path / "run")))]
    assert states.count(State.FAILED) >= 2
    assert State.RUNNING not in states
    found, ending = fake_search.run(config)
    assert ending is Ending.COMPLETE
    assert len(outcomes(found)) == 12


def test_a_calibration_that_dies_is_made_again(tmp_path: Path) -> None:
    deaths = iter([True, True, False])

    def answer(work: object, report: Any) -> object:
        if isinstance(work, Calibrate) and next(deaths):
            raise OSError("the worker's machine went away")
        return fake_search.evaluate(work, report)

    found, seen = run(fake_search.config(tmp_path / "run", max_retries=2), answer)
    assert len(of_kind(seen, Calibrate)) == 3
    assert len(outcomes(found)) == 12


@pytest.mark.parametrize(
    ("error", "attempts"), [(OSError("it went away"), 2), (InfeasibleError("out of memory"), 1)]
)  # fmt: skip
def test_a_calibration_that_keeps_failing_ends_the_search_in_one_line(
    tmp_path: Path, error: Exception, attempts: int
) -> None:
    def answer(work: object, report: Any) -> object:
        if isinstance(work, Calibrate):
            calls.append(work)
            raise error
        return fake_search.evaluate(work, report)

    calls: list[object] = []
    with pytest.raises(RefusedError, match=r"^step times cannot be calibrated: .*(it went away|out of memory)"):
        run(fake_search.config(tmp_path / "run", max_retries=1), answer)
    assert len(calls) == attempts
    found, _ = run(fake_search.config(tmp_path / "run", max_retries=1))
    assert len(outcomes(found)) == 12, "and it can be resumed"


def test_a_resumed_search_calibrates_nothing_again(tmp_path: Path) -> None:
    first, _ = run(fake_search.config(tmp_path / "run", trials=4))
    again, seen = run(fake_search.config(tmp_path / "run", trials=12))
    assert of_kind(seen, Calibrate) == of_kind(seen, Prepare) == []
    assert again.tables == first.tables == (fake_search.TABLE,)
    whole, _ = run(fake_search.config(tmp_path / "whole", trials=12))
    assert [r.outcome for r in outcomes(again)] == [r.outcome for r in outcomes(whole)]


def test_the_table_lies_in_the_run_directory(tmp_path: Path) -> None:
    found, _ = run(fake_search.config(tmp_path / "run"))
    text = (tmp_path / "run" / "step_time_table.json").read_text(encoding="utf-8")
    assert load_table(text, "the file") == found.tables[0] == fake_search.TABLE


def test_step_times_can_be_measured_candidate_by_candidate(tmp_path: Path) -> None:
    found, seen = run(fake_search.config(tmp_path / "run", step_time="measured"))
    assert of_kind(seen, Calibrate) == []
    assert all(work.measure for work in of_kind(seen, Judge))
    assert found.tables == ()
    assert not (tmp_path / "run" / "step_time_table.json").exists()
    for record in outcomes(found):
        assert record.outcome is not None
        assert record.outcome.step_time is not None
        assert record.outcome.step_time_s == record.outcome.step_time.median_s


def test_multiply_adds_can_stand_in_for_step_time(tmp_path: Path) -> None:
    found, seen = run(fake_search.config(tmp_path / "run", step_time="macs"))
    assert of_kind(seen, Calibrate) == []
    per_mac = [
        record.outcome.step_time_s / count_macs(parse(record.candidate.architecture), num_classes=10, in_channels=1)
        for record in outcomes(found)
        if record.outcome and record.candidate
    ]
    assert per_mac == pytest.approx([per_mac[0]] * len(per_mac))
    assert outcomes(found)[0].outcome.step_time_s == fake_search.PREPARATION.step_time_ref_s  # type: ignore[union-attr]
    assert of_kind(seen, Measure), "finalists are measured in any case"


def test_the_method_alone_may_be_given(tmp_path: Path) -> None:
    short = fake_search.config(tmp_path / "run", step_time="predicted")
    assert short == fake_search.config(tmp_path / "run", step_time={"method": "predicted"})
    with pytest.raises(ValueError, match=r"step_time\.method"):
        fake_search.config(tmp_path / "run", step_time="guessed")


def test_what_does_not_fit_into_memory_is_never_launched(tmp_path: Path) -> None:
    needs = peaks(fake_search.config(tmp_path))
    limit = sorted(needs.values())[len(needs) // 2]
    config = fake_search.config(tmp_path / "run", max_memory_gib=limit / GIB, trials=20)
    found, seen = run(config)
    launched = {work.architecture for work in of_kind(seen, Judge)}
    assert launched
    assert all(needs[text] <= limit for text in launched)
    refused = [r for r in found.records if r.state is State.INFEASIBLE and r.is_judged and r.candidate]
    assert refused
    assert all(needs[r.candidate.architecture] > limit for r in refused if r.candidate)
    assert all(
        "a training step would hold" in r.reason and "max_memory_gib is" in r.reason for r in refused if r.reason
    )
    assert len([r for r in found.records if r.is_judged]) == 20


def test_what_does_not_fit_can_be_trained_in_parts(tmp_path: Path) -> None:
    needs = peaks(fake_search.config(tmp_path))
    limit = sorted(needs.values())[len(needs) // 2]
    changes = {"max_memory_gib": limit / GIB, "out_of_memory": "micro_batches"}
    found, seen = run(fake_search.config(tmp_path / "run", trials=20, **changes), micro_batched)
    in_parts = [work for work in of_kind(seen, Judge) if needs[work.architecture] > limit]
    assert in_parts
    assert {work.micro_batches for work in of_kind(seen, Judge) if work not in in_parts} == {1}
    assert all(work.micro_batches > 1 and work.measure for work in in_parts), "of a batch in parts no table knows"
    recorded_parts = {r.candidate.architecture: r.outcome for r in outcomes(found) if r.candidate}
    for work in in_parts:
        outcome = recorded_parts[work.architecture]
        assert outcome is not None
        assert outcome.micro_batches == work.micro_batches
        assert outcome.step_time is not None
        assert outcome.peak_memory_bytes <= limit
        assert outcome.peak_memory_bytes == peak(work.architecture, work.micro_batches)


def micro_batched(work: object, report: Any) -> object:
    """As a worker answers: what it timed says into how many parts a batch was split."""
    result = fake_search.evaluate(work, report)
    if isinstance(work, Judge | Measure) and isinstance(result, Evaluation | Measurement) and result.step_time:
        return replace(result, step_time=replace(result.step_time, micro_batches=work.micro_batches))
    return result


def peak(architecture: str, micro_batches: int = 1) -> int:
    return predict_peak_memory(
        parse(architecture),
        batch_size=32,
        mode=fake_search.TABLE.workload.mode,
        num_classes=10,
        in_channels=1,
        micro_batches=micro_batches,
    )


def peaks(config: Any) -> dict[str, int]:
    """Memory of every member of the fake space."""
    space = config.search_space()
    members = (
        space.from_params(dict(zip(space.choices, chosen, strict=True))) for chosen in product(*space.choices.values())
    )
    return {str(member): peak(str(member)) for member in members}


def off_by(factors: dict[str, float]) -> Answer:
    """Finalists that take so many times what was predicted; others exactly that."""

    def answer(work: object, report: Any) -> object:
        if isinstance(work, Measure):
            predicted = fake_search.TABLE.predict(parse(work.architecture)).median_s
            ratio = factors.get(work.architecture, 1.0) * predicted / 0.1
            return Measurement(step_time=fake_search.step_time(ratio), peak_memory_bytes=10**6)
        return fake_search.evaluate(work, report)

    return answer


def test_finalists_are_measured_and_ranked_anew(tmp_path: Path) -> None:
    plain, _ = run(fake_search.config(tmp_path / "plain"), off_by({}))
    leader, second = plain.leaderboard()[:2]
    factor = (leader.reward / second.reward) ** (1 / 0.07) * 1.5
    found, seen = run(fake_search.config(tmp_path / "run"), off_by({leader.architecture: factor}))
    board = found.leaderboard()
    assert board[0].architecture == second.architecture
    assert board[0].surprise == pytest.approx(0.0)
    slow = next(entry for entry in board if entry.architecture == leader.architecture)
    assert slow.surprise == pytest.approx(factor - 1)
    assert slow.step_time_s == pytest.approx(factor * slow.predicted_step_time_s)
    backbone = str(found.config.search_space().backbone)
    assert {work.architecture for work in of_kind(seen, Measure)} == {
        leader.architecture,
        second.architecture,
        backbone,
    }
    first_training = next(place for place, work in enumerate(seen) if isinstance(work, Retrain))
    assert not any(isinstance(work, Measure) for work in seen[first_training:]), "timed first, while nothing trains"


def test_a_measurement_that_fails_leaves_the_prediction(tmp_path: Path) -> None:
    def answer(work: object, report: Any) -> object:
        if isinstance(work, Measure):
            raise InfeasibleError("out of memory")
        return fake_search.evaluate(work, report)

    config = fake_search.config(tmp_path / "run")
    found, _ = run(config, answer)
    assert found.measurements == {}
    assert set(found.failed_measurements.values()) == {"out of memory"}
    leader = found.leaderboard()[0]
    assert leader.measurement is None
    assert leader.step_time_s == leader.predicted_step_time_s
    _, seen = run(config)
    assert seen[1:] == [], "what failed is not tried at every start"


@pytest.mark.parametrize("ratio", [0.0, float("nan"), float("inf")])
def test_a_measurement_that_is_no_positive_number_is_a_failed_one(tmp_path: Path, ratio: float) -> None:
    def answer(work: object, report: Any) -> object:
        if isinstance(work, Measure):
            return Measurement(step_time=fake_search.step_time(ratio))
        return fake_search.evaluate(work, report)

    found, _ = run(fake_search.config(tmp_path / "run"), answer)
    assert found.measurements == {}
    assert all("not positive and finite" in reason for reason in found.failed_measurements.values())


def test_only_what_is_missing_is_measured_on_resume(tmp_path: Path) -> None:
    def interrupted(work: object, report: Any) -> object:
        if isinstance(work, Measure):
            measured.append(work.architecture)
            if len(measured) == 2:
                raise KeyboardInterrupt
        return fake_search.evaluate(work, report)

    measured: list[str] = []
    config = fake_search.config(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run(config, interrupted)
    found, seen = run(config)
    assert {work.architecture for work in of_kind(seen, Measure)}.isdisjoint(measured[:1])
    assert len(of_kind(seen, Measure)) == len(found.measurements) - 1 == 2


def test_the_death_of_a_finalists_task_is_kept_with_its_traceback(tmp_path: Path) -> None:
    def answer(work: object, report: Any) -> object:
        if isinstance(work, Measure | Retrain):
            raise KeyError(f"a bug in {type(work).__name__}")
        return fake_search.evaluate(work, report)

    found, _ = run(fake_search.config(tmp_path / "run", max_retries=0), answer)
    text = found.directory.errors_file.read_text(encoding="utf-8")
    assert "a bug in Measure" in text
    assert "a bug in Retrain" in text
    assert f"trial {found.leaderboard()[0].number}: " in text


def test_trials_csv_says_what_was_predicted_and_what_measured(tmp_path: Path) -> None:
    found, _ = run(fake_search.config(tmp_path / "run", step_time={"inference": True}), with_inference)
    frame = pd.read_csv(tmp_path / "run" / "trials.csv").set_index("number")
    judged = frame[frame["state"] == "complete"]
    assert not judged["step_time_is_measured"].any()
    assert set(frame.index[frame["measured_step_time_s"].notna()]) == set(found.measurements)
    for number, measurement in found.measurements.items():
        assert frame.loc[number, "measured_step_time_s"] == pytest.approx(measurement.step_time.median_s)
        assert frame.loc[number, "inference_step_time_s"] == pytest.approx(0.03)
    for number, row in judged.iterrows():
        predicted = fake_search.TABLE.predict(parse(row["architecture"]))
        assert row["step_time_s"] == pytest.approx(predicted.median_s), number
        assert row["step_time_rse"] == pytest.approx(predicted.relative_standard_error)
        assert row["peak_memory_bytes"] == peak(row["architecture"])
        assert row["micro_batches"] == 1


def with_inference(work: object, report: Any) -> object:
    result = fake_search.evaluate(work, report)
    return replace(result, inference=fake_search.step_time(0.3)) if isinstance(result, Measurement) else result


def test_a_measured_search_says_so_in_trials_csv(tmp_path: Path) -> None:
    run(fake_search.config(tmp_path / "run", step_time="measured"))
    frame = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert frame.loc[frame["state"] == "complete", "step_time_is_measured"].all()
