"""``nas scale``: the published family, budgets, run directories, and what a user may get wrong."""

import shutil
import subprocess
import sys
from pathlib import Path

import fake_search
import families
import pytest

from nas.cli import main
from nas.family.fit_run import InterruptedFitError
from nas.family.members import Family, dump_family, read_family
from nas.run import read_run
from proxies.step_time_table import dump_table
from search_spaces import catalog

TINY = str(families.TINY)
SMALL = ("--num-classes", "10", "--batch-size", "4")


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, in which family.yaml is written by default."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scale") / "run"
    fake_search.run(fake_search.config(path, trials=4, finalists=0))
    return path


@pytest.fixture
def run_path(searched: Path, tmp_path: Path) -> Path:
    return shutil.copytree(searched, tmp_path / "run")


def require_one_line(capsys: pytest.CaptureFixture[str], expected: str) -> None:
    errors = capsys.readouterr().err
    assert errors.startswith("nas: ")
    assert expected in errors
    assert errors.count("\n") == 1
    assert "Traceback" not in errors


def networks(family: Family) -> dict[str, str]:
    return {member.name: member.architecture for member in family.members}


def test_v2_s_gives_the_published_m_and_l(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "scale", "efficientnetv2-s") == 0
    output = capsys.readouterr().out
    family = read_family(here / "family.yaml")
    for member in family.members:
        published = catalog.get(f"efficientnetv2-{member.name}")
        assert (member.architecture, member.params) == (str(published.architecture), published.params)
        assert member.test_size == published.test_size
        assert member.architecture in "".join(output.split())
    assert list(networks(family)) == ["s", "m", "l"]
    assert "l 608 → 480" in output
    assert output.rstrip().endswith("written: family.yaml and family.html")
    assert sorted(path.name for path in here.iterdir()) == ["family.html", "family.yaml"]


def test_scaling_needs_no_torch(here: Path) -> None:
    code = (
        "import sys; sys.argv = ['nas', 'scale', 'efficientnetv2-s']\n"
        "from nas.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'timm'} & set(sys.modules), 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
    assert (here / "family.yaml").exists()


def test_efficientnets_by_their_own_ladder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nas(monkeypatch, "scale", "efficientnet-b0", "--ladder", "efficientnet") == 0
    found = networks(read_family(here / "family.yaml"))
    assert found == {f"b{n}": str(catalog.get(f"efficientnet-b{n}").architecture) for n in range(4)}
    assert (
        nas(monkeypatch, "scale", "efficientnet-b3", "--ladder", "efficientnet", "--member", "b8", "--member", "l2")
        == 0
    )
    (b8, l2) = read_family(here / "family.yaml").members
    assert (b8.test_size, l2.test_size) == (672, 800)
    assert b8.params == catalog.get("efficientnet-b8").params


def test_members_of_ones_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("--member", "s", "--member", "phone:params=30k", "--member", "m:macs=20M,test-size=100")
    assert nas(monkeypatch, "scale", TINY, *SMALL, *wanted, "--out", "own.yaml") == 0
    family = read_family(here / "own.yaml")
    assert networks(family)["s"] == TINY
    assert family.member("phone").params <= 30_000
    assert (family.member("m").test_size, family.member("m").parsed().resolution) == (100, 80)
    assert (family.setting.num_classes, family.setting.batch_size) == (10, 4)


def test_a_member_can_be_scaled_and_shown_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "scale", "efficientnetv2-s") == 0
    assert nas(monkeypatch, "show", "family.yaml:m") == 0
    assert "54,139,356 parameters" in capsys.readouterr().out
    assert nas(monkeypatch, "show", "family.yaml") == 2
    require_one_line(capsys, "family.yaml holds a family; name a member of it, e.g. family.yaml:m")
    assert nas(monkeypatch, "scale", "family.yaml:m", "--out", "again.yaml") == 0
    assert networks(read_family(Path("again.yaml"))) == networks(read_family(Path("family.yaml")))


def test_a_table_predicts_step_times(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "table.json").write_text(dump_table(families.timed_source().tables[0]), encoding="utf-8")
    arguments = ("--table", "table.json", "--member", "s", "--member", "x:step-time=2x")
    assert nas(monkeypatch, "scale", TINY, *arguments) == 0
    small, large = read_family(here / "family.yaml").members
    assert small.predicted is not None
    assert large.predicted is not None
    assert 1.5 < large.predicted.seconds / small.predicted.seconds <= 2
    output = capsys.readouterr().out
    assert "step time, predicted" in output
    assert families.NOBODY.name in output


