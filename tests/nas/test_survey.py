"""A search on several machines: the same images, one meaning of step time, and what the report says of each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_search
import pytest

from nas.evaluation_tasks import Calibrate, Inspect, Inspection, Judge, Measure, Prepare, demand_of
from nas.executors.interface import Demand, Died, Done, Event, Interrupted, Refused, RefusedError, Report, Started
from nas.report.page import render
from nas.run import Run
from nas.survey import Survey
from search_spaces.space_file import space_from_mapping

PLACES = ("a", "b", "c")


class Cluster(fake_search.InlineExecutor):
    """Three machines; a trial runs on the one its number falls to."""

    places = PLACES

    def __init__(self, inspections: Callable[[Inspect], Inspection]) -> None:
        self.works: list[object] = []

        def evaluate(work: object, report: Report) -> object:
            self.works.append(work)
            if isinstance(work, Calibrate) and work.target == "slow":
                return fake_search.table(space_from_mapping(fake_search.SPACE), salt="slow")
            return inspections(work) if isinstance(work, Inspect) else fake_search.evaluate(work, report)

        super().__init__(evaluate)

    def events(self, timeout_s: float) -> list[Event]:
        task, _ = self.tasks[0]
        return [Started(task, PLACES[task % 3]), *super().events(timeout_s)]


def alike(work: Inspect) -> Inspection:
    """Machines of one kind, the third of which is slow."""
    canary_s = {"a": 0.050, "b": 0.051, "c": 0.064}[work.place or "a"]
    return replace(fake_search.INSPECTION, canary_s=canary_s if work.with_canary else None)


def search(tmp_path: Path, executor: Cluster, **changes: object) -> Run:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", executor="ray", **changes), executor)
    return run


def test_every_machine_is_looked_at_once_and_the_report_tells_of_it(tmp_path: Path) -> None:
    cluster = Cluster(alike)
    run = search(tmp_path, cluster)
    looks = [work for work in cluster.works if isinstance(work, Inspect)]
    assert looks == [Inspect(with_canary=True), *(Inspect(place=place, with_canary=True) for place in "bc")]
    assert [(machine.place, machine.canary_s) for machine in run.machines] == [("a", 0.050), ("b", 0.051), ("c", 0.064)]
    trained = [record.outcome.where for record in run.records if record.outcome]
    assert trained == [PLACES[record.number % 3] for record in run.records if record.outcome]
    page = render(run)
    assert "c is 25% slower than its like" in page
    assert "a is" not in page.split('id="machines"')[1].split("</section>")[0]


def test_one_machine_is_not_surveyed(tmp_path: Path) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run"))
    assert run.machines == ()
    assert 'id="machines"' not in render(run)


def test_other_images_on_a_machine_are_refused(tmp_path: Path) -> None:
    def inspect(work: Inspect) -> Inspection:
        found = alike(work)
        return replace(found, data=replace(found.data, digest="other")) if work.place == "b" else found

    with pytest.raises(RefusedError, match="the images of fake on b are not those of the other machines"):
        search(tmp_path, Cluster(inspect))


def of_two_kinds(work: Inspect) -> Inspection:
    is_fast = work.place == "c" or work.target == "fast"
    return replace(alike(work), hardware="fast" if is_fast else "slow")


def test_machines_that_differ_need_a_target(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"machines of this cluster differ \(slow; c: fast\).*step_time.targets"):
        search(tmp_path, Cluster(of_two_kinds))
    cluster = Cluster(of_two_kinds)
    search(tmp_path / "told", cluster, step_time={"targets": "fast"})
    assert sum(isinstance(work, Calibrate) for work in cluster.works) == 1


def test_several_targets_are_calibrated_each_before_the_first_candidate(tmp_path: Path) -> None:
    cluster = Cluster(of_two_kinds)
    targets = [{"resource": "fast", "weight": 3.0}, "slow"]
    run = search(tmp_path, cluster, step_time={"targets": targets})
    kinds = [type(work) for work in cluster.works]
    assert [work.target for work in cluster.works if isinstance(work, Calibrate)] == ["fast", "slow"]
    assert [work.target for work in cluster.works if isinstance(work, Prepare)] == ["fast", "slow", None]
    assert max(i for i, kind in enumerate(kinds) if kind is Calibrate) < kinds.index(Judge)
    assert Measure not in kinds, "of a mean over several devices no visit tells"
    assert len(run.tables) == 2
    space = space_from_mapping(fake_search.SPACE)
    of_backbone = [table.predict(space.backbone).median_s for table in run.tables]
    for record in run.records:
        if record.outcome and record.candidate:
            each = [table.predict(space.from_params(record.params)).median_s for table in run.tables]
            ratios = [seconds / reference for seconds, reference in zip(each, of_backbone, strict=True)]
            expected = of_backbone[0] * ratios[0] ** 0.75 * ratios[1] ** 0.25
            assert record.outcome.step_time_s == pytest.approx(expected)
    assert each[0] != each[1]


def test_what_is_timed_is_timed_where_it_counts(tmp_path: Path) -> None:
    config = fake_search.config(tmp_path, executor="ray", step_time={"targets": "fast"})
    prepared = fake_search.PREPARATION
    judge = Judge(architecture="", seed=0, preparation=prepared, measure=False)
    assert demand_of(config, judge) == Demand()
    assert demand_of(config, replace(judge, measure=True)) == Demand(resource="fast")
    assert demand_of(config, Calibrate(preparation=prepared)) == Demand(resource="fast", alone=True)
    assert demand_of(config, Calibrate(preparation=prepared, target="slow")) == Demand(resource="slow", alone=True)
    assert demand_of(config, Measure(architecture="", preparation=prepared)) == Demand(resource="fast", alone=True)
    assert demand_of(config, Inspect()) == Demand(resource="fast")
    assert demand_of(config, Inspect(place="b")) == Demand(place="b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_time": {"targets": "fast"}}, "machines of a Ray cluster, got executor local"),
        ({"executor": "ray", "step_time": {"targets": ["a", "b"], "method": "macs"}}, "method must be, got macs"),
        (
            {"executor": "ray", "step_time": {"targets": "a", "tables": [{"file": "t.json"}]}},
            "either tables or targets",
        ),
    ],
)
def test_targets_that_make_no_sense(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fake_search.config(tmp_path, **changes)


class TestSurvey:
    """Of the machines a and b, when a is known, and others come and go."""

    def setup_method(self) -> None:
        self.places = ["a", "b"]
        self.found: list[list[str]] = []
        self.survey = Survey(
            ("a", alike(Inspect())),
            places=lambda: self.places,
            may_differ=False,
            max_retries=1,
            on_found=lambda machines: self.found.append([machine.place for machine in machines]),
        )

    def look(self) -> tuple[int, str]:
        task = self.survey.next_task()
        assert task is not None
        assert isinstance(task.work, Inspect)
        assert task.work.place is not None
        assert task.number in self.survey
        return task.number, task.work.place

    def test_each_is_looked_at_once_whenever_it_comes(self) -> None:
        number, place = self.look()
        assert place == "b"
        assert self.survey.next_task() is None
        self.survey.handle(Done(number, alike(Inspect(place="b"))))
        assert self.survey.next_task() is None
        self.places.append("c")
        number, place = self.look()
        self.survey.handle(Done(number, alike(Inspect(place="c"))))
        assert self.found == [["a", "b"], ["a", "b", "c"]]

    def test_one_that_is_lost_takes_no_part_until_it_is_back(self) -> None:
        number, _ = self.look()
        self.places.remove("b")
        self.survey.handle(Interrupted(number, lost_node=True))
        assert self.survey.next_task() is None
        self.places.append("b")
        assert self.look()[1] == "b"

    def test_one_whose_workers_die_is_named(self) -> None:
        self.survey.handle(Died(self.look()[0], "worker killed by SIGKILL"))
        with pytest.raises(RefusedError, match="workers on b die: worker killed by SIGKILL"):
            self.survey.handle(Died(self.look()[0], "worker killed by SIGKILL"))

    def test_one_that_cannot_do_its_part_is_named(self) -> None:
        with pytest.raises(RefusedError, match="on b: no such folder: /photos"):
            self.survey.handle(Refused(self.look()[0], "no such folder: /photos"))


def test_a_machine_that_joins_with_other_images_ends_the_search(tmp_path: Path) -> None:
    def inspect(work: Inspect) -> Inspection:
        return replace(
            alike(Inspect()), data=replace(fake_search.DATA, digest="other" if work.place == "late" else "d")
        )

    trained = 0

    class Growing(Cluster):
        @property
        def places(self) -> tuple[str, ...]:  # type: ignore[override]
            return ("a", "late") if trained > 3 else ("a",)

    cluster = Growing(inspect)
    evaluate = cluster._evaluate

    def counted(work: object, report: Report) -> object:
        nonlocal trained
        trained += isinstance(work, Judge)
        return evaluate(work, report)

    cluster._evaluate = counted
    with pytest.raises(RefusedError, match="the images of fake on late are not those of the other machines"):
        search(tmp_path, cluster)
    assert trained == 4
