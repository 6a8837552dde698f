"""Fitting coefficients: which networks are trained, how they are ranked, and that nothing is trained twice."""

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_search
import families
import optuna
import pytest

from nas.evaluation_tasks import AccuracyRecord, Evaluation, Judge
from nas.executors.interface import Died, Done, Infeasible, Progress, Refused, RefusedError
from nas.family import fit_run
from nas.family.budget import parse_request
from nas.family.fit import (
    FitCandidate,
    choose_survivors,
    chosen_entry,
    fit_candidates,
    rank_survivors,
)
from nas.family.fit_loop import FitLoop, FitTraining
from nas.family.fit_run import FitPlan, InterruptedFitError, fit_growth
from nas.family.members import Fit, FitEntry
from nas.family.plan import Planner
from nas.family.source import source_of_run
from nas.reward import Reward
from nas.run import Run, read_run
from nas.run_directory import RunDirectoryError
from nas.storage import load_study
from nas.trials import read_fit_evaluations
from proxies.costs import Costs
from proxies.infeasible import InfeasibleError
from search_spaces.architecture import Architecture
from search_spaces.scaling import Coefficients, coefficient_grid

REWARD = Reward(w=-0.07, v=-0.05, step_time_ref_s=0.1, params_ref=100_000)
Growth = Coefficients | None


def coefficients(alpha: float, beta: float, gamma: float) -> Coefficients:
    return Coefficients(alpha=alpha, beta=beta, gamma=gamma)


def network(width: int) -> Architecture:
    return replace(families.TINY, head_channels=width)


def costs(step_time_s: float | None = 0.2, params: int = 200_000, error: float = 0.0) -> Costs:
    return Costs(step_time_s=step_time_s, step_time_rse=error, params=params, macs=1, peak_memory_bytes=1)


def candidate(growth: Growth, width: int, factor: float = 0.9, rse: float = 0.0) -> FitCandidate:
    return FitCandidate(
        coefficients=growth,
        architecture=network(width),
        step_time_s=0.2,
        step_time_rse=rse,
        params=100_000,
        macs=1_000_000,
        cost_factor=factor,
    )


def trained(*correct: int, num_images: int = 1000, step_time: Any = None) -> list[Evaluation]:
    return [
        Evaluation(
            accuracy=AccuracyRecord(num_correct=count, num_images=num_images, seed=seed, train_seconds=1.0),
            seconds=1.0,
            step_time=step_time if seed == 0 else None,
        )
        for seed, count in enumerate(correct)
    ]


def test_candidates_are_different_networks_with_the_ladders_first() -> None:
    networks = {None: 1, coefficients(2, 1, 1): 2, coefficients(1, 1.4, 1): 1, coefficients(1, 1, 1.4): 2}
    impossible = coefficients(1.5, 1.1, 1)
    found = fit_candidates(
        [*filter(None, networks), impossible],
        lambda growth: network(networks[growth]) if growth in networks else None,
        lambda architecture: costs(step_time_s=0.1 * architecture.head_channels, params=100_000, error=0.03),
        REWARD,
    )
    assert [(each.coefficients, each.architecture) for each in found] == [
        (None, network(1)),
        (coefficients(2, 1, 1), network(2)),
    ]
    assert [each.step_time_s for each in found] == [0.1, 0.2]
    assert [each.step_time_rse for each in found] == [0.03, 0.03]
    assert [each.cost_factor for each in found] == pytest.approx([1.0, 2**-0.07])


def test_candidates_need_step_times() -> None:
    with pytest.raises(ValueError, match="fitting needs step times that are predicted"):
        fit_candidates([], lambda growth: network(1), lambda architecture: costs(None), REWARD)


def shares(found: Coefficients) -> tuple[float, float, float]:
    whole = math.log(found.alpha * found.beta**2 * found.gamma**2)
    return math.log(found.alpha) / whole, 2 * math.log(found.beta) / whole, 2 * math.log(found.gamma) / whole


