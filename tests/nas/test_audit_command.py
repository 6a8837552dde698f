"""``nas audit`` with trainings that take no time: from a recipe to a search that judges by what was recommended."""

import io
import re
import signal
import sys
from pathlib import Path

import fake_audit
import fake_search
import pytest
from html_page import Page
from rich.console import Console

from nas.audit import run as audit_run
from nas.audit.config import AuditConfig, ProxyTraining
from nas.audit.results import AuditResults, Cell
from nas.audit.run import AuditObserver, read_audit
from nas.cli import main
from nas.cli.audit_display import AuditDisplay
from nas.config import read_config
from nas.evaluation_tasks import AccuracyRecord, Retrain
from nas.executors.interface import Event, Interrupted, Report
from nas.recipes import AUDITS, recipe_names
from search_spaces.strict_yaml import dump_yaml, read_yaml

PROXIES = [{"epochs": 2}, {"epochs": 1, "data_share": 0.5, "lr": 0.01}]


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


class Trainer(fake_search.InlineExecutor):
    """Trains at once; what it finds differs a little from seed to seed. May ask for a stop after some trainings."""

    def __init__(self, stop_after: int | None) -> None:
        super().__init__(self._answer)
        self.trained = 0
        self._stop_after = stop_after

    def events(self, timeout_s: float) -> list[Event]:
        if self.trained == self._stop_after:
            signal.raise_signal(signal.SIGINT)
            task, _ = self.tasks.pop(0)
            return [Interrupted(task)]
        return super().events(timeout_s)

    def _answer(self, work: object, report: Report) -> object:
        if not isinstance(work, Retrain):
            return fake_search.evaluate(work, report)
        self.trained += 1
        true = fake_search.number_of(work.architecture, "accuracy")
        luck = fake_search.number_of(str(work.seed), "luck")
        correct = int(4000 + 4000 * true + 500 * luck)
        return AccuracyRecord(num_correct=correct, num_images=10_000, seed=work.seed, train_seconds=1.0)


class Engine:
    """Stands in for the trainings of `run_audit`, and counts them."""

    def __init__(self) -> None:
        self.trained = 0
        self.stop_after: int | None = None
        self._run = audit_run.run_audit

    def __call__(self, config: AuditConfig, *, observer: AuditObserver) -> AuditResults:
        trainer = Trainer(self.stop_after)
        try:
            return self._run(config, observer=observer, make_executor=lambda search: trainer)
        finally:
            self.trained += trainer.trained


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(audit_run, "run_audit", engine)
    return engine


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "audit.yaml"
    search = {"space": fake_search.SPACE, "max_retries": 0}
    settings = {"search": search, "target": {"epochs": 4}, "proxies": PROXIES, "num_architectures": 6, "top": 2}
    path.write_text(dump_yaml(settings | {"out": str(tmp_path / "audit")}))
    return path


def test_an_audit_ends_with_a_recommendation_that_a_search_takes(
    recipe: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "audit", recipe) == 0
    output = capsys.readouterr().out
    out = tmp_path / "audit"
    assert engine.trained == 6 * 4
    assert "24/24" in output
    assert "Noise ceiling: τ" in output
    assert f"nas search RECIPE --include {out / 'proxy.yaml'}" in output
    for name in ("audit.csv", "proxies.csv", "report.html", "config.yaml", "study.db"):
        assert (out / name).is_file(), name
    assert len((out / "audit.csv").read_text().splitlines()) == 1 + 24
    assert len((out / "proxies.csv").read_text().splitlines()) == 1 + 2
    chosen = read_audit_fragment(out)
    search = tmp_path / "search.yaml"
    search.write_text(dump_yaml({"space": fake_search.SPACE, "fidelity": {"epochs": 8}}))
    assert read_config(search, include=[out / "proxy.yaml"]).fidelity == chosen.fidelity
    assert chosen in read_audit(out).config.proxies


def read_audit_fragment(out: Path) -> ProxyTraining:
    found = read_yaml(out / "proxy.yaml")
    fidelity, train = found["fidelity"], found.get("train", {})
    assert isinstance(fidelity, dict)
    assert isinstance(train, dict)
    return ProxyTraining(**fidelity, **train)


