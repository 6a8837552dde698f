"""An audit's engine: what is sampled and trained, in which order, with which seeds, and nothing twice."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import fake_search
import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from nas.audit.config import AuditConfig, ProxyTraining, default_proxies, read_audit_config
from nas.audit.loop import AuditLoop
from nas.audit.results import AuditResults, Cell, planned_cells
from nas.audit.run import AuditObserver, read_audit, run_audit
from nas.audit.sample import spread_sample
from nas.evaluation_tasks import Retrain
from nas.executors.interface import Done, Event, Interrupted, RefusedError
from nas.opening import InterruptedSearchError
from nas.pricing import make_cost_model
from nas.run_directory import RunDirectoryError
from proxies.infeasible import InfeasibleError
from proxies.training.config import Fidelity
from search_spaces.architecture import parse
from search_spaces.strict_yaml import dump_yaml

TARGET = {"epochs": 8}
PROXIES = [{"epochs": 2}, {"epochs": 2, "lr": 0.01, "batch_size": 16}, {"epochs": 1, "data_share": 0.5}]


def config(out: Path, **changes: Any) -> AuditConfig:
    search = {"space": fake_search.SPACE, "step_time": {"method": "predicted"}, "max_retries": 0}
    setting = {"search": search, "target": TARGET, "proxies": PROXIES, "num_architectures": 6, "out": out, "top": 2}
    return AuditConfig.model_validate(setting | changes)


class Recorder(fake_search.InlineExecutor):
    """Trains at once, and keeps what it was asked."""

    def __init__(self, refuse: str = "", stop_after: int | None = None) -> None:
        super().__init__(self._answer)
        self.trained: list[Retrain] = []
        self._refuse, self._stop_after = refuse, stop_after

    def _answer(self, work: object, report: Any) -> object:
        if isinstance(work, Retrain):
            if work.architecture == self._refuse:
                raise InfeasibleError("does not fit")
            if len(self.trained) == self._stop_after:
                raise KeyboardInterrupt
            self.trained.append(work)
        return fake_search.evaluate(work, report)


def audit(settings: AuditConfig, executor: Recorder | None = None) -> AuditResults:
    return run_audit(settings, make_executor=lambda search: executor or Recorder())


def test_every_training_is_done_once_with_its_own_setting_and_seed(tmp_path: Path) -> None:
    executor, settings = Recorder(), config(tmp_path / "audit")
    results = audit(settings, executor)
    assert results.is_complete
    assert set(results.trainings) == set(results.planned())
    assert len(results.trainings) == 6 * (2 + 3)
    asked = Counter((work.fidelity, work.train.lr if work.train else None) for work in executor.trained)
    assert asked == {
        (Fidelity(epochs=8), settings.search.train.lr): 12,
        (Fidelity(epochs=2), settings.search.train.lr): 6,
        (Fidelity(epochs=2), 0.01): 6,
        (Fidelity(epochs=1, data_share=0.5), settings.search.train.lr): 6,
    }
    assert len({work.seed for work in executor.trained}) == len(executor.trained)
    assert len({each.architecture for each in results.architectures}) == 6
    reward = [each.reward_factor for each in results.architectures]
    assert all(factor > 0 for factor in reward)


def test_the_target_comes_first_and_then_the_cheapest(tmp_path: Path) -> None:
    executor = Recorder()
    audit(config(tmp_path / "audit"), executor)
    epochs = [(work.fidelity.epochs, work.fidelity.data_share) for work in executor.trained if work.fidelity]
    assert epochs == [(8, 1.0)] * 6 + [(1, 0.5)] * 6 + [(2, 1.0)] * 12 + [(8, 1.0)] * 6


def test_a_size_of_its_own_does_not_make_a_proxy_dear(tmp_path: Path) -> None:
    """A training names its size only where it is not the space's, 32 here."""
    proxies = [{"epochs": 1}, {"epochs": 1, "resolution": 16}, {"epochs": 1, "resolution": 64}]
    settings = config(tmp_path, proxies=proxies, target_seeds=2)
    order = list(dict.fromkeys(cell.training for cell in planned_cells(settings, 6)))
    assert order == ["e8", "e1-r16", "e1", "e1-r64"]


def test_an_interrupted_audit_goes_on_where_it_stopped(tmp_path: Path) -> None:
    settings = config(tmp_path / "audit")
    whole = audit(config(tmp_path / "whole"))
    first = Recorder(stop_after=10)
    with pytest.raises(KeyboardInterrupt):
        audit(settings, first)
    half = read_audit(settings.out)
    assert len(half.trainings) == 10
    assert not half.is_complete
    second = Recorder()
    results = audit(settings, second)
    assert len(second.trained) == len(results.planned()) - 10
    assert results.trainings == whole.trainings
    assert audit(settings, third := Recorder()).is_complete
    assert not third.trained


def test_a_requested_stop_is_told(tmp_path: Path) -> None:
    class Stopping(Recorder):
        def events(self, timeout_s: float) -> list[Event]:
            import signal

            if len(self.trained) == 3:
                signal.raise_signal(signal.SIGTERM)
                task, _ = self.tasks.pop(0)
                return [Interrupted(task)]
            return super().events(timeout_s)

    with pytest.raises(InterruptedSearchError):
        audit(config(tmp_path / "audit"), Stopping())
    assert len(read_audit(tmp_path / "audit").trainings) == 3