@pytest.mark.parametrize("count", [2, 4, 6, 10])
def test_survivors_grow_in_different_directions(count: int) -> None:
    """As many as asked for, the ladder's among them, and farther apart than the best by costs alone."""
    grid = list(coefficient_grid())
    everyone = [candidate(None, 1), *(candidate(each, place + 2, 1 / each.gamma) for place, each in enumerate(grid))]
    found = choose_survivors(everyone, count)
    assert len(found) == len({each.architecture for each in found}) == count
    assert found[0].coefficients is None
    best = max(everyone[1:], key=lambda each: each.cost_factor)
    assert best in found
    factors = [each.cost_factor for each in found[1:]]
    assert factors == sorted(factors, reverse=True)
    if count >= 4:
        greedy = sorted(everyone[1:], key=lambda each: -each.cost_factor)[: count - 1]
        assert nearest(found[1:]) > nearest(greedy)


def nearest(candidates: Sequence[FitCandidate]) -> float:
    """Distance of the two that are most alike."""
    points = [shares(each.coefficients) for each in candidates if each.coefficients]
    return min(math.dist(one, other) for place, one in enumerate(points) for other in points[:place])


def test_all_survive_where_there_are_few() -> None:
    few = [candidate(None, 1), candidate(coefficients(2, 1, 1), 2), candidate(coefficients(1, 1.4, 1), 3)]
    assert {each.architecture for each in choose_survivors(few, 10)} == {each.architecture for each in few}
    assert choose_survivors(few[:1], 6) == few[:1]
    assert choose_survivors([], 6) == []
    assert [each.coefficients for each in choose_survivors(few[1:], 2)] != [None], "the ladder may have no network"


def test_of_one_direction_the_best_costs_survive() -> None:
    """Depth alone, five times: nothing can be told apart, so one is trained."""
    alike = [candidate(coefficients(1.9 + 0.05 * step, 1, 1), step + 2, 0.9 - 0.01 * step) for step in range(5)]
    found = choose_survivors([candidate(None, 1), *alike], 4)
    assert [each.cost_factor for each in found] == [0.9, 0.9]
    everyone = [candidate(each, place + 2) for place, each in enumerate(coefficient_grid())]
    assert len(choose_survivors(everyone, len(everyone))) > 20


def test_survivors_are_ranked_by_their_reward() -> None:
    step = fake_search.step_time(1.0)  # 0.1 s, the reference's
    survivors = [candidate(None, 1), candidate(coefficients(2, 1, 1), 2), candidate(coefficients(1, 1.4, 1), 3)]
    evaluations = {str(network(1)): trained(800, 820), str(network(2)): trained(900, 880, step_time=step)}
    entries = rank_survivors(survivors, evaluations, REWARD)
    assert [entry.coefficients for entry in entries] == [coefficients(2, 1, 1), None]
    first, second = entries
    assert (first.accuracy, second.accuracy) == (0.89, 0.81)
    assert first.reward == pytest.approx(0.89)
    assert second.reward == pytest.approx(0.81 * 2**-0.07)
    assert (first.measured_step_time_s, second.measured_step_time_s) == (pytest.approx(0.1), None)
    # Between seeds: both pairs have a variance of 0.0002, and each is a mean of two.
    expected = math.sqrt(0.89 * 0.11 / 1000 + 0.0002 / 2)
    assert first.accuracy_se == pytest.approx(expected, rel=0.01)


def test_an_error_of_a_predicted_step_time_is_an_error_of_the_reward() -> None:
    """R = A · S^w: a relative error of S weighs with |w|."""
    evaluations = {str(network(1)): trained(1000)}
    exact, vague = (
        rank_survivors([candidate(None, 1, rse=rse)], evaluations, REWARD)[0].reward_se for rse in (0.0, 0.2)
    )
    factor = 2**-0.07
    assert vague**2 - exact**2 == pytest.approx((0.07 * 0.2 * factor) ** 2)


def entry(growth: Growth, reward: float, error: float = 0.01) -> FitEntry:
    return FitEntry(
        coefficients=growth,
        architecture=str(network(1)),
        accuracy=reward,
        accuracy_se=error,
        num_trainings=1,
        predicted_step_time_s=0.1,
        measured_step_time_s=None,
        params=1,
        macs=1,
        reward=reward,
        reward_se=error,
    )


