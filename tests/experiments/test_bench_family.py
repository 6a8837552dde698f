"""The family benchmark compares the same network only, in turn, and judges by what two copies differ by."""

import csv
import json
import math
import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import typer
from torch import Tensor, nn
from torchvision.models.efficientnet import EfficientNet, FusedMBConvConfig, MBConvConfig
from typer.testing import CliRunner

from experiments.bench.family import benchmark, main
from experiments.bench.family.benchmark import Plan, make_plan, run_benchmark
from experiments.bench.family.networks import SIZES, DifferentNetworkError, Maker, SameNetwork, network_of, require_same
from experiments.bench.family.pairs import Bench, compare
from experiments.bench.family.report import write_rows
from experiments.bench.family.rows import INFERENCE, MEMORY, TRAINING, Row, memory_ratio, memory_verdict, verdict_of_all
from proxies.complexity import count_params
from proxies.device import find_device
from proxies.execution import PLAIN, ExecutionMode
from proxies.step_time import StepTimeSetting
from search_spaces.architecture import parse
from search_spaces.network import build

TINY = parse("stem8-er_r1_k3_s2_e4_c16-ir_r2_k3_s2_e4_c24_se0.25-head32@32")
FAST = ExecutionMode(channels_last=True)


def torchvisions(eps: float = 1e-3, dropout: float = 0.0, stochastic_depth: float = 0.0, kernel: int = 3) -> nn.Module:
    settings = [FusedMBConvConfig(4, 3, 2, 8, 16, 1), MBConvConfig(4, kernel, 2, 16, 24, 2)]
    norm = partial(nn.BatchNorm2d, eps=eps)
    return EfficientNet(settings, dropout, stochastic_depth, num_classes=1000, last_channel=32, norm_layer=norm)


def maker(name: str, make: Callable[[], nn.Module]) -> Maker:
    return Maker(name=name, make=make, network=f"{name}'s network")


OURS = maker("ours", lambda: build(TINY))


class TestSameNetwork:
    @pytest.mark.parametrize("size", ["s", pytest.param("m", marks=pytest.mark.slow)])
    def test_peers_are_the_same_network(self, size: str) -> None:
        network = network_of(size)
        for peer in network.peers:
            assert require_same(network.ours, peer) <= 1e-4

    def test_the_network_is_the_published_one(self) -> None:
        assert [count_params(network_of(size).architecture) for size in SIZES] == [21_458_488, 54_139_356]

    def test_torchvisions_network_is_the_same(self) -> None:
        assert require_same(OURS, maker("torchvision", torchvisions)) <= 1e-4

    @pytest.mark.parametrize(
        "change",
        [{"eps": 1e-5}, {"dropout": 0.2}, {"stochastic_depth": 0.5}, {"without residual": True}],
        ids=lambda change: next(iter(change)),
    )
    def test_another_network_of_equal_parameters_is_refused(self, change: dict[str, float]) -> None:
        def make() -> nn.Module:
            network = torchvisions(**{name: value for name, value in change.items() if name != "without residual"})
            if "without residual" in change:
                network.features[2][1].use_res_connect = False  # type: ignore[index,union-attr]
            return network

        with pytest.raises(DifferentNetworkError, match=r"^torchvision's network must give the logits of ours within"):
            require_same(OURS, maker("torchvision", make))

    def test_timms_padding_of_tensorflow_is_refused(self) -> None:
        with pytest.raises(DifferentNetworkError, match="must give the logits"):
            require_same(OURS, maker("timm", lambda: build(TINY, padding="same")))

    def test_other_parameters_are_refused_with_both_counts(self) -> None:
        mine, theirs = (sum(p.numel() for p in each.parameters()) for each in (build(TINY), torchvisions(kernel=5)))
        with pytest.raises(DifferentNetworkError, match=f"must have {mine:,} parameters as ours has, got {theirs:,}$"):
            require_same(OURS, maker("torchvision", lambda: torchvisions(kernel=5)))

    def test_the_global_generator_is_left_as_it_was(self) -> None:
        before = torch.get_rng_state()
        require_same(OURS, maker("torchvision", torchvisions))
        assert torch.equal(torch.get_rng_state(), before)


class Named(nn.Module):
    """A network that says when it computes."""

    def __init__(self, name: str, said: list[str]) -> None:
        super().__init__()
        self.name, self.said = name, said
        self.layer = nn.Conv2d(3, 1000, 1)

    def forward(self, images: Tensor) -> Tensor:
        self.said.append(self.name)
        return self.layer(images[..., :1, :1]).flatten(1)


