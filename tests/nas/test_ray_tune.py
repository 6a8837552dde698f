"""Under Ray Tune: our samplers propose as in a search, whatever is reported ends in a verdict, and trainings go on."""

import math
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import fake_search
import optuna
import pytest
from optuna.trial import TrialState

from nas.prepared import Prepared
from nas.stepwise import StepwiseEvaluation
from nas.study import Ending
from nas.trials import State, read_records

pytest.importorskip("ray")
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from ray.tune.search.optuna import OptunaSearch

from nas.ray_tune import GuardedOptunaSearch, SamplerSearch, param_space, trainable

EPOCHS = 4
FIT = {"fidelity": {"epochs": EPOCHS, "data_share": 0.2, "resolution": 16}, "threads": 1, "device": "cpu"}
BAD: list[Any] = [
    {"num_correct": math.nan, "num_images": 1000},
    {"num_correct": math.inf, "num_images": 1000},
    {"num_correct": 10, "num_images": 0},
    {"num_correct": 10, "num_images": 9},
    {"num_correct": None, "num_images": 9},
    {"reward": math.nan},
    {"infeasible": "out of memory"},
]


def prepared(out: Path, **changes: Any) -> Prepared:
    config = fake_search.config(out, **changes)
    return Prepared(config=config, preparation=fake_search.PREPARATION, tables=(fake_search.TABLE,))


def report_of(search: SamplerSearch, params: dict[str, Any]) -> dict[str, Any]:
    """What a search's fake worker would find."""
    text = str(search._prepared.space.from_params(params))
    found = fake_search.accuracy(text, seed=0)
    return {"num_correct": found.num_correct, "num_images": found.num_images, "reward": math.nan}


def led_by_tune(search: SamplerSearch, first: int = 0, last: int = 1000) -> None:
    """One trial after the other, as Tune leads them."""
    for number in range(first, last):
        params = search.suggest(f"trial{number}")
        if params == SamplerSearch.FINISHED:
            return
        report = report_of(search, params)
        search.on_trial_result(f"trial{number}", report)
        search.on_trial_complete(f"trial{number}", report | {"done": True})


def told(study: optuna.Study) -> list[tuple[str, State, Any]]:
    """What was proposed and told, in its order, attempts that were made again left out."""
    return [
        (record.candidate.architecture, record.state, study.trials[record.number].values)
        for record in read_records(study)
        if record.candidate is not None and record.state is not State.FAILED
    ]


@pytest.mark.parametrize(
    "changes", [{"sampler": "random"}, {"sampler": "known-cost"}, {"sampler": "tpe", "max_params": 3000}], ids=str
)
def test_it_proposes_and_tells_what_a_search_does(changes: dict[str, Any], tmp_path: Path) -> None:
    from nas.run_directory import RunDirectory
    from nas.storage import load_study

    config = fake_search.config(tmp_path / "run", **changes)
    _, ending = fake_search.run(config)
    assert ending is Ending.COMPLETE
    search = SamplerSearch(prepared(tmp_path / "none", **changes))
    led_by_tune(search)
    expected = told(load_study(RunDirectory(config.out)))
    assert told(search.study) == expected
    assert sum(state is State.COMPLETE for _, state, _ in expected) > 3


@pytest.mark.parametrize("report", BAD, ids=str)
@pytest.mark.parametrize("is_final", [True, False], ids=["final", "newest"])
def test_whatever_is_reported_ends_in_a_verdict(report: dict[str, Any], is_final: bool, tmp_path: Path) -> None:
    """A trial that is stopped while it waits has no final report; the newest counts."""
    search = SamplerSearch(prepared(tmp_path))
    led_by_tune(search, last=2)
    assert isinstance(search.suggest("bad"), dict)
    search.on_trial_result("bad", report)
    search.on_trial_complete("bad", report if is_final else None)
    search.on_trial_complete("bad", {"num_correct": 1, "num_images": 1})
    led_by_tune(search, first=3, last=4)
    *_, bad, good = search.study.trials
    assert (bad.state, good.state) == (TrialState.PRUNED, TrialState.COMPLETE)
    assert bad.constraints == {"infeasible": 1.0}
    assert math.isfinite(search.study.best_value)
    assert bad.user_attrs["reason"].startswith(("it reported no accuracy: num_correct", "out of memory"))


