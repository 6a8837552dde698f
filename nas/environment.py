"""Where a run took place: versions, code, machine."""

import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

_DISTRIBUTIONS = ("training-aware-nas", "torch", "torchvision", "timm", "optuna", "numpy", "pandas", "pydantic")


def describe_environment(device: str) -> dict[str, object]:
    """What `environment.json` holds.

    Args:
        device: Hardware and software as the worker that prepared the run found them.
    """
    return {
        "device": device,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        "git_revision": _git_revision(),
        "command": sys.argv,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The revision of our own code, with "+" where it was changed; None outside a checkout or without git."""
    folder = Path(__file__).parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+" if _git(folder, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
