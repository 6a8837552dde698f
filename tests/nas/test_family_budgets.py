"""Members under budgets: every budget is kept, the next step up keeps it no longer, and what is impossible is said."""

import random
from collections.abc import Callable
from dataclasses import replace

import families
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.family.budget import Budget, Request, parse_request
from nas.family.members import Member
from nas.family.plan import Planner, StepTimesUnknownError
from nas.family.source import source_of_table
from proxies.complexity import count_macs
from proxies.costs import Costs
from search_spaces import catalog
from search_spaces.architecture import Architecture, parse
from search_spaces.scaling import Coefficients, LateGrowth

STEP = 0.02
"""Of φ, in which members are looked for."""
GIB = 2**30


def planned(request: str | Request, planner: Planner) -> Member:
    wanted = parse_request(request) if isinstance(request, str) else request
    (member,) = planner.plan([wanted], families.small_source().setting()).members
    return member


@pytest.fixture(scope="module")
def planner() -> Planner:
    return families.planner_of(families.timed_source())


def excess(costs: Costs, reference: Costs, budget: Budget) -> float:
    """Largest cost ÷ budget: at most 1 where all are kept."""
    seconds, of_network = costs.step_time_s or 0.0, reference.step_time_s or 1.0
    pairs = [
        (costs.params, budget.params),
        (costs.macs, budget.macs),
        (costs.peak_memory_bytes, budget.memory),
        (seconds / of_network, budget.step_time),
    ]
    return max(cost / most for cost, most in pairs if most is not None)


BUDGETS = {
    "params": "x:params=60k",
    "macs": "x:macs=9M",
    "memory": "x:memory=20MiB",
    "step-time": "x:step-time=2.5x",
    "smaller params": "x:params=15k",
    "smaller step-time": "x:step-time=0.7",
    "test-size": "x:macs=5M,test-size=96",
    "all": "x:params=100k,macs=7M,memory=30MiB,step-time=3x",
}


@pytest.mark.parametrize("text", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("coefficients", [None, Coefficients(alpha=1.2, beta=1.1, gamma=1.15)], ids=["ladder", "own"])
def test_a_member_keeps_its_budget_and_the_next_step_does_not(text: str, coefficients: Coefficients | None) -> None:
    planner = families.planner_of(families.timed_source(), coefficients=coefficients)
    request, reference = parse_request(text), planner.costs(planner.start.network)
    member = planned(request, planner)
    assert excess(planner.costs(member.parsed()), reference, request.budget) <= 1
    assert member.phi is not None
    growth = LateGrowth() if member.late_growth else None
    further = planner._at(member.phi + STEP, growth, request.budget.test_size)
    assert excess(planner.costs(further.architecture), reference, request.budget) > 1
    if not member.late_growth and member.phi > 0:
        smallest = planner._at(STEP, LateGrowth(), request.budget.test_size)
        assert excess(planner.costs(smallest.architecture), reference, request.budget) > 1, "late growth comes first"


def test_what_is_told_of_a_member_is_what_it_costs(planner: Planner) -> None:
    member = planned("x:params=60k", planner)
    costs = planner.costs(member.parsed())
    assert (member.params, member.macs, member.peak_memory_bytes) == (
        costs.params,
        costs.macs,
        costs.peak_memory_bytes,
    )
    assert member.predicted is not None
    assert (member.predicted.seconds, member.predicted.relative_error) == (costs.step_time_s, costs.step_time_rse)


def test_a_test_size_is_taken_as_it_is(planner: Planner) -> None:
    for text in ("m:test-size=100", "x:params=60k,test-size=100"):
        member = planned(text, planner)
        assert (member.test_size, member.parsed().resolution, member.is_capped) == (100, 80, False)
    assert planned("s:test-size=80", planner).parsed() == families.TINY, "that is its own already"


QUANTITIES: dict[str, Callable[[Costs], float]] = {
    "params": lambda costs: costs.params,
    "macs": lambda costs: costs.macs,
    "memory": lambda costs: costs.peak_memory_bytes,
    "step_time": lambda costs: costs.step_time_s or 0.0,
}


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_larger_budget_never_gives_a_smaller_network(planner: Planner, name: str) -> None:
    """What is bounded never falls when its bound rises, across the border of late growth, too."""
    found = []
    reference = QUANTITIES[name](planner.costs(planner.start.network))
    unit = 1.0 if name == "step_time" else reference
    for factor in (0.45, 0.7, 0.99, 1.0, 1.01, 1.15, 1.3, 1.6, 2.0, 3.0, 8.0):
        member = planned(Request(name="x", budget=Budget(**{name: factor * unit})), planner)  # type: ignore[arg-type]
        found.append(QUANTITIES[name](planner.costs(member.parsed())))
        assert found[-1] <= factor * reference * (1 + 1e-9)
    assert found == sorted(found)
    assert found[-1] > 4 * found[0]


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(12_000, 3e5), min_size=2, max_size=4, unique=True))
def test_parameters_rise_with_their_budget(budgets: list[float]) -> None:
    planner = families.planner_of(families.small_source())
    params = [planned(Request(name="x", budget=Budget(params=most)), planner).params for most in sorted(budgets)]
    assert params == sorted(params)


