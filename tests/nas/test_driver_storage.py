"""The driver's storage shows and keeps what Optuna's own does, with less reading and writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_search
import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from nas.driver_storage import DriverStorage, ask, fits_optuna

SPACE = {f"x{number}": CategoricalDistribution(["a", "b", "c"]) for number in range(12)}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(study_name="s", storage=DriverStorage(url, engine_kwargs={}), sampler=sampler)


def as_optuna_reads_it(url: str) -> list[optuna.trial.FrozenTrial]:
    """Of a storage of Optuna's own, which has just opened the file."""
    return optuna.load_study(study_name="s", storage=RDBStorage(url)).get_trials()


@contextmanager
def statements(study: optuna.Study) -> Iterator[list[str]]:
    """SQL that goes to the database meanwhile, commits among it."""
    seen: list[str] = []
    engine = study._storage._backend.engine  # type: ignore[attr-defined]

    def on_statement(connection: object, cursor: object, statement: str, *rest: object) -> None:
        seen.append(statement)

    def on_commit(connection: object) -> None:
        seen.append("COMMIT")

    sqlalchemy.event.listen(engine, "before_cursor_execute", on_statement)
    sqlalchemy.event.listen(engine, "commit", on_commit)
    yield seen
    sqlalchemy.event.remove(engine, "before_cursor_execute", on_statement)
    sqlalchemy.event.remove(engine, "commit", on_commit)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_shown_is_what_the_file_holds_after_every_write(study: optuna.Study, url: str, seed: int) -> None:
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    running: list[optuna.Trial] = []
    for step in range(40):
        what = rng.choice(["ask", "ask", "enqueue", "user", "system", "report", "tell", "prune", "fail"])
        trial = running[int(rng.integers(len(running)))] if running else None
        if what == "ask" or trial is None:
            running.append(ask(study, SPACE))
        elif what == "enqueue":
            study.enqueue_trial(dict.fromkeys(SPACE, "b"), user_attrs={"note": step})
        elif what == "user":
            trial.set_user_attr("key", step)
        elif what == "system":
            trial.set_constraint(f"limit{step}", float(step))
        elif what == "report":
            trial.report(float(step), step)
        else:
            running.remove(trial)
            states = {"tell": TrialState.COMPLETE, "prune": TrialState.PRUNED, "fail": TrialState.FAIL}
            study.tell(trial, float(step) if what == "tell" else None, state=states[what])
        assert study.get_trials() == as_optuna_reads_it(url), f"after {what}, step {step}"


def test_a_proposal_is_written_at_once(study: optuna.Study, url: str) -> None:
    ask(study, SPACE)  # the first one finds out what the study knows of each parameter
    with statements(study) as seen:
        trial = ask(study, SPACE)
    assert sum(statement.startswith("INSERT INTO trial_params") for statement in seen) == 1
    assert seen.count("COMMIT") < 8
    assert as_optuna_reads_it(url)[1].params == trial.params
    assert set(trial.params) == set(SPACE)


def test_running_trials_are_read_once(study: optuna.Study) -> None:
    study.tell(ask(study, SPACE), 1.0)
    running = [ask(study, SPACE) for _ in range(20)]
    study.get_trials()
    with statements(study) as seen:
        assert len(study.get_trials()) == 21
    assert seen == []
    running[7].set_user_attr("key", "value")
    assert study.get_trials()[8].user_attrs == {"key": "value"}


def test_the_same_is_proposed_as_through_optunas_storage(study: optuna.Study, tmp_path: Path) -> None:
    other = optuna.create_study(
        storage=RDBStorage(f"sqlite:///{tmp_path}/other.db"), sampler=optuna.samplers.TPESampler(seed=1)
    )
    study.sampler = optuna.samplers.TPESampler(seed=1)
    for number in range(25):
        ours, theirs = ask(study, SPACE), other.ask(SPACE)
        assert ours.params == theirs.params
        for each, trial in ((study, ours), (other, theirs)):
            each.tell(trial, float(number % 7))


def test_a_storage_that_is_opened_again_carries_on(study: optuna.Study, url: str) -> None:
    study.tell(ask(study, SPACE), 1.0)
    left_running = ask(study, SPACE)
    again = optuna.load_study(study_name="s", storage=DriverStorage(url, engine_kwargs={}))
    again.tell(left_running.number, state=TrialState.FAIL)
    ask(again, SPACE)
    assert [trial.state.name for trial in again.get_trials()] == ["COMPLETE", "FAIL", "RUNNING"]
    assert again.get_trials() == as_optuna_reads_it(url)


def test_another_space_under_the_same_names_is_refused(study: optuna.Study) -> None:
    ask(study, SPACE)
    with pytest.raises(ValueError, match="dynamic value space"):
        ask(study, SPACE | {"x3": CategoricalDistribution(["a", "b"])})


def test_what_cannot_be_written_is_told_as_optuna_tells_it(study: optuna.Study, url: str) -> None:
    ask(study, SPACE)

    def refuse(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT INTO trial_params"):
            raise sqlalchemy.exc.OperationalError(statement, None, OSError("disk is full"))

    sqlalchemy.event.listen(study._storage._backend.engine, "before_cursor_execute", refuse)  # type: ignore[attr-defined]
    with pytest.raises(StorageInternalError):
        ask(study, SPACE)
    sqlalchemy.event.remove(study._storage._backend.engine, "before_cursor_execute", refuse)  # type: ignore[attr-defined]
    assert as_optuna_reads_it(url)[1].params == {}
    assert set(ask(study, SPACE).params) == set(SPACE)


def test_a_storage_of_another_kind_is_asked_as_ever() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert set(ask(study, SPACE).params) == set(SPACE)


def test_it_fits_this_optuna_and_a_changed_one_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits_optuna()
    monkeypatch.setattr(RDBStorage, "_get_trials", lambda self, study_id: [])
    assert not fits_optuna()
    monkeypatch.undo()
    monkeypatch.delattr(RDBStorage, "_create_new_trial")
    assert not fits_optuna()


def test_without_it_a_search_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = fake_search.run(fake_search.config(tmp_path / "usual"))
    monkeypatch.setattr("nas.storage.fits_optuna", lambda: False)
    plain, _ = fake_search.run(fake_search.config(tmp_path / "plain"))
    assert [(each.state, each.params) for each in plain.records] == [
        (each.state, each.params) for each in usual.records
    ]
