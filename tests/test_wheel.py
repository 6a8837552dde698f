"""A wheel holds all that an installed project needs, outside its clone."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("nas", "proxies", "search_spaces", "experiments")


@pytest.mark.slow
def test_an_installed_wheel_works_outside_the_clone(tmp_path: Path) -> None:
    """In an environment of its own, which lends only the packages that the project requires."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert not [name for name in names if name.startswith("tests/")]
    ours = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    missing = {str(path.relative_to(ROOT)) for path in ours if "__pycache__" not in path.parts} - names
    assert not missing, "every module, recipe and asset of the packages is in the wheel"

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    # A plain path, so that what it lends is found but its .pth files, an editable install's among them, are not read.
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    lent = {path for path in sys.path if path.endswith("site-packages")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)))

    def run(*arguments: str) -> str:
        command = [str(tmp_path / "venv" / "bin" / "nas"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    look = [str(python), "-c", "import nas; print(nas.__file__)"]
    where = subprocess.run(look, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert where.stdout.startswith(str(site))
    assert "quickstart" in run("search", "--list")
    assert {"paper", "code"} <= {line.split()[0] for line in run("train", "--list").splitlines()}
    small = ("--trials", "1", "--set", "finalists=0", "--set", "fidelity.epochs=1", "--workers", "1")
    assert "report:" in run("search", "quickstart", "--out", str(tmp_path / "run"), *small)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1_000_000