@pytest.mark.parametrize("seed", range(3))
def test_a_further_budget_only_shrinks(planner: Planner, seed: int) -> None:
    print(f"{seed=}")
    rng = random.Random(seed)
    params, macs = rng.uniform(2e4, 2e5), rng.uniform(3e6, 2e7)
    both = planned(Request(name="x", budget=Budget(params=params, macs=macs)), planner)
    for alone in (Budget(params=params), Budget(macs=macs)):
        one = planned(Request(name="x", budget=alone), planner)
        assert both.phi is not None
        assert one.phi is not None
        assert (both.late_growth, both.phi) <= (one.late_growth, one.phi)


def test_published_sizes_under_generous_budgets_are_as_large() -> None:
    """Under M's own costs V2-S grows to within 3 % of M's parameters and four steps of its φ."""
    planner = families.planner_of(families.small_source(families.S))
    published = planned("m", planner)
    member = planned(f"m:params={published.params},macs={published.macs}", planner)
    assert member.late_growth
    assert member.phi == pytest.approx(1.0, abs=0.08)
    assert 0.94 < member.params / published.params <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x:params=1k",
            r"x: no network of this family keeps it: the smallest has [0-9,]+ parameters, the budget is 1,000",
        ),
        ("x:macs=1", r"x: no network of this family keeps it: the smallest has [0-9,]+ MACs, the budget is 1"),
        (
            "x:memory=1KiB",
            r"x: no network of this family keeps it: the smallest has [0-9.e-]+ GiB in a training step, "
            r"the budget is [0-9.e-]+ GiB",
        ),
        (
            "x:step-time=0.01x",
            r"x: no network of this family keeps it: the smallest has [0-9.]+ × the step time, the budget is 0.01 ×",
        ),
        (
            "x:params=60k,test-size=16",
            r"x: no network of this family can be built: stages need 8 channels, and sizes the total stride",
        ),
        ("m:test-size=16", r"m: resolution must be at least the total stride 16, got 8"),
        ("m:test-size=481", r"m: test size must be at most the cap of 480 pixels, got 481"),
        ("x:params=60k,test-size=999", r"x: test size must be at most the cap of 480 pixels, got 999"),
        ("phone", r"phone is no size of efficientnetv2 \(b0, .*xl\), so it needs a budget"),
        ("phone:test-size=64", r"phone is no size of efficientnetv2 \(b0, .*xl\), so it needs a budget"),
    ],
)
def test_impossible_budgets_end_with_one_line(planner: Planner, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$") as raised:
        planned(text, planner)
    assert "\n" not in str(raised.value)


def test_a_size_that_would_be_too_narrow_is_named() -> None:
    network = parse("stem8-er_r1_k3_s2_e4_c8-ir_r2_k3_s2_e4_c16-head32@32")
    with pytest.raises(ValueError, match=r"^b0: stage 1 must keep at least 8 channels, got 8 × 0\.714"):
        planned("b0", families.planner_of(families.small_source(network)))


def test_a_network_narrower_than_8_channels_keeps_its_own_member() -> None:
    """It is only in growing that 4 channels would become 8, and so another network than the multiplier says."""
    network = parse("stem8-er_r1_k3_s2_e4_c4-ir_r2_k3_s2_e4_c16-head32@32")
    planner = families.planner_of(families.small_source(network))
    assert planned("s", planner).parsed() == network
    with pytest.raises(ValueError, match=r"^m: stage 1 must keep at least 8 channels, got 4 × 1\.14286 = 4\.57"):
        planned("m", planner)


def test_step_times_must_be_known_for_their_budget() -> None:
    with pytest.raises(ValueError, match=r"^m: a budget of step time needs a step-time table$"):
        planned("m:step-time=2x", families.planner_of(families.small_source()))
    assert issubclass(StepTimesUnknownError, ValueError)


def test_members_have_names_of_their_own(planner: Planner) -> None:
    requests = [parse_request("m"), parse_request("m:params=60k")]
    with pytest.raises(ValueError, match=r"^members must have different names, got m, m$"):
        planner.plan(requests, families.small_source().setting())


@pytest.mark.parametrize("cap", [64, 96, 128, None])
def test_the_cap_binds_every_member(cap: int | None) -> None:
    network = replace(families.TINY, resolution=48)
    planner = families.planner_of(families.small_source(network), cap=cap)
    for text in ("s", "m", "l", "x:params=200k"):
        member = planned(text, planner)
        assert member.test_size == (member.computed_test_size if cap is None else min(cap, member.computed_test_size))
        assert member.parsed().resolution <= member.test_size
        assert member.is_capped == (cap is not None and member.computed_test_size > cap)


def test_coefficients_take_the_place_of_the_ladder() -> None:
    """S stands where it stands; M is one step of φ up, L three, as the ladder counts them."""
    coefficients = Coefficients(alpha=1.3, beta=1.0, gamma=1.0)
    planner = families.planner_of(families.small_source(families.S), coefficients=coefficients)
    assert planned("s", planner).parsed() == families.S
    for name, steps in (("m", 1), ("l", 3)):
        stages = planned(name, planner).parsed().stages
        assert [stage.out_channels for stage in stages] == [24, 48, 64, 136, 160, 272, 448], "β is 1: the rule's widths"
        base = [1, 2, 2, 3, 6, 8, 2]
        expected = [-(-round(1.8 * layers * 1.3**steps * 1e6) // 10**6) for layers in base]
        assert [stage.num_repeats for stage in stages] == expected


@pytest.mark.parametrize("text", ["x:params=60k", "x:params=15k"])
def test_growth_for_a_fit_is_that_of_the_member(planner: Planner, text: str) -> None:
    assert planner.grown(parse_request(text)) == planned(text, planner).parsed()
    assert planner.grown(parse_request("x:params=1k")) is None, "no network keeps it"


@pytest.mark.parametrize(
    ("network", "ladder"),
    [
        ("efficientnetv2-s", "efficientnetv2"),
        ("efficientnetv2-b0", "efficientnetv2"),
        ("efficientnet-b0", "efficientnet"),
    ],
)
def test_growth_for_a_fit_costs_the_same_along_the_ladder_as_by_coefficients(network: str, ladder: str) -> None:
    """Twice the network's MACs at most, counted, and as near as whole layers, channels and sizes allow."""
    start = catalog.get(network).architecture
    ratios = []
    for growth in (None, Coefficients(alpha=1.2, beta=1.1, gamma=1.15), Coefficients(alpha=1.0, beta=1.4, gamma=1.0)):
        grown = families.planner_of(families.small_source(start), ladder, coefficients=growth).grown(None)
        assert grown is not None
        ratios.append(count_macs(grown, num_classes=10) / count_macs(start, num_classes=10))
    assert 1.6 < min(ratios) <= max(ratios) <= 2.0, ratios


def test_a_network_that_cannot_grow_within_twice_its_macs_is_no_candidate() -> None:
    """Width grows from 8 channels to 16, which is four times the MACs of most layers."""
    network = parse("stem8-ir_r1_k3_s1_e6_c8_se0.25-head8@32")
    width_alone = Coefficients(alpha=1, beta=1.4, gamma=1)
    wider = families.planner_of(families.small_source(network), "efficientnet", coefficients=width_alone)
    assert wider.grown(None) is None


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("m", Budget()),
        ("m:", Budget()),
        ("s-v1:params=60M", Budget(params=60e6)),
        ("m:params=60000", Budget(params=60e3)),
        ("m:params=1.5B,macs=20G", Budget(params=1.5e9, macs=20e9)),
        ("m:params=2e3k", Budget(params=2e6)),
        ("m:step-time=2.5x", Budget(step_time=2.5)),
        ("m:step_time=2.5", Budget(step_time=2.5)),
        ("m: memory = 16GiB , test-size = 384", Budget(memory=16 * GIB, test_size=384)),
        ("phone_2.1:memory=512 MiB", Budget(memory=GIB / 2)),
    ],
)
def test_requests_that_are_read(text: str, budget: Budget) -> None:
    assert parse_request(text) == Request(name=text.partition(":")[0], budget=budget)


GARBAGE = [
    "", ":", ":params=60M", "M:params=60M", "m m", "../m", "m" * 40, "-m", "m:params", "m:params=", "m:=60M",
    "m:params=60M,", "m:params=60M,,macs=1G", "m:params=60M,params=50M", "m:parms=60M", "m:params=-1", "m:params=0",
    "m:params=nan", "m:params=inf", "m:params=1e999", "m:params=60m", "m:params=60GiB", "m:params=6,0M",
    "m:params=0x10", "m:params=٣", "m:memory=16", "m:memory=16GB", "m:memory=16G", "m:step-time=2.5s", "m:step-time=xx",
    "m:step-time=0x", "m:test-size=0", "m:test-size=384.5", "m:test-size=-384", "m:test-size=384px",
    "m:test-size=1000000", "m;params=1",
]  # fmt: skip


@pytest.mark.parametrize("text", GARBAGE)
def test_requests_that_are_not(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_request(text)
    assert len(str(raised.value)) > 10
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30) | st.text(st.sampled_from("m:params=MACk,.1x -"), max_size=30))
def test_no_text_ends_in_anything_but_a_request_or_a_line(text: str) -> None:
    try:
        request = parse_request(text)
    except ValueError:
        return
    assert text.startswith(request.name)