def test_an_interrupted_audit_says_how_to_resume_and_does(
    recipe: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "audit"
    engine.stop_after = 9
    assert nas(monkeypatch, "audit", recipe) == 130
    errors = capsys.readouterr().err
    assert errors == f"interrupted; to resume: nas audit --out {out}\n"
    assert len(read_audit(out).trainings) == 9
    assert (out / "audit.csv").read_text().count(",done,") == 9
    assert nas(monkeypatch, "report", out) == 0
    assert "9 of 24 trainings" in Page((out / "report.html").read_text()).text
    engine.stop_after = None
    assert nas(monkeypatch, "audit", "--out", out) == 0
    assert engine.trained == 24
    assert read_audit(out).is_complete
    assert nas(monkeypatch, "audit", "--out", out) == 0, "a complete audit shows its result again"
    assert engine.trained == 24


def test_an_audit_is_put_together_by_flags(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = tmp_path / "search.yaml"
    search.write_text(dump_yaml({"space": fake_search.SPACE}))
    flags = (
        "--search", search, "--target-epochs", "4", "--architectures", "7", "--target-seeds", "3", "--proxy-seeds", "2",
        "--seed", "5", "--out", tmp_path / "audit", "--set", "top=3", "--set", "search.train.lr=0.02",
    )  # fmt: skip
    assert nas(monkeypatch, "audit", *flags) == 0
    results = read_audit(tmp_path / "audit")
    config = results.config
    assert (config.target.epochs, config.target_seeds, config.proxy_seeds) == (4, 3, 2)
    assert (config.num_architectures, config.top, config.seed, config.search.train.lr) == (7, 3, 5, 0.02)
    assert len(results.trainings) == 7 * (3 + 2 * len(config.audited))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "name an audit"),
        (("nowhere.yaml",), "no such recipe file: nowhere.yaml"),
        (("nothing",), "no recipe 'nothing'"),
        (("--search", "quickstart", "--architectures", "3"), "num_architectures"),
        (("--search", "quickstart", "--set", "tau=1"), "tau"),
        (("--search", "quickstart", "--target-epochs", "0"), "target.epochs"),
        (("--search", "quickstart", "--set", "proxies"), "--set takes KEY=VALUE"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nas(monkeypatch, "audit", *arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("nas: ")
    assert expected in errors
    assert errors.count("\n") == 1


def test_audits_and_searches_do_not_take_each_others_directories(
    recipe: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    fake_search.run(fake_search.config(run, trials=2, finalists=0))
    for arguments in (["--out", run], [recipe, "--out", run]):
        assert nas(monkeypatch, "audit", *arguments) == 2
        assert "holds a search, no audit" in capsys.readouterr().err
    assert engine.trained == 0
    assert nas(monkeypatch, "audit", recipe) == 0
    for arguments in (["--out", tmp_path / "audit"], ["quickstart", "--out", tmp_path / "audit"]):
        assert nas(monkeypatch, "search", *arguments) == 2
        assert "holds an audit, no search" in capsys.readouterr().err
    for command, *flags in (["show"], ["rerank"], ["doctor"], ["doctor", "--repair"]):
        before = (tmp_path / "audit" / "config.yaml").read_text()
        assert nas(monkeypatch, command, tmp_path / "audit", *flags) == 2
        assert "holds an audit" in capsys.readouterr().err
        assert (tmp_path / "audit" / "config.yaml").read_text() == before


def test_a_report_of_an_audit_that_has_not_begun_is_refused(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "report", tmp_path / "audit") == 2
    assert "no such run directory" in capsys.readouterr().err


def test_installed_audits_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(monkeypatch, "audit", "--list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == recipe_names(AUDITS)


def test_a_terminal_shows_what_is_trained_and_the_time_left() -> None:
    stream = io.StringIO()
    display = AuditDisplay(fake_audit.config(), Console(file=stream, force_terminal=True, width=140))
    cell = Cell(number=3, training="e8", replicate=0)
    with display:
        display.preparing("reading the images")
        for step in range(4):
            display.training(cell, f"epoch {step + 1} of 8", done=step / 8, total=40, share=0.001 * step)
        display._progress.refresh()
        task = display._progress.tasks[0]
        assert task.time_remaining is not None
        assert task.completed == pytest.approx(0.003)
        display.training(cell, "", done=1.0, total=40, share=0.01)
        assert len(display._progress.tasks) == 1
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "e8 of architecture 3" in shown
    assert "epoch 4 of 8" in shown