def test_a_run_directory_gets_its_family(
    run_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "scale", run_path) == 0
    run = read_run(run_path)
    assert isinstance(run.family, Family)
    assert run.family.network == run.leaderboard()[0].architecture == networks(run.family)["s"]
    assert (run.family.setting.num_classes, run.family.setting.in_channels) == (10, 1)
    assert all(member.predicted for member in run.family.members)
    assert (run_path / "family.html").exists()
    assert list(here.iterdir()) == []
    assert nas(monkeypatch, "report", run_path) == 0
    assert 'id="family"' in (run_path / "report.html").read_text(encoding="utf-8")
    capsys.readouterr()


def test_a_damaged_family_is_written_anew(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run_path / "family.yaml").write_text("members: [")
    assert nas(monkeypatch, "report", run_path) == 0
    assert nas(monkeypatch, "scale", run_path) == 0
    assert isinstance(read_run(run_path).family, Family)


def test_coefficients(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nas(monkeypatch, "scale", "efficientnetv2-s", "--coefficients", "1.2,1,1") == 0
    family = read_family(here / "family.yaml")
    assert family.coefficients is not None
    assert family.coefficients.alpha == 1.2
    assert {stage.out_channels for stage in family.member("m").parsed().stages[:3]} == {24, 48, 64}


def test_the_cap_can_be_moved_and_lifted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, size in ((("--max-size", "400"), 400), (("--no-cap",), 608), ((), 480)):
        assert nas(monkeypatch, "scale", "efficientnetv2-s", "--member", "l", *flags) == 0
        assert read_family(here / "family.yaml").member("l").test_size == size


MISTAKES = [
    (["nosuch"], "no architecture text, file, run directory or catalog name: 'nosuch'"),
    (["family.yaml:m"], "no architecture text, file, run directory or catalog name"),
    ([TINY, "--member", "m:params"], "m: params must be a number such as 60M or 24G, got ''"),
    ([TINY, "--member", "M"], "a member is named by lower-case letters and digits"),
    ([TINY, "--member", "phone"], "phone is no size of efficientnetv2"),
    ([TINY, "--member", "m", "--member", "m"], "members must have different names, got m, m"),
    ([TINY, "--member", "x:params=100"], "x: no network of this family keeps it: the smallest has"),
    ([TINY, "--member", "x:step-time=2x"], "x: a budget of step time needs a step-time table"),
    ([TINY, "--member", "x:macs=1G,test-size=8"], "x: no network of this family can be built"),
    ([TINY, "--member", "m:test-size=512"], "m: test size must be at most the cap of 480 pixels, got 512"),
    (["stem8-ir_r1_k3_s2_e4_c8-head16@32", "--member", "b0"], "b0: stage 1 must keep at least 8 channels, got 8 ×"),
    (["efficientnet-b7"], "trains at 600 pixels, which must be at most the cap of 480"),
    ([TINY, "--ladder", "resnet"], "--ladder must be one of efficientnet, efficientnetv2, got 'resnet'"),
    ([TINY, "--no-cap", "--max-size", "400"], "--no-cap and --max-size exclude each other"),
    ([TINY, "--max-size", "0"], "Invalid value for '--max-size'"),
    ([TINY, "--coefficients", "1.2,1.1"], "--coefficients takes three numbers such as 1.2,1.1,1.15, got '1.2,1.1'"),
    ([TINY, "--coefficients", "a,b,c"], "--coefficients takes three numbers such as 1.2,1.1,1.15, got 'a,b,c'"),
    ([TINY, "--coefficients", "0.9,1.1,1.1"], "alpha must be finite and at least 1, got 0.9"),
    ([TINY, "--coefficients", "nan,1.1,1.1"], "alpha must be finite and at least 1, got nan"),
    ([TINY, "--fit"], "--fit needs a run directory, whose images and training judge"),
    ([TINY, "--table", "nowhere.json"], "nowhere.json"),
    ([TINY, "--out", "nowhere/family.yaml"], "no such folder: "),
    ([TINY, "--out", "family.html"], "--out must name a YAML file such as family.yaml, got family.html"),
    ([TINY, "--measure", "--device", "cuda:99"], "cuda:99"),
    ([TINY, "--survivors", "1"], "Invalid value for '--survivors'"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[expected[:40] for _, expected in MISTAKES])
def test_mistakes_end_with_one_line_and_write_nothing(
    arguments: list[str], expected: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "scale", *arguments) == 2
    require_one_line(capsys, expected)
    assert list(here.iterdir()) == []


def test_mistakes_with_run_directories(
    run_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "scale", run_path, "--fit", "--coefficients", "1.2,1.1,1.15") == 2
    require_one_line(capsys, "--fit finds the coefficients, so --coefficients is not for it")
    assert nas(monkeypatch, "scale", run_path, "--table", "table.json") == 2
    require_one_line(capsys, "a run directory has its own, so --table must not be given")
    assert nas(monkeypatch, "scale", tmp_path / "here") == 2
    require_one_line(capsys, "not a run directory")
    measured = tmp_path / "measured"
    fake_search.run(fake_search.config(measured, trials=2, finalists=0, step_time="measured"))
    assert nas(monkeypatch, "scale", measured, "--fit") == 2
    require_one_line(capsys, "--fit needs step times that are predicted")
    assert not (run_path / "family.yaml").exists()


def test_a_damaged_family_file(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = dump_family(families.family_of(families.small_source()))
    (here / "family.yaml").write_text(text.replace("ladder:", "stairs:"))
    for command in ("show", "scale"):
        assert nas(monkeypatch, command, "family.yaml:m") == 2
        require_one_line(capsys, "family.yaml is no family: ladder: Field required")


class InlineTrainings:
    """In place of worker processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from nas.family import fit_run

        real = fit_run.fit_growth
        self.runs = 0

        def inline(*args: object, **settings: object) -> object:
            self.runs += 1
            return real(*args, **settings, make_executor=lambda config: fake_search.InlineExecutor())  # type: ignore[arg-type]

        monkeypatch.setattr(fit_run, "fit_growth", inline)


def test_a_fit_is_kept_in_the_family(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    InlineTrainings(monkeypatch)
    assert nas(monkeypatch, "scale", run_path, "--fit", "--survivors", "3", "--trainings", "1") == 0
    family = read_family(run_path / "family.yaml")
    assert family.fit is not None
    assert len(family.fit.entries) == 3
    assert (family.coefficients is not None) == family.fit.is_decided
    output = " ".join(capsys.readouterr().out.split())
    assert "networks that growth could lead to, 3 were trained" in output
    assert "Directions of growth that were trained" in (run_path / "family.html").read_text(encoding="utf-8")


def test_an_interrupted_fit_can_be_resumed(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nas.family import fit_run

    def interrupted(*args: object, **settings: object) -> object:
        raise InterruptedFitError

    monkeypatch.setattr(fit_run, "fit_growth", interrupted)
    assert nas(monkeypatch, "scale", run_path, "--fit") == 130
    require_one_line(capsys, "interrupted; what was trained is kept, run it again to go on")
    assert not (run_path / "family.yaml").exists()


def test_a_fit_in_a_directory_that_is_in_use(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    InlineTrainings(monkeypatch)
    with read_run(run_path).directory.locked():
        assert nas(monkeypatch, "scale", run_path, "--fit") == 2
    require_one_line(capsys, "is in use by")


@pytest.mark.slow
def test_a_family_is_fitted_on_real_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Searched, scaled, fitted and measured on digits; done again, nothing is trained."""
    step = {"batch_size": 4, "num_pairs": 3, "visits": 1, "budget_s": 0.0, "calibration_s": 0.0}
    out = tmp_path / "run"
    config = fake_search.config(
        out,
        space=fake_search.TINY_SPACE,
        trials=2,
        finalists=0,
        data={"source": "digits"},
        fidelity={"epochs": 1, "data_share": 0.2},
        step_time=step,
        threads=1,
        device="cpu",
    )
    from nas.observer import Observer
    from nas.search import run_search

    run_search(config, observer=Observer())
    flags = ("--fit", "--survivors", "2", "--trainings", "1", "--member", "s", "--member", "m")
    assert nas(monkeypatch, "scale", out, *flags) == 0
    family = read_family(out / "family.yaml")
    assert family.fit is not None
    assert len(family.fit.entries) == 2
    assert all(0 < entry.accuracy < 1 and entry.measured_step_time_s for entry in family.fit.entries)
    assert all(member.predicted for member in family.members)
    study = (out / "study.db").read_bytes()
    assert nas(monkeypatch, "scale", out, *flags) == 0
    assert read_family(out / "family.yaml").fit == family.fit
    assert (out / "study.db").read_bytes() == study
    capsys.readouterr()