@pytest.mark.parametrize(
    ("ladder", "other", "is_left"),
    [(0.80, 0.90, True), (0.80, 0.827, False), (0.80, 0.829, True), (0.90, 0.80, False), (0.85, 0.85, False)],
)
def test_the_ladder_is_left_only_for_what_is_better_beyond_doubt(ladder: float, other: float, is_left: bool) -> None:
    """1.96 · √2 · 0.01 is 0.0277."""
    growth = coefficients(2, 1, 1)
    entries = sorted([entry(None, ladder), entry(growth, other)], key=lambda each: -each.reward)
    assert chosen_entry(entries).coefficients == (growth if is_left else None)


def test_without_the_ladders_training_the_best_is_all_there_is() -> None:
    assert chosen_entry([entry(coefficients(2, 1, 1), 0.5), entry(coefficients(1, 1.4, 1), 0.4)]).reward == 0.5


PLANNED = [
    FitTraining(architecture=str(network(width)), train_size=48, replicate=number)
    for number in (0, 1)
    for width in (1, 2)
]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


class Loop:
    """A loop whose events a test gives."""

    def __init__(self, study: optuna.Study, tmp_path: Path, max_retries: int = 1, is_target_here: bool = True) -> None:
        self.progress: list[tuple[float, int, str]] = []
        self.deaths: list[tuple[FitTraining, Died]] = []
        self.loop = FitLoop(
            study,
            PLANNED,
            config=fake_search.config(tmp_path, max_retries=max_retries),
            preparation=replace(fake_search.PREPARATION, is_target_here=is_target_here),
            on_progress=lambda *told: self.progress.append(told),
            log_death=lambda plan, death: self.deaths.append((plan, death)),
        )

    def tasks(self) -> list[tuple[int, Judge]]:
        found = []
        while (task := self.loop.next_task()) is not None:
            assert isinstance(task.work, Judge)
            found.append((task.number, task.work))
        return found


def test_what_is_asked_of_a_worker(study: optuna.Study, tmp_path: Path) -> None:
    works = [work for _, work in Loop(study, tmp_path).tasks()]
    assert [(work.architecture, work.train_size) for work in works] == [
        (plan.architecture, plan.train_size) for plan in PLANNED
    ]
    assert [work.measure for work in works] == [True, True, False, False], "each network is timed once"
    assert len({work.seed for work in works}) == 4
    assert [work.seed for work in works] == [work.seed for _, work in Loop(study, tmp_path).tasks()]
    assert not any(work.measure for _, work in Loop(study, tmp_path, is_target_here=False).tasks())


def test_what_was_done_is_not_done_again(study: optuna.Study, tmp_path: Path) -> None:
    first = Loop(study, tmp_path)
    first.tasks()
    first.loop.handle(Progress(0, 0.5, "epoch 1/2"))
    first.loop.handle(Done(0, trained(900)[0]))
    first.loop.handle(Infeasible(3, "out of memory"))
    first.loop.abandon(1)
    assert first.progress == [(0.5, 4, "epoch 1/2"), (1.0, 4, ""), (2.0, 4, "")]
    again = Loop(study, tmp_path)
    assert [(work.architecture, number) for number, (_, work) in enumerate(again.tasks())] == [
        (PLANNED[1].architecture, 0),
        (PLANNED[2].architecture, 1),
    ]
    known = read_fit_evaluations(study)
    assert known == {(PLANNED[0].architecture, 0): trained(900)[0], (PLANNED[3].architecture, 1): "out of memory"}


def test_the_dead_are_tried_again_and_then_given_up(study: optuna.Study, tmp_path: Path) -> None:
    one = Loop(study, tmp_path, max_retries=1)
    tasks = one.tasks()
    death = Died(0, "signal 9", "trace")
    one.loop.handle(death)
    assert [(number, work.seed) for number, work in one.tasks()] == [(0, tasks[0][1].seed)]
    assert not read_fit_evaluations(study)
    one.loop.handle(death)
    assert one.tasks() == []
    assert read_fit_evaluations(study) == {(PLANNED[0].architecture, 0): "signal 9"}
    assert one.deaths == [(PLANNED[0], death), (PLANNED[0], death)]