class MadeUpMachine:
    """Steps take made-up seconds, which drift and are noisy; peaks are made-up bytes."""

    def __init__(self, seconds: dict[str, float], peaks: dict[str, int] | None = None, noise: float = 0.002) -> None:
        self.seconds, self.peaks, self.noise = seconds, peaks or dict.fromkeys(seconds, 10**6), noise
        self.said: list[str] = []
        self.timed: list[str] = []
        self.rng = random.Random(0)

    def maker(self, name: str) -> Maker:
        return maker(name, lambda: Named(name, self.said))

    def network(self) -> SameNetwork:
        ours, *peers = map(self.maker, self.seconds)
        return SameNetwork(name="tiny", architecture=TINY, ours=ours, peers=tuple(peers))

    def stopwatch(self, work: Callable[[], object]) -> float:
        work()
        self.timed.append(self.said[-1])
        drift = 1 + 0.01 * len(self.timed)
        return self.seconds[self.said[-1]] * drift * self.rng.gauss(1, self.noise)

    def measure_peak(self, prepare: Callable[[], Callable[[], object]]) -> int:
        prepare()()
        return self.peaks[self.said[-1]]

    def bench(self, **setting: object) -> Bench:
        device = replace(find_device("cpu"), stopwatch=self.stopwatch, measure_peak=self.measure_peak)
        values = {"device": "cpu", "resolution": 32, "batch_size": 4, "threads": 1, "num_pairs": 5, "visits": 3}
        return Bench(device=device, setting=StepTimeSetting.model_validate(values | setting))

    def rows(self, fast: ExecutionMode = PLAIN) -> list[Row]:
        return compare(self.network(), self.bench(), fast)


@pytest.fixture(autouse=True)
def _lease_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever measures on this machine is not waited for."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


class TestRatios:
    def test_they_are_those_of_the_machine_though_it_slows_down(self) -> None:
        rows = MadeUpMachine({"ours": 0.1, "timm": 0.12, "torchvision": 0.09}).rows()
        of_speed = [row for row in rows if row.quantity != MEMORY]
        assert [(row.quantity, row.other) for row in of_speed] == [
            (quantity, other) for quantity in (TRAINING, INFERENCE) for other in ("ours", "timm", "torchvision")
        ]
        for row, ratio, verdict in zip(
            of_speed, [1.0, 1.2, 0.9] * 2, ["A/A", "not below 1", "below 1"] * 2, strict=True
        ):
            assert row.ratio == pytest.approx(ratio, rel=0.005)
            assert row.low < ratio < row.high
            assert row.verdict == verdict
            assert row.ours / row.theirs == pytest.approx(ratio, rel=0.02)
            assert row.null_low < 1 < row.null_high

    def test_a_little_slower_is_within_the_noise(self) -> None:
        """Of 1 %, where two copies in three visits are taken to differ by as much."""
        rows = MadeUpMachine({"ours": 0.101, "timm": 0.1}).rows()
        assert {row.verdict for row in rows if row.other == "timm" and row.quantity != MEMORY} == {"not below 1"}

    def test_each_step_of_ours_lies_between_two_of_the_other(self) -> None:
        machine = MadeUpMachine({"ours": 0.1, "timm": 0.1})
        machine.rows()
        visit = ["timm", *["ours", "timm"] * 5]
        null = ["ours"] * 11
        # Three visits to each, every second time backwards; training first, then inference.
        assert machine.timed == [*null, *visit, *visit, *null, *null, *visit] * 2

    def test_what_our_mode_adds_is_no_verdict(self) -> None:
        rows = MadeUpMachine({"ours": 0.1, "timm": 0.1}).rows(fast=FAST)
        gains = [row for row in rows if row.verdict == "our mode"]
        assert [(row.quantity, row.mode, row.other_mode) for row in gains] == [
            (quantity, str(FAST), str(PLAIN)) for quantity in (TRAINING, INFERENCE, MEMORY)
        ]

    def test_memory_counts_in_bytes(self) -> None:
        peaks = {"ours": 3 * 2**20, "timm": 2**21, "torchvision": 2**22}
        rows = MadeUpMachine(dict.fromkeys(peaks, 0.1), peaks).rows()
        found = [(row.ours, row.theirs, row.ratio, row.verdict) for row in rows if row.quantity == MEMORY]
        assert found == [(3, 3, 1, "A/A"), (3, 2, 1.5, "above 1"), (3, 4, 0.75, "not above 1")]

    def test_memory_that_differs_between_copies_is_allowed_to_differ(self) -> None:
        assert memory_verdict(memory_ratio([(1_005, 1_000)]), (1.01, 1.01)) == "not above 1"
        assert memory_verdict(memory_ratio([(1_020, 1_000)]), (1.01, 1.01)) == "above 1"
        assert memory_ratio([(1_000, 1_000), (1_010, 1_000), (990, 1_000)]).interval == (0.99, 1.01)

    def test_what_is_worse_is_named(self) -> None:
        rows = MadeUpMachine({"ours": 0.1, "timm": 0.1, "torchvision": 0.05}).rows(fast=FAST)
        said = verdict_of_all(rows)
        assert said.startswith("2 of 6 ratios worse than 1 beyond the A/A interval: tiny, training, images/s: 0.5")
        assert "torchvision" in said
        good = [row for row in rows if row.other != "torchvision"]
        assert verdict_of_all(good) == "none of 3 ratios is worse than 1 beyond the A/A interval"