def test_what_is_longer_than_the_searchs_training_may_take_longer(tmp_path: Path) -> None:
    limits: dict[int, float | None] = {}

    class Spy(AuditLoop):
        def work(self, plan: Cell) -> tuple[Retrain, float | None]:
            work, limit = super().work(plan)
            assert work.fidelity is not None
            limits[work.fidelity.epochs] = limit
            return work, limit

    search = {"space": fake_search.SPACE, "fidelity": {"epochs": 2}, "trial_timeout_s": 10.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.audit.run.AuditLoop", Spy)
        audit(config(tmp_path / "audit", search=search))
    assert limits == {8: 40.0, 2: 10.0, 1: 10.0}


def test_what_cannot_be_trained_is_told_and_left_out(tmp_path: Path) -> None:
    sample = audit(config(tmp_path / "whole")).architectures
    results = audit(config(tmp_path / "audit"), Recorder(refuse=sample[2].architecture))
    assert results.is_complete
    assert {cell.number for cell in results.failed} == {2}
    assert set(results.failed.values()) == {"does not fit"}
    assert len(results.trainings) == 5 * (2 + 3)


def test_an_audit_may_grow_by_trainings_seeds_and_architectures(tmp_path: Path) -> None:
    before = audit(config(tmp_path / "audit"))
    executor = Recorder()
    more = config(
        tmp_path / "audit", num_architectures=8, target_seeds=3, proxies=[*PROXIES, {"epochs": 4}]
    )  # fmt: skip
    after = audit(more, executor)
    assert after.architectures[:6] == before.architectures
    assert {cell: after.trainings[cell] for cell in before.trainings} == before.trainings
    assert len(executor.trained) == 8 * (3 + 4) - 6 * (2 + 3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_architectures": 5}, "num_architectures may not shrink, got 5"),
        ({"search": {"space": fake_search.SPACE, "train": {"lr": 0.5}}}, r"another train\.lr"),
        ({"search": {"space": fake_search.TINY_SPACE}}, "another space"),
    ],
)
def test_another_question_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    audit(config(tmp_path / "audit"))
    with pytest.raises(RunDirectoryError, match=complaint) as refusal:
        audit(config(tmp_path / "audit", **changes))
    assert "\n" not in str(refusal.value)


def test_nothing_is_read_from_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no such run directory"):
        read_audit(tmp_path / "none")


def test_observers_see_the_work_grow_to_its_end(tmp_path: Path) -> None:
    class Watch(AuditObserver):
        def __init__(self) -> None:
            self.seen: list[tuple[float, int, float]] = []

        def training(self, cell: Cell, doing: str, *, done: float, total: int, share: float) -> None:
            self.seen.append((done, total, share))

    watch = Watch()
    run_audit(config(tmp_path / "audit"), observer=watch, make_executor=lambda search: Recorder())
    assert watch.seen[-1] == (30.0, 30, 1.0)
    assert [done for done, _, _ in watch.seen] == sorted(done for done, _, _ in watch.seen)
    # The target is 8 of its 8 + 8 + 2 + 2 + 0.5 parts of the work, each of its trainings a twelfth of 16.
    assert watch.seen[0][2] == pytest.approx(8 / (6 * 20.5))


class TestSample:
    def test_it_covers_costs_better_than_chance(self, tmp_path: Path) -> None:
        settings = config(tmp_path)
        space = settings.search.search_space()
        costs = make_cost_model(settings.search, fake_search.PREPARATION, [fake_search.TABLE])
        assert costs is not None
        pool = [space.sample(random.Random(number)) for number in range(500)]

        def places(sample: list[Any]) -> Any:
            known = costs.over(space)(np.stack([space.encode(each) for each in [*sample, *pool]]))
            assert known.step_time_s is not None
            return np.stack([rankdata(known.macs), rankdata(known.step_time_s)], axis=1)[: len(sample)]

        spread = spread_sample(space, costs, 10, seed=3)
        closest = pdist(places(spread)).min()
        chances = [pdist(places(random.Random(seed).sample(pool, 10))).min() for seed in range(40)]
        assert closest > np.quantile(chances, 0.95)

    def test_a_smaller_one_is_the_beginning_of_a_larger(self, tmp_path: Path) -> None:
        settings = config(tmp_path)
        costs = make_cost_model(settings.search, fake_search.PREPARATION, [fake_search.TABLE])
        assert costs is not None
        space = settings.search.search_space()
        assert spread_sample(space, costs, 12, seed=1)[:5] == spread_sample(space, costs, 5, seed=1)

    def test_it_keeps_the_searchs_limits(self, tmp_path: Path) -> None:
        """What no search would train tells nothing of how its proxy ranks."""
        dear = max(each.costs.params for each in audit(config(tmp_path / "free")).architectures)
        search = {"space": fake_search.SPACE, "max_params": dear - 1}
        assert all(each.costs.params < dear for each in audit(config(tmp_path / "kept", search=search)).architectures)
        search = {"space": fake_search.SPACE, "max_step_time_s": 1e-9}
        with pytest.raises(RefusedError, match="num_architectures must be at most 0") as refusal:
            audit(config(tmp_path / "none", search=search))
        assert "\n" not in str(refusal.value)

    def test_a_space_that_is_too_small_is_refused(self, tmp_path: Path) -> None:
        settings = config(tmp_path, search={"space": fake_search.TINY_SPACE})
        space = settings.search.search_space()
        costs = make_cost_model(settings.search, fake_search.PREPARATION, [fake_search.TABLE])
        assert costs is not None
        with pytest.raises(RefusedError, match=f"at most {space.size}, .* got {space.size + 1}"):
            spread_sample(space, costs, space.size + 1, seed=0)


