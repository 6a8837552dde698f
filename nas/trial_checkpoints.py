"""Where a search keeps its short trainings until they have a verdict, so that a next attempt goes on. No torch."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxies.seeds import derived_seed
from proxies.training.config import Fidelity

from .config import SearchConfig
from .run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class KeptTraining:
    """One short training of a search, whatever attempt it is in."""

    architecture: str
    seed: int
    train_size: int | None = None
    """Pixels per side; None: the fidelity's."""
    fidelity: Fidelity | None = None
    """None: the search's."""

    def file_name(self, config: SearchConfig) -> str:
        """Of its checkpoint."""
        fidelity = self.fidelity or config.fidelity
        size = self.train_size or fidelity.resolution
        facts = (self.architecture, fidelity.epochs, fidelity.data_share, fidelity.width, size, self.seed)
        return f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.pt"


def kept_training(
    config: SearchConfig, architecture: str, replicate: int = 0, train_size: int | None = None
) -> KeptTraining:
    """The training of an architecture; its own is replicate 0, further ones are 1, 2 …"""
    return KeptTraining(architecture, derived_seed(config.seed, architecture, replicate), train_size)


def checkpoint_folder(config: SearchConfig) -> Path:
    return config.out / "checkpoints" / "trials"


def make_checkpoint_folder(config: SearchConfig) -> Path | None:
    """The folder, made where it is missing; None on a machine that cannot see the run directory, or write there."""
    if not RunDirectory(config.out).study_file.exists():
        return None
    folder = checkpoint_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def forget_trainings(config: SearchConfig, *trainings: KeptTraining) -> None:
    """Remove what is kept of trainings that have their verdict.

    What cannot be removed does no harm, and is tried again when the search is started again.
    """
    names = {training.file_name(config) for training in trainings}
    with suppress(OSError):
        for file in checkpoint_folder(config).iterdir():
            # Beside a checkpoint may lie what a killed worker began to write: its name, between a dot and more.
            if ".".join(file.name.removeprefix(".").split(".")[:2]) in names:
                file.unlink(missing_ok=True)
