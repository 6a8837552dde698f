"""The command line's good paths, and what it must not import."""

import subprocess
import sys
from pathlib import Path

import fake_search
import pytest

from nas.cli import main
from nas.recipes import describe_recipe, find_recipe, recipe_names
from search_spaces import catalog

HEAVY = ("torch", "timm", "optuna", "pandas", "pydantic", "numpy", "plotly")


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def imported_by(statement: str) -> set[str]:
    script = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["search", "--help"], ["audit", "--help"], ["search", "--list"]]
)
def test_help_needs_typer_only(arguments: list[str]) -> None:
    statement = f"sys.argv = ['nas', *{arguments}]; from nas.cli import main; main()"
    # Typer itself reads a command's arguments with Pydantic.
    heavy = set(HEAVY) - ({"pydantic"} if arguments[0] in ("search", "audit") else set())
    assert not imported_by(statement) & heavy


def test_the_driver_of_a_search_or_an_audit_needs_no_torch() -> None:
    displays, pages = "nas.cli.search_display, nas.cli.audit_display", "nas.report.page, nas.report.audit_page"
    assert not imported_by(f"import nas.search, nas.audit.run, {displays}, {pages}") & {"torch", "timm"}


def test_every_recipe_is_sound_and_says_what_it_is() -> None:
    from nas.config import read_config

    for name in recipe_names():
        assert read_config(find_recipe(name)).trials >= 1
        assert len(describe_recipe(name)) > 20


def test_show_prints_stages_and_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(monkeypatch, "show", "efficientnetv2-s") == 0
    output = capsys.readouterr().out
    assert "21,458,488 parameters" in output
    assert "5,307,561,248 MACs at 300 px" in output
    assert output.count("Fused-MBConv") == 3


def test_show_by_module_uses_fvcore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "stem8-er_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32"
    assert nas(monkeypatch, "show", text, "--by-module", "--num-classes", "10") == 0
    assert "fvcore's own count" in capsys.readouterr().out


def test_show_reads_files_and_run_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = fake_search.run(fake_search.config(tmp_path / "run", trials=3, finalists=0))
    best = run.leaderboard()[0].architecture
    (tmp_path / "text.txt").write_text(best + "\n")
    for place in (tmp_path / "run", tmp_path / "run" / "best.yaml", tmp_path / "text.txt"):
        assert nas(monkeypatch, "show", place) == 0
        assert capsys.readouterr().out.startswith(best)


def test_measure_says_how_it_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "stem8-er_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32"
    flags = ("--batch-size", "8", "--pairs", "5", "--threads", "1", "--dtype", "float32", "--device", "cpu")
    assert nas(monkeypatch, "measure", text, *flags, "--visits", "1", "--budget", "0", "--memory") == 0
    output = capsys.readouterr().out
    for expected in ("step time", "95 % interval", "images/s", "ratio", "verdict", "after 1 visit", "1 thread", "GiB"):
        assert expected in output
    assert "batch 8, 32 px, float32" in output


def test_a_calibrated_table_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = (
        "{resolution: 32, stem_channels: 8, head_channels: 32, stages: [{out_channels: 8, stride: 2, num_repeats: 1}]}"
    )
    flags = ("--batch-size", "4", "--threads", "1", "--budget", "0", "--device", "cpu", "--dtype", "float32")
    assert nas(monkeypatch, "calibrate", "--space", space, *flags, "--out", tmp_path / "table.json") == 0
    assert "calibrated  14 blocks" in capsys.readouterr().out
    member = "stem8-ir_r1_k5_s2_e4_c8_se0.25-head32@32"
    assert nas(monkeypatch, "show", member, "--table", tmp_path / "table.json") == 0
    assert "predicted for" in capsys.readouterr().out
    assert nas(monkeypatch, "show", member.replace("c8", "c16"), "--table", tmp_path / "table.json") == 2
    assert "does not have this block" in capsys.readouterr().err


def test_rerank_compare_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        fake_search.run(fake_search.config(tmp_path / name, trials=4, finalists=1, seed=seed))
    before = (tmp_path / "one" / "study.db").read_bytes()
    assert nas(monkeypatch, "rerank", tmp_path / "one", "--w", "-0.5", "--v", "0") == 0
    assert "w = -0.5, v = 0" in capsys.readouterr().out
    assert nas(monkeypatch, "compare", tmp_path / "one", tmp_path / "two") == 0
    assert "seed" in capsys.readouterr().out
    assert nas(monkeypatch, "report", tmp_path / "one", "--out", tmp_path / "report.html") == 0
    assert (tmp_path / "report.html").stat().st_size > 1_000_000
    assert (tmp_path / "one" / "study.db").read_bytes() == before


def test_the_benchmarks_have_names(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert nas(monkeypatch, "bench", "--list") == 0
    assert capsys.readouterr().out.split() == [
        "cluster",
        "family",
        "overhead",
        "progressive",
        "proxy",
        "samplers",
        "step-time",
        "training",
    ]


def test_every_catalog_name_can_be_shown() -> None:
    from nas.reference import find_network

    for name in catalog.names():
        assert find_network(name).architecture == catalog.get(name).architecture