@pytest.mark.parametrize("ratio", [0.0, math.nan, math.inf])
def test_a_clock_that_failed_is_no_result(study: optuna.Study, tmp_path: Path, ratio: float) -> None:
    one = Loop(study, tmp_path)
    one.tasks()
    one.loop.handle(Done(0, trained(900, step_time=fake_search.step_time(ratio))[0]))
    assert "not positive and finite" in str(read_fit_evaluations(study)[PLANNED[0].architecture, 0])


def test_refusals_and_strangers_end_the_fit(study: optuna.Study, tmp_path: Path) -> None:
    one = Loop(study, tmp_path)
    one.tasks()
    with pytest.raises(RefusedError, match="no such images"):
        one.loop.handle(Refused(0, "no such images"))
    with pytest.raises(TypeError, match="an evaluation was expected, got str"):
        one.loop.handle(Done(0, "?"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small search with instant evaluations."""
    path = tmp_path_factory.mktemp("searched") / "run"
    fake_search.run(fake_search.config(path, trials=4, finalists=0, fidelity={"epochs": 1, "resolution": 16}))
    return path


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Run:
    """The search for one test's own."""
    return read_run(shutil.copytree(searched, tmp_path / "run"))


def planner_of(run: Run) -> Planner:
    return families.planner_of(source_of_run(run))


class Trainings:
    """Instant trainings; remembers what was asked for."""

    def __init__(self, judge: Callable[[Judge], object] | None = None) -> None:
        self.works: list[Judge] = []
        self.configs: list[Any] = []
        self._judge = judge

    def __call__(self, config: Any) -> Any:
        self.configs.append(config)
        return fake_search.InlineExecutor(self._evaluate)

    def _evaluate(self, work: object, report: Any) -> object:
        assert isinstance(work, Judge)
        self.works.append(work)
        return self._judge(work) if self._judge else fake_search.evaluate(work, report)


def fitted(run: Run, trainings: Trainings, **plan: Any) -> tuple[Growth, Fit]:
    return fit_growth(run, planner_of(run), FitPlan(**plan), on_progress=lambda *told: None, make_executor=trainings)


def test_a_fit_trains_each_survivor_as_often_as_planned(run: Run) -> None:
    trainings = Trainings()
    chosen, fit = fitted(run, trainings, num_survivors=3, num_trainings=3)
    asked = [work.architecture for work in trainings.works]
    assert len(set(asked)) == 3
    assert all(asked.count(text) == 3 for text in asked)
    assert [entry.num_trainings for entry in fit.entries] == [3] * 3
    assert fit.num_candidates >= 3
    assert [entry.reward for entry in fit.entries] == sorted((entry.reward for entry in fit.entries), reverse=True)
    assert any(entry.coefficients is None for entry in fit.entries)
    assert fit.is_decided == (chosen is not None)
    assert fit.failed == ()
    for found in fit.entries:
        records = [fake_search.accuracy(found.architecture, seed) for seed in range(3)]
        assert found.accuracy == pytest.approx(records[0].accuracy)


def test_trainings_grow_with_the_network_and_steps_are_timed_at_its_own_size(run: Run) -> None:
    """The search trains at 16 pixels what is meant for 32."""
    trainings = Trainings()
    _, fit = fitted(run, trainings, num_survivors=5, num_trainings=1)
    for work in trainings.works:
        resolution = int(work.architecture.rpartition("@")[2])
        assert work.train_size == max(8, round(16 * resolution / 32))
    assert len({work.train_size for work in trainings.works}) > 1
    assert [config.step_time.resolution for config in trainings.configs] == [None]
    assert all(entry.measured_step_time_s for entry in fit.entries)


def test_a_fit_done_again_trains_nothing_and_finds_the_same(run: Run) -> None:
    first = fitted(run, Trainings(), num_survivors=3)
    again = Trainings()
    assert fitted(read_run(run.directory.path), again, num_survivors=3) == first
    assert again.works == []
    more = Trainings()
    fitted(run, more, num_survivors=3, num_trainings=3)
    assert len(more.works) == 3, "one more of each"


def test_an_interrupted_fit_goes_on_where_it_stopped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings()

    @contextmanager
    def stop_after_three() -> Any:
        yield lambda: len(trainings.works) >= 3

    with monkeypatch.context() as patched:
        patched.setattr(fit_run, "stop_on_signals", stop_after_three)
        with pytest.raises(InterruptedFitError):
            fitted(run, trainings, num_survivors=3)
    assert len(trainings.works) == 3
    rest = Trainings()
    result = fitted(run, rest, num_survivors=3)
    assert len(rest.works) == 3
    assert not {(work.architecture, work.seed) for work in rest.works} & {
        (work.architecture, work.seed) for work in trainings.works
    }
    assert result[1].entries


def test_survivors_that_cannot_be_trained_are_told(run: Run) -> None:
    unlucky: list[str] = []

    def judge(work: Judge) -> object:
        unlucky.extend([work.architecture] if not unlucky else [])
        if work.architecture in unlucky:
            raise InfeasibleError("out of memory")
        return fake_search.evaluate(work, lambda *told: None)

    _, fit = fitted(run, Trainings(judge), num_survivors=3)
    assert len(fit.entries) == 2
    assert fit.failed == (f"{unlucky[0]}: out of memory",) * 2


def test_nothing_trained_is_a_line(run: Run) -> None:
    def judge(work: Judge) -> object:
        raise InfeasibleError("out of memory")

    with pytest.raises(RefusedError, match=r"^no scaled network could be trained: .*: out of memory$"):
        fitted(run, Trainings(judge), num_survivors=2)


def test_a_worker_that_refuses_or_dies_leaves_the_directory_free(run: Run) -> None:
    def refuse(work: Judge) -> object:
        raise RefusedError("the images are gone")

    with pytest.raises(RefusedError, match="the images are gone"):
        fitted(run, Trainings(refuse), num_survivors=2)

    def die(work: Judge) -> object:
        raise OSError("the machine went away")

    with pytest.raises(RefusedError, match="the machine went away"):
        fitted(run, Trainings(die), num_survivors=2)
    errors = run.directory.errors_file.read_text(encoding="utf-8")
    assert "the machine went away" in errors
    assert errors.count("fit ") == 4 * (1 + run.config.max_retries)


def test_a_fit_waits_for_no_search(run: Run) -> None:
    with run.directory.locked(), pytest.raises(RunDirectoryError, match="is in use by"):
        fitted(run, Trainings(), num_survivors=2)


def test_a_fit_under_a_budget_compares_the_largest_that_keep_it(run: Run) -> None:
    planner = planner_of(run)
    most = 2 * planner.costs(planner.start.network).params
    request = parse_request(f"m:params={most}")
    _, fit = fitted(run, Trainings(), request=request, num_survivors=4, num_trainings=1)
    assert all(entry.params <= most for entry in fit.entries)
    assert max(entry.params for entry in fit.entries) > 0.8 * most


def test_a_search_goes_on_after_a_fit(run: Run) -> None:
    fitted(run, Trainings(), num_survivors=2)
    changes = {"trials": 6, "finalists": 0, "fidelity": {"epochs": 1, "resolution": 16}}
    again, _ = fake_search.run(fake_search.config(run.directory.path, **changes))
    assert len([record for record in again.records if record.is_judged]) == 6
    assert len(read_fit_evaluations(load_study(again.directory))) == 4


@pytest.mark.parametrize(("correct", "is_left"), [(900, True), (505, False), (300, False)])
def test_the_ladder_is_left_when_another_growth_shows_itself(run: Run, correct: int, is_left: bool) -> None:
    ladder = str(planner_of(run).grown(None))

    def judge(work: Judge) -> object:
        return trained(500 if work.architecture == ladder else correct)[0]

    chosen, fit = fitted(run, Trainings(judge), num_survivors=3)
    assert fit.is_decided == is_left
    assert (chosen == fit.entries[0].coefficients and chosen is not None) == is_left
    assert (chosen is None) != is_left