def test_a_network_of_the_run_starts_at_the_size_that_was_timed() -> None:
    """The table's own workload names no size then: each member is timed at its own."""
    source = families.timed_source()
    assert source.workload.resolution is None
    assert source.setting().predicted_for == str(families.NOBODY)
    table = source.tables[0]
    inference = replace(table, workload=replace(table.workload, phase="inference"))
    with pytest.raises(ValueError, match=r"needs step times of training, the table of .* has inference$"):
        source_of_table(families.TINY, inference)


def test_two_devices_weigh_as_they_are_told() -> None:
    """Geometric mean of ratios to the network; a second device that is twice as slow everywhere changes no ratio."""
    one = families.timed_source()
    slow = replace(one.tables[0], canary_s=2 * one.tables[0].canary_s)
    both = replace(one, tables=(one.tables[0], slow), weights=(1.0, 3.0))
    larger = planned("m", families.planner_of(one)).parsed()
    for network in (families.TINY, larger):
        alone, mean = one.costs()(network), both.costs()(network)
        assert mean.step_time_s == pytest.approx(alone.step_time_s)
        assert mean.params == alone.params


def test_unknown_blocks_are_told_in_one_line() -> None:
    """A table without squeeze-and-excitation or Fused-MBConv cannot price them."""
    network: Architecture = parse("stem8-ir_r1_k3_s2_e4_c16_se0.25-head32@32")
    table = families.timed_source(network).tables[0]
    source = source_of_table(families.TINY, table)
    with pytest.raises(ValueError, match=r"must hold blocks of every kind"):
        planned("m", families.planner_of(source))


def test_a_published_size_that_keeps_the_budget_is_taken_where_it_is_the_largest() -> None:
    planner = families.planner_of(families.small_source(families.S))
    found = planned("m:macs=15.8G", planner)
    assert found.architecture == str(catalog.get("efficientnetv2-m").architecture)


def test_under_a_low_cap_larger_members_train_at_no_smaller_size() -> None:
    family = families.family_of(families.small_source(families.S), cap=320)
    assert [member.parsed().resolution for member in family.members] == [300, 300, 300]
    assert [member.test_size for member in family.members] == [320, 320, 320]


def test_a_network_of_m_keeps_the_last_stage_it_has_grown() -> None:
    """Its seventh stage was searched: L's is that one, wider and deeper, not a copy of the sixth."""
    text = str(catalog.get("efficientnetv2-m").architecture).replace("ir_r5_k3_s1_e6_c512", "ir_r5_k5_s1_e4_c512")
    found = families.planner_of(families.small_source(parse(text)))
    last = planned("l", found).parsed().stages[-1]
    assert (last.kernel_size, last.expand_ratio, last.num_repeats, last.out_channels) == (5, 4, 7, 640)
