"""A wheel holds all that an installed project needs, outside its clone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_an_installed_wheel_works_outside_the_clone(tmp_path: Path) -> None:
    """Its files are unpacked where nothing else of ours is; the packages it requires are those of this environment."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert "experiments/quickstart.yaml" in names
    assert not [name for name in names if name.startswith("tests/")]
    for folder in ("nas/report", "experiments"):
        kept = {path.name for path in (ROOT / folder).iterdir() if path.is_file() and path.suffix != ".pyc"}
        assert kept <= {name.removeprefix(f"{folder}/") for name in names}
    script = (
        "import nas, experiments, sys; from nas.cli import main\n"
        f"assert nas.__file__.startswith({str(site)!r}) and experiments.__file__.startswith({str(site)!r})\n"
        "main()"
    )

    def run(*arguments: str) -> str:
        # -I ignores the current folder and PYTHONPATH, and an editable install comes after what we put first.
        command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {script}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "quickstart" in run("search", "--list")
    out = tmp_path / "run"
    small = ("--trials", "1", "--set", "finalists=0", "--set", "fidelity.epochs=1", "--set", "workers=1")
    assert "report:" in run("search", "quickstart", "--out", str(out), *small)
    assert (out / "report.html").stat().st_size > 1_000_000
