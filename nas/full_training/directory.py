"""A training directory: all a training leaves, and all that is needed to carry on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TrainingDirectory:
    """Its paths."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The complete configuration, re-runnable."""
        return self.path / "config.yaml"

    @property
    def environment_file(self) -> Path:
        """Versions, git revision and device."""
        return self.path / "environment.json"

    @property
    def record_file(self) -> Path:
        """Schedule, curves and events, for reports; see `read_record`."""
        return self.path / "training.json"

    @property
    def curves_file(self) -> Path:
        """One row for each epoch; a view that nobody reads back."""
        return self.path / "curves.csv"

    @property
    def last_checkpoint(self) -> Path:
        """Everything a training needs to go on, of the newest step kept."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def judged_checkpoint(self) -> Path:
        """The same, right after the newest epoch that was judged."""
        return self.path / "checkpoints" / "judged.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the most accurate epoch, as trained and averaged."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def weights_file(self) -> Path:
        """The weights to take away, of the most accurate epoch, with the settings of their network."""
        return self.path / "weights.safetensors"

    @property
    def tensorboard_folder(self) -> Path:
        return self.path / "tensorboard"

    def tracked_file(self, service: str) -> Path:
        """What a tracking service, "wandb" or "mlflow", was told, and the id of its run."""
        return self.path / f".{service}.json"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"
