"""What the report says of the model: against refits, samples, and runs whose truth was made up."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import plotly.graph_objects as go
import pytest
from scipy.stats import kendalltau

from nas.evaluation_tasks import AccuracyRecord
from nas.opinion import MIN_TRIALS, Opinion
from nas.report.belief_section import belief_figures, belief_section
from nas.report.exchanges import change, exchanges_figure, interval, verdict
from nas.report.findings import Findings
from nas.report.held_out import held_out_figure
from nas.report.page import render
from nas.reward import Reward
from nas.run import Run
from nas.samplers.accuracy_model import AccuracyModel, Trained
from nas.samplers.descriptors import Descriptor
from nas.samplers.exchanges import exchanges
from nas.samplers.gaussian_process import Hyperparameters, Posterior, expected
from nas.samplers.knowledge import Knowledge
from nas.samplers.problem import Problem
from nas.trials import EarlierResults, TrialRecord
from proxies.complexity import count_params
from proxies.costs import CostArrays, Encoded, MemberCosts
from search_spaces.architecture import Architecture, parse
from search_spaces.space import SearchSpace
from search_spaces.space_file import space_from_mapping

REWARD = Reward(step_time_ref_s=0.1, params_ref=100_000)
SPACE = space_from_mapping(
    {
        "resolution": 32,
        "stem_channels": 8,
        "head_channels": 32,
        "stages": [
            {"out_channels": 8, "stride": 1, "num_repeats": [1, 2, 3], "kernel_size": [3, 5], "se_ratio": [0.0, 0.25]},
            {"out_channels": 16, "stride": 2, "num_repeats": [1, 2], "expand_ratio": [1, 4, 6]},
        ],
    }
)


def made_up_costs(encoded: Encoded) -> CostArrays:
    """Two choices cost something."""
    params = 1e5 * 1.3 ** (encoded[:, 0] + encoded[:, 1])
    return CostArrays(step_time_s=0.1 * 1.1 ** encoded[:, 1].astype(float), params=params, macs=2 * params)


def knowledge_of(costs: MemberCosts = made_up_costs) -> Knowledge:
    return Knowledge(Problem(space=SPACE, seed=0, reward=REWARD, costs=costs))


def random_members(space: SearchSpace, count: int, rng: np.random.Generator) -> Encoded:
    sizes = [len(values) for values in space.choices.values()]
    return Knowledge(Problem(space=space, seed=0, reward=REWARD, costs=made_up_costs)).members.canonical_rows(
        np.unique(rng.integers(0, sizes, (count, len(sizes))), axis=0)
    )


def parameters(describe: Descriptor, members: Encoded, rng: np.random.Generator) -> Hyperparameters:
    points = describe(members)
    h = expected(points.bits.shape[1], points.features.shape[1])
    return replace(h, noise=0.05, rates=h.rates * rng.uniform(0.5, 2.0, len(h.rates)))


@pytest.fixture
def model() -> AccuracyModel:
    rng = np.random.default_rng(3)
    describe, members = Descriptor(SPACE, made_up_costs), random_members(SPACE, 30, rng)
    h = parameters(describe, members, rng)
    return AccuracyModel(describe, Trained(members, rng.normal(-0.3, 0.05, len(members))), [], h)


def with_accuracies(run: Run, accuracy_of: Callable[[Architecture], float]) -> Run:
    """The run as if its candidates had come out so; of 100,000 images."""
    return replace(run, records=tuple(_with_accuracy(record, accuracy_of) for record in run.records))


def _with_accuracy(record: TrialRecord, accuracy_of: Callable[[Architecture], float]) -> TrialRecord:
    if record.outcome is None or record.candidate is None:
        return record
    correct = round(100_000 * accuracy_of(parse(record.candidate.architecture)))
    accuracy = AccuracyRecord(num_correct=correct, num_images=100_000, seed=0, train_seconds=1.0)
    return replace(record, outcome=replace(record.outcome, accuracy=accuracy))


def of_one_choice(architecture: Architecture, seed: int) -> float:
    """Kernel 5 in the third stage doubles accuracy; the rest is noise of 1 %."""
    level = 0.8 if architecture.stages[2].kernel_size == 5 else 0.4
    return level * float(np.exp(np.random.default_rng([seed, *str(architecture).encode()]).normal(0, 0.01)))


@pytest.fixture(scope="module")
def opinion(finished_run: Run) -> Opinion:
    return Opinion(finished_run)


def test_left_out_is_what_a_refit_without_the_member_predicts(model: AccuracyModel) -> None:
    """At the same covariance, mean and scale: as many processes as members, with one fewer each."""
    trained, found = model._trained, np.stack(model.left_out())
    mean, spread = np.mean(trained.logs), np.std(trained.logs)
    points, targets = model._describe(trained.members), (trained.logs - mean) / spread
    for place in range(len(targets)):
        others = np.flatnonzero(np.arange(len(targets)) != place)
        refit = Posterior(model.h, points.take(others), targets[others])
        level, deviation = refit(points.take(np.array([place])))
        assert found[:, place] == pytest.approx([mean + spread * level[0], spread * deviation[0]], rel=1e-4)


def test_left_out_of_the_present_run_only() -> None:
    rng = np.random.default_rng(5)
    describe, members = Descriptor(SPACE, made_up_costs), random_members(SPACE, 30, rng)
    trained, earlier = (Trained(part, rng.normal(-0.3, 0.05, len(part))) for part in (members[:12], members[12:]))
    model = AccuracyModel(describe, trained, [earlier], parameters(describe, members, rng))
    assert [len(each) for each in model.left_out()] == [12, 12]


def test_a_gains_deviation_is_that_of_samples_of_both(model: AccuracyModel) -> None:
    """Drawn jointly: from their own deviations alone, differences would look far less certain than they are."""
    members = random_members(SPACE, 6, np.random.default_rng(7))
    mean, covariance = model(members)[0], model.between(members, members)
    draws = np.random.default_rng(8).multivariate_normal(mean, covariance, 200_000)
    differences = draws[:, 1:] - draws[:, :1]
    gains, deviations = model.gains(members[1:], members[0])
    assert gains == pytest.approx(differences.mean(axis=0), abs=4 * deviations.max() / np.sqrt(200_000))
    assert deviations == pytest.approx(differences.std(axis=0), rel=0.01)
    assert (deviations < np.hypot(model(members[1:])[1], model(members[:1])[1])).all()


def test_a_member_gains_nothing_over_itself(model: AccuracyModel) -> None:
    member = random_members(SPACE, 1, np.random.default_rng(9))
    gains, deviations = model.gains(member, member[0])
    assert gains[0] == 0.0
    assert deviations[0] == pytest.approx(0.0, abs=1e-6)


def test_exchanges_are_all_single_changes_and_their_costs(model: AccuracyModel) -> None:
    """Counted and priced by hand: an SE ratio under Fused-MBConv is no choice."""
    knowledge, names = knowledge_of(), list(SPACE.choices)
    member = np.zeros(len(names), dtype=np.int64)
    member[names.index("stage1_block")] = SPACE.choices["stage1_block"].index("er")
    found = exchanges(knowledge, model, member)
    sizes = {name: len(values) for name, values in SPACE.choices.items() if name != "stage1_se_ratio"}
    assert [each.choice for each in found] == [name for name, size in sizes.items() for _ in range(size - 1)]
    for each in found:
        column = names.index(each.choice)
        steps = SPACE.choices[each.choice].index(each.after) - int(member[column])
        params, step_time = 1.3 ** (steps * (column < 2)), 1.1 ** (steps * (column == 1))
        assert each.before == SPACE.choices[each.choice][member[column]]
        assert np.exp([each.params, each.step_time or 0.0]) == pytest.approx([params, step_time])
        assert np.exp(each.factor) == pytest.approx(step_time**REWARD.w * params**REWARD.v)


def test_the_choice_that_doubles_accuracy_is_believed_in(finished_run: Run) -> None:
    run = with_accuracies(finished_run, partial(of_one_choice, seed=1))
    opinion = Opinion(run)
    sides = {each.choice: each for each in opinion.exchanges if each.choice == "stage3_kernel_size"}
    worst = min(opinion.exchanges, key=lambda each: change(each, opinion))
    assert worst is sides["stage3_kernel_size"]
    assert (worst.before, worst.after) == (5, 3)
    low, high = interval(worst, opinion)
    assert low < 100 * (0.5 * np.exp(worst.factor) - 1) < high < -40
    assert verdict(worst, opinion) == "worse"
    others = [each for each in opinion.exchanges if each is not worst]
    assert max(abs(each.accuracy) for each in others) < 0.05
    assert all(parse(each.architecture).stages[2].kernel_size == 5 for each in opinion.upcoming)


def test_intervals_hold_what_is_known_of_noise(finished_run: Run) -> None:
    """Accuracies that are noise alone leave every choice but its cost undecided, and nothing can be ranked."""
    rng = np.random.default_rng(11)
    run = with_accuracies(finished_run, lambda _: float(rng.uniform(0.5, 0.9)))
    opinion = Opinion(run)
    undecided = [abs(each.accuracy) < 1.96 * each.accuracy_deviation for each in opinion.exchanges]
    assert np.mean(undecided) > 0.8
    assert opinion.held_out.ranking.low < 0.15


def test_the_favourite_is_what_the_model_expects_most_of(opinion: Opinion, finished_run: Run) -> None:
    reward = finished_run.reward()
    found = opinion.held_out.records[opinion.favourite]
    expected_logs = opinion.model(opinion._belief.trained)[0]
    factors = [
        reward.cost_factor(step_time_s=record.outcome.step_time_s, params=record.outcome.params)
        for record in opinion.records
        if record.outcome
    ]
    assert found is opinion.records[int(np.argmax(np.exp(expected_logs) * factors))]


def test_what_comes_next_is_new_and_priced_as_the_run_prices(opinion: Opinion, finished_run: Run) -> None:
    judged = {record.candidate.architecture for record in finished_run.records if record.candidate}
    assert len({each.architecture for each in opinion.upcoming} - judged) == 5
    reward = finished_run.reward()
    for each in opinion.upcoming:
        architecture = parse(each.architecture)
        step_time = finished_run.tables[0].predict(architecture)
        assert each.params == count_params(architecture, 10, 1)
        assert each.step_time_s == pytest.approx(step_time.median_s)
        assert each.step_time_se == pytest.approx(step_time.median_s * step_time.relative_standard_error)
        assert each.factor == pytest.approx(reward.cost_factor(step_time_s=step_time.median_s, params=each.params))


def test_the_chance_is_that_of_joint_samples(opinion: Opinion, finished_run: Run) -> None:
    space, reward = finished_run.config.search_space(), finished_run.reward()
    best = opinion._belief.trained[opinion.favourite]
    for each in opinion.upcoming:
        both = np.stack([np.array(space.encode(parse(each.architecture))), best])
        draws = np.random.default_rng(1).multivariate_normal(
            opinion.model(both)[0], opinion.model.between(both, both), 100_000
        )
        outcome = opinion.records[opinion.favourite].outcome
        assert outcome is not None
        factor = reward.cost_factor(step_time_s=outcome.step_time_s, params=outcome.params)
        assert each.chance == pytest.approx((draws[:, 0] - draws[:, 1] > np.log(factor / each.factor)).mean(), abs=0.01)


def test_held_out_candidates_are_those_that_were_trained(opinion: Opinion, finished_run: Run) -> None:
    found = opinion.held_out
    measured = {r.number: r.outcome.accuracy.accuracy for r in found.records if r.outcome}
    assert len(measured) == len(finished_run.leaderboard())
    assert list(measured.values()) == pytest.approx(found.measured)
    assert found.ranking.tau == pytest.approx(kendalltau(found.predicted, found.measured).statistic)
    assert found.measured_noise is not None, "the leaders were trained again"


def test_the_page_says_what_the_model_believes(finished_run: Run, opinion: Opinion) -> None:
    text = re.sub(r"<[^>]+>", "", render(finished_run))
    assert "What the model believes" in text
    assert f"around trial {opinion.records[opinion.favourite].number}" in text
    assert f"{opinion.held_out.ranking.tau:.2f}" in text
    assert all(each.architecture in text for each in opinion.upcoming)
    chances = [each.chance for each in opinion.upcoming]
    assert all(f"{100 * chance:.0f} %" in text for chance in chances if 0.01 < chance < 0.99)


def test_the_figures_show_every_exchange_once(opinion: Opinion) -> None:
    points = [trace for panel in exchanges_figure(opinion).panels for trace in panel.traces]
    shown = sorted(x for trace in points for x in trace["x"])
    assert shown == sorted(change(each, opinion) for each in opinion.exchanges)
    assert len(exchanges_figure(opinion).panels) == 6, "one for each stage"


@pytest.mark.parametrize("run_name", ["finished_run", "front_run"])
def test_figures_are_what_plotly_understands(request: pytest.FixtureRequest, run_name: str) -> None:
    for figure in belief_figures(Findings(request.getfixturevalue(run_name))):
        for panel in figure.panels:
            text = json.dumps([list(panel.traces), panel.layout], allow_nan=False)
            data, layout = json.loads(re.sub(r'"@\w+"', '"#123456"', text))
            go.Figure(data=data, layout=layout)


def test_several_objectives_are_explained_by_accuracy(front_run: Run) -> None:
    findings = Findings(front_run)
    opinion = findings.opinion
    assert opinion is not None
    assert opinion.is_of_accuracy
    for each in opinion.exchanges:
        assert change(each, opinion) == pytest.approx(100 * (np.exp(each.accuracy) - 1))
    text = belief_section(findings, belief_figures(findings))
    assert "only accuracy is shown" in text
    assert ">reward</th>" not in text
    trained = [record.outcome for record in opinion.records if record.outcome]
    for promise in opinion.upcoming:
        cheaper = [o for o in trained if o.params <= promise.params and o.step_time_s <= (promise.step_time_s or 0)]
        assert (promise.chance == 1.0) == (not cheaper)


def test_measured_step_times_are_believed(make_run: Callable[..., Run]) -> None:
    findings = Findings(make_run(trials=10, retrain=False, overrides={"step_time": "measured"}))
    opinion, reward = findings.opinion, findings.reward
    assert opinion is not None
    assert opinion.is_step_time_believed
    for each in opinion.exchanges:
        assert each.step_time is None
        assert each.factor == pytest.approx(reward.v * each.params)
    text = belief_section(findings, belief_figures(findings))
    assert "Step times are measured, so the model does not know them beforehand" in text
    assert ">unknown<" in text
    assert "(S ÷ S of the backbone)" in held_out_figure(opinion).panels[0].layout["xaxis"]["title"]["text"]


def test_earlier_runs_are_believed_too(finished_run: Run) -> None:
    """What an earlier run found changes what is expected, and is not held out itself."""
    space, rng = finished_run.config.search_space(), random.Random(12)
    members = {space.encode(space.sample(rng)): None for _ in range(60)}
    accuracies = tuple(of_one_choice(space.decode(each), seed=2) for each in members)
    earlier = EarlierResults(source="elsewhere", members=tuple(members), accuracies=accuracies)
    young = replace(finished_run, records=finished_run.records[:12])
    young = with_accuracies(young, partial(of_one_choice, seed=1))
    findings = Findings(replace(young, earlier=(earlier,)))
    assert findings.opinion is not None
    alone, warm = Opinion(young), findings.opinion
    assert not np.allclose(alone.held_out.predicted, warm.held_out.predicted, rtol=1e-9)
    assert len(warm.held_out.predicted) == len(warm.records)
    assert f"the {len(members)} results of earlier runs" in belief_section(findings, belief_figures(findings))


@pytest.mark.parametrize("trials", [0, MIN_TRIALS - 1])
def test_few_trials_say_so(make_run: Callable[..., Run], trials: int) -> None:
    findings = Findings(make_run(trials=trials, planned=40, retrain=False))
    assert belief_figures(findings) == []
    assert f"at least {MIN_TRIALS} architectures" in belief_section(findings, [])


def test_an_exhausted_space_has_nothing_left_to_train(make_run: Callable[..., Run]) -> None:
    stage = {"out_channels": 8, "stride": 2, "num_repeats": [1, 2], "kernel_size": [3, 5], "expand_ratio": [1, 4]}
    space = {"resolution": 32, "stem_channels": 8, "head_channels": 32, "stages": [stage]}
    findings = Findings(make_run(trials=14, retrain=False, overrides={"space": space}))
    opinion = findings.opinion
    assert opinion is not None
    left = findings.space.size - len(findings.judged)
    assert len(opinion.upcoming) == min(left, 5)