def test_what_tune_gives_up_on_is_infeasible_and_what_never_began_is_owed(tmp_path: Path) -> None:
    search = SamplerSearch(prepared(tmp_path))
    broken, stopped = search.suggest("broken"), search.suggest("stopped")
    search.on_trial_complete("broken", error=True)
    search.on_trial_complete("stopped")
    search.on_trial_complete("unknown", {"num_correct": 1, "num_images": 1})
    assert [trial.state for trial in search.study.trials] == [TrialState.PRUNED, TrialState.FAIL]
    assert "max_failures" in search.study.trials[0].user_attrs["reason"]
    again = pickle.loads(pickle.dumps(search))
    led_by_tune(again)
    proposed = [architecture for architecture, _, _ in told(again.study)]
    space = again._prepared.space
    assert str(space.from_params(broken)) in proposed
    assert str(space.from_params(stopped)) in proposed
    assert len(proposed) == len(set(proposed)) == 12


def test_a_restored_search_goes_on_with_the_trials_that_ran(tmp_path: Path) -> None:
    undisturbed, search = (SamplerSearch(prepared(tmp_path, sampler="known-cost")) for _ in range(2))
    for each in (undisturbed, search):
        led_by_tune(each, last=3)
    running = {name: search.suggest(name) for name in ("a", "b")}
    assert {name: undisturbed.suggest(name) for name in ("a", "b")} == running
    search.save(str(tmp_path / "search.pkl"))
    restored = SamplerSearch(prepared(tmp_path, sampler="known-cost"))
    restored.restore(str(tmp_path / "search.pkl"))
    for each in (undisturbed, restored):
        for name, params in running.items():
            each.on_trial_complete(name, report_of(each, params))
        led_by_tune(each, first=5)
    assert told(restored.study) == told(undisturbed.study)
    assert not [trial for trial in restored.study.trials if trial.state is TrialState.RUNNING]


def test_it_ends_with_its_budget_and_waits_for_what_runs(tmp_path: Path) -> None:
    search = SamplerSearch(prepared(tmp_path, trials=2))
    first, second = search.suggest("a"), search.suggest("b")
    assert search.suggest("c") is None
    for name, params in (("a", first), ("b", second)):
        search.on_trial_complete(name, report_of(search, params))
    assert search.suggest("c") == SamplerSearch.FINISHED


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ({"reward": math.nan}, TrialState.FAIL),
        ({"reward": math.inf}, TrialState.FAIL),
        ({"accuracy": 0.5}, TrialState.FAIL),
        ({"reward": "good"}, TrialState.FAIL),
        ({"reward": 0.0, "infeasible": "out of memory"}, TrialState.PRUNED),
        ({"reward": 0.5, "infeasible": ""}, TrialState.COMPLETE),
    ],
    ids=str,
)
def test_optuna_search_is_guarded(report: dict[str, Any], state: TrialState, tmp_path: Path) -> None:
    """What it guards against is real: Ray's own leaves NaN running and takes infinity for the best."""
    for kind in (OptunaSearch, GuardedOptunaSearch):
        search = kind(metric="reward", mode="max", seed=0)
        search.set_search_properties("reward", "max", param_space(prepared(tmp_path).config))
        for name in ("one", "two"):
            assert search.suggest(name)
        full = report | {"training_iteration": 1, "done": True}
        if "reward" in report and not isinstance(report["reward"], str):
            search.on_trial_result("one", full)
        search.on_trial_complete("one", full)
        search.on_trial_complete("two", {"reward": 0.5, "training_iteration": 1})
        study = search._ot_study
        if kind is GuardedOptunaSearch:
            assert [trial.state for trial in study.trials] == [state, TrialState.COMPLETE]
            assert study.best_value == 0.5
        elif report.get("reward") is math.nan:
            assert study.trials[0].state is TrialState.RUNNING, "the fault is mended: is the guard still needed?"
        elif report.get("reward") == math.inf:
            assert study.best_value == math.inf, "the fault is mended: is the guard still needed?"
    assert study.trials[0].constraints == ({"infeasible": 1.0} if state is TrialState.PRUNED else {})


def test_without_ray_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nas.ray_tune")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "training-aware-nas\[cluster\]"'):
        import_module("nas.ray_tune")


# From here on with Ray itself.


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """One CPU; yields a folder for what Tune keeps."""
    import ray
    from small_cluster import require_own_network

    require_own_network()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=folder)
        yield Path(folder) / "results"
        ray.shutdown()


def run_config(cluster: Path, name: str, **setting: Any) -> tune.RunConfig:
    every_epoch = tune.CheckpointConfig(checkpoint_frequency=1)
    return tune.RunConfig(storage_path=str(cluster), name=name, verbose=0, checkpoint_config=every_epoch, **setting)