class TestConfig:
    def test_a_training_has_a_name_of_its_own(self) -> None:
        target = ProxyTraining(epochs=8)
        assert target.key == "e8"
        other = ProxyTraining(epochs=2, resolution=24, data_share=0.25, width=0.5, lr=0.01, batch_size=16)
        assert other.key == "e2-r24-d0.25-w0.5-lr0.01-b16"
        assert other.fidelity == Fidelity(epochs=2, resolution=24, data_share=0.25, width=0.5)

    def test_default_proxies_are_cheaper_and_different(self) -> None:
        backbone = parse("stem32-ir_r1_k3_s2_e4_c16_se0.25-head64@32")
        target = ProxyTraining(epochs=16)
        keys = [proxy.key for proxy in default_proxies(target, backbone)]
        assert len(set(keys)) == len(keys) >= 8
        assert "e4-w0.5" in keys
        assert all(proxy.epochs * proxy.data_share * proxy.width < 16 for proxy in default_proxies(target, backbone))

    def test_a_stand_in_too_narrow_is_no_default(self) -> None:
        backbone = parse("stem8-ir_r1_k3_s2_e4_c8_se0.25-head64@32")
        assert all(proxy.width == 1.0 for proxy in default_proxies(ProxyTraining(epochs=8), backbone))

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"proxies": [{"epochs": 2}, {"epochs": 2}]}, "must differ, got e2 twice"),
            ({"proxies": [TARGET]}, "proxies must differ from the target, got e8"),
            ({"proxies": [{"epochs": 2, "width": 0.1}]}, "e2-w0.1: width 0.1 is too small for the space"),
            ({"proxies": [{"epochs": 2, "resolution": 1}]}, "e2-r1: resolution must be at least the space's total"),
            ({"top": 6}, r"num_architectures must be above top \(6\), got 6"),
            ({"num_architectures": 10**9}, r"num_architectures must be at most \d+, the space's, got 1000000000"),
            ({"search": {"step_time": "measured"}}, "must be predicted or macs in an audit, got measured"),
            ({"target_seeds": 1}, "greater than or equal to 2"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            config(tmp_path, **changes)

    def test_it_is_written_and_read(self, tmp_path: Path) -> None:
        settings = config(tmp_path / "audit")
        (tmp_path / "audit.yaml").write_text(settings.to_yaml())
        assert read_audit_config(tmp_path / "audit.yaml", {}) == settings

    def test_files_of_its_search_lie_beside_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "space.yaml").write_text(dump_yaml(fake_search.SPACE))
        (tmp_path / "fragment.yaml").write_text("train: {lr: 0.25}\n")
        (tmp_path / "recipe.yaml").write_text("include: [fragment.yaml]\nspace: space.yaml\n")
        (tmp_path / "audit.yaml").write_text("search: {space: space.yaml, train: {lr: 0.125}}\ntarget: {epochs: 3}\n")
        monkeypatch.chdir("/")
        within = read_audit_config(tmp_path / "audit.yaml", {})
        named = read_audit_config(None, {"search": str(tmp_path / "recipe.yaml")})
        assert within.search.space == named.search.space
        assert (within.search.train.lr, named.search.train.lr) == (0.125, 0.25)

    def test_a_recipe_is_named_and_changed(self, tmp_path: Path) -> None:
        settings = read_audit_config(None, {"search": "quickstart", "search.train.lr": 0.5, "target.epochs": 3})
        assert settings.search.train.lr == 0.5
        assert settings.search.data.minival_share == 0.3
        assert settings.target.epochs == 3


def test_the_seeds_of_two_replicates_differ() -> None:
    cells = planned_cells(AuditConfig(search="quickstart", num_architectures=6), 6)
    assert len(set(cells)) == len(cells)


def test_done_events_are_of_the_loop(tmp_path: Path) -> None:
    """A worker that answers with something else is a bug, not a verdict."""

    class Wrong(Recorder):
        def events(self, timeout_s: float) -> list[Event]:
            task, work = self.tasks[0]
            if isinstance(work, Retrain):
                return [Done(task, "an accuracy")]
            return super().events(timeout_s)

    with pytest.raises(TypeError, match="an accuracy was expected, got str"):
        audit(config(tmp_path / "audit"), Wrong())