class TestRuns:
    @pytest.fixture
    def plan(self, monkeypatch: pytest.MonkeyPatch) -> Plan:
        """A tiny network that is really timed, beside torchvision's."""
        network = SameNetwork(name="tiny", architecture=TINY, ours=OURS, peers=(maker("torchvision", torchvisions),))
        setting = StepTimeSetting(
            device="cpu", resolution=32, batch_size=2, threads=1, num_pairs=3, visits=1, budget_s=0
        )
        monkeypatch.setattr(benchmark, "our_mode", lambda network, bench: FAST)
        return Plan(networks=(network,), bench=Bench(device=find_device("cpu"), setting=setting), out=None)

    def test_a_real_one_prints_and_writes_what_it_found(
        self, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_benchmark(replace(plan, out=tmp_path / "rows.json"))
        shown = capsys.readouterr().out
        assert "tiny, 32 px, batch 2: 1 × 3 pairs" in shown
        assert "our mode: float32-channels_last" in shown
        assert " of 3 ratios" in shown
        rows = json.loads((tmp_path / "rows.json").read_text())
        assert [row["quantity"] for row in rows] == [TRAINING] * 3 + [INFERENCE] * 3 + [MEMORY] * 3
        for row in rows:
            assert row["ratio"] > 0
            assert math.isfinite(row["ratio"])
            assert (row["resolution"], row["batch_size"]) == (32, 2)
            assert "1 thread" in row["device"]
        speeds = {row["quantity"]: row["ours"] for row in rows if row["verdict"] == "A/A"}
        assert speeds[INFERENCE] > speeds[TRAINING]
        of_memory = [row for row in rows if row["quantity"] == MEMORY]
        assert of_memory[0]["ratio"] == pytest.approx(1, rel=1e-3), "counted, not estimated"
        # Weights, gradients and two moments of float32 are a lower bound.
        assert of_memory[0]["ours"] > 16 * count_params(TINY) / 2**20

    def test_another_network_is_not_timed(self, plan: Plan) -> None:
        other = replace(plan.networks[0], peers=(maker("torchvision", lambda: torchvisions(eps=1e-5)),))
        with pytest.raises(DifferentNetworkError):
            run_benchmark(replace(plan, networks=(other,)))

    def test_a_csv_has_the_rows(self, tmp_path: Path) -> None:
        rows = MadeUpMachine({"ours": 0.1, "timm": 0.1}).rows()
        write_rows(tmp_path / "rows.csv", rows)
        with (tmp_path / "rows.csv").open(newline="") as file:
            read = list(csv.DictReader(file))
        assert [float(line["ratio"]) for line in read] == [row.ratio for row in rows]
        assert statistics.fmean(float(line["null_low"]) for line in read) > 0.9


class TestPlan:
    def plan(self, **changes: object) -> Plan:
        asked = {
            "networks": ("s", "m"), "mode": "plain", "device": "cpu", "batch_size": None, "resolution": None,
            "threads": 1, "pairs": None, "out": None, "quick": False,
        }  # fmt: skip
        return make_plan(**(asked | changes))  # type: ignore[arg-type]

    def test_a_cpu_gets_sizes_that_it_can_bear(self) -> None:
        setting = self.plan().bench.setting
        assert (setting.resolution, setting.batch_size, setting.threads) == (128, 8, 1)
        assert self.plan(resolution=96, batch_size=4, pairs=20).bench.setting.num_pairs == 20

    def test_quick_is_one_network(self) -> None:
        assert [network.name for network in self.plan(quick=True).networks] == ["efficientnetv2-s"]

    def test_a_mode_may_be_asked_for(self) -> None:
        assert self.plan().bench.mode == PLAIN
        assert self.plan(mode="float32-channels_last").bench.mode == FAST

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--networks", "s,xxl"], "networks must be among s, m, got 'xxl'"),
            (["--mode", "fast"], "an execution mode reads like 'float32-channels_last-small_maps', got 'fast'"),
            (["--device", "gpu"], "device must be auto, cpu, cuda, cuda:N or mps, got 'gpu'"),
            (["--out", "rows.txt"], "out must end in .csv or .json, got 'rows.txt'"),
        ],
    )
    def test_mistakes_end_with_2_and_one_line(self, arguments: list[str], message: str) -> None:
        app = typer.Typer()
        app.command()(main)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert message in result.output
        assert "Traceback" not in result.output