class Interrupt(tune.Callback):
    """Presses Ctrl-C, once, in mid-trial."""

    def __init__(self, after_trials: int, done: Path) -> None:
        self._after_trials, self._done = after_trials, done

    def on_trial_result(self, trials: list[Any], result: dict[str, Any], **rest: Any) -> None:
        # A restored run has its callbacks as they were at its start: only the disk remembers.
        if len(trials) > self._after_trials and result["training_iteration"] == 1 and not self._done.exists():
            self._done.touch()
            os.kill(os.getpid(), signal.SIGINT)


class Kill(tune.Callback):
    """Kills a trial's process, once, in its third epoch."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def on_trial_result(self, result: dict[str, Any], **rest: Any) -> None:
        if result["training_iteration"] == 2 and not self.killed:
            self.killed.append(result["pid"])
            os.kill(result["pid"], signal.SIGKILL)


@pytest.mark.cluster
def test_asha_ends_the_poor_ones_early_and_an_interrupted_run_is_restored(cluster: Path, tmp_path: Path) -> None:
    known = prepared(tmp_path, trials=7, sampler="random", **FIT)
    asha = ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=2)
    search = tune.TuneConfig(
        metric="reward", mode="max", search_alg=SamplerSearch(known), scheduler=asha, num_samples=20,
        max_concurrent_trials=1, reuse_actors=True,
    )  # fmt: skip
    setting = run_config(cluster, "asha", callbacks=[Interrupt(3, tmp_path / "interrupted")])
    assert len(tune.Tuner(trainable(known), tune_config=search, run_config=setting).fit()) == 4
    found = tune.Tuner.restore(str(cluster / "asha"), trainable(known)).fit()
    frame = found.get_dataframe()
    assert not found.errors
    assert len(frame) == 7, "the budget of our configuration, not the 20 of Tune's"
    columns = {"reward", "accuracy", "step_time_s", "params", "macs", "peak_memory_bytes", "architecture", "infeasible"}
    assert columns <= set(frame.columns)
    assert frame.reward.between(0, 1).all()
    assert (frame.training_iteration == EPOCHS).any()
    assert (frame.training_iteration < EPOCHS).any()
    undisturbed = SamplerSearch(known)
    led_by_tune(undisturbed)
    assert set(frame.architecture) == {architecture for architecture, _, _ in told(undisturbed.study)}
    assert found.get_best_result().metrics["reward"] == frame.reward.max()


@pytest.mark.cluster
def test_population_based_training_goes_on_from_the_best_checkpoint(cluster: Path, tmp_path: Path) -> None:
    """One of two learns nothing; it becomes the other one, with a setting of its own."""
    known = prepared(tmp_path, **FIT)
    rates = [1e-30, 0.01, 0.015, 0.02]
    chosen = {**known.space.to_params(known.space.backbone), "lr": tune.grid_search([rates[2], rates[0]])}
    pbt = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=1, quantile_fraction=0.5, resample_probability=0.0,
        hyperparam_mutations={"lr": rates}, synch=True,
    )  # fmt: skip
    search = tune.TuneConfig(metric="reward", mode="max", scheduler=pbt, reuse_actors=True)
    setting = run_config(cluster, "pbt")
    found = tune.Tuner(trainable(known), param_space=chosen, tune_config=search, run_config=setting).fit()
    assert not found.errors
    assert (cluster / "pbt" / "pbt_global.txt").read_text().strip(), "somebody has become somebody else"
    frame = found.get_dataframe()
    assert set(frame["config/lr"]) & {rates[1], rates[3]}, "with another learning rate"
    assert (frame.training_iteration == EPOCHS).all()
    alone = StepwiseEvaluation(known, {**known.space.to_params(known.space.backbone), "lr": rates[2]})
    for _ in range(2):
        learnt = alone.step()
    assert frame.train_loss.max() < learnt["train_loss"], "nobody stands where nothing is learnt"


@pytest.mark.cluster
def test_a_trial_whose_process_is_killed_goes_on_to_the_same_result(cluster: Path, tmp_path: Path) -> None:
    known = prepared(tmp_path, **FIT)
    params = known.space.to_params(known.space.backbone)
    kill = Kill()
    setting = run_config(cluster, "kill", failure_config=tune.FailureConfig(max_failures=1), callbacks=[kill])
    (result,) = tune.Tuner(trainable(known), param_space=dict(params), run_config=setting).fit()
    assert result.error is None
    assert kill.killed
    assert result.metrics["pid"] != kill.killed[0]
    assert result.metrics["iterations_since_restore"] < EPOCHS, "it did not begin anew"
    undisturbed = StepwiseEvaluation(known, params)
    for _ in range(EPOCHS):
        expected = undisturbed.step()
    same = ("accuracy", "train_loss", "reward", "num_correct")
    assert {name: result.metrics[name] for name in same} == {name: expected[name] for name in same}
