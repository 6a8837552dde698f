"""ARCH on the command line: a network that somebody names, with what the place it stands in says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces import catalog
from search_spaces.architecture import Architecture, parse
from search_spaces.catalog_entry import CatalogEntry
from search_spaces.strict_yaml import read_yaml

if TYPE_CHECKING:
    from .family.members import Family, Member
    from .full_training.record import TrainingRecord
    from .leaderboard import Entry
    from .run import Run

NUM_CLASSES, IN_CHANNELS = 1000, 3
"""ImageNet's, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A network, and what is known of it; None is what its place does not say."""

    architecture: Architecture
    num_classes: int = NUM_CLASSES
    in_channels: int = IN_CHANNELS
    test_size: int | None = None
    """Inference size, pixels per side."""
    published: CatalogEntry | None = None
    """What the catalog says of it."""
    run: "Run | None" = None
    entry: "Entry | None" = None
    """The run's best, whose architecture it is."""
    family: "Family | None" = None
    member: "Member | None" = None
    """The family's, whose architecture it is."""
    training: "TrainingRecord | None" = None
    """That trained it."""
    weights: Path | None = None
    """That its training kept."""

    @property
    def inference_size(self) -> int:
        """Pixels per side: the test size, where it is known, else the architecture's own, at which it is trained."""
        return self.test_size or self.architecture.resolution


def find_network(text: str) -> Reference:
    """A network by catalog name, text, file, member of a family (``FAMILY.yaml:MEMBER``), run or training directory.

    Raises:
        ValueError: If it is none of these.
    """
    if text in catalog.names():
        entry = catalog.get(text)
        return Reference(architecture=entry.architecture, test_size=entry.test_size, published=entry)
    path = Path(text)
    if path.is_dir():
        return _trained(path) or _best_of(path)
    if path.is_file():
        return _in_file(path)
    if text.startswith("stem"):
        return Reference(architecture=parse(text))
    file, colon, name = text.rpartition(":")
    if colon and Path(file).is_file():
        return _member(Path(file), name)
    raise ValueError(f"no architecture text, file, run directory or catalog name: {text!r}")


def _trained(path: Path) -> Reference | None:
    """Of a training's directory; None where it is none."""
    from .full_training.directory import TrainingDirectory
    from .full_training.record import read_record

    directory = TrainingDirectory(path)
    if not directory.record_file.exists():
        return None
    record = read_record(directory.record_file)
    return Reference(
        architecture=parse(record.architecture),
        num_classes=record.num_classes,
        in_channels=record.in_channels,
        test_size=record.test_size,
        training=record,
        weights=directory.weights_file if directory.weights_file.exists() else None,
    )


def _best_of(path: Path) -> Reference:
    from .run import read_run

    run = read_run(path)
    entries = run.leaderboard()
    if not entries:
        raise ValueError(f"no candidate has been judged yet in {path}")
    data = run.preparation.data
    return Reference(
        architecture=parse(entries[0].architecture),
        num_classes=data.num_classes,
        in_channels=data.in_channels,
        run=run,
        entry=entries[0],
    )


def _member(path: Path, name: str) -> Reference:
    from .family.members import read_family

    family = read_family(path)
    member = family.member(name)
    return Reference(
        architecture=member.parsed(),
        num_classes=family.setting.num_classes,
        in_channels=family.setting.in_channels,
        test_size=member.test_size,
        family=family,
        member=member,
    )


def _in_file(path: Path) -> Reference:
    """From `best.yaml`, or from a file that holds nothing but the text."""
    if path.suffix not in (".yaml", ".yml"):
        try:
            return Reference(architecture=parse(path.read_text(encoding="utf-8").strip()))
        except UnicodeDecodeError:
            raise ValueError(f"not a text file: {path}") from None
    written = read_yaml(path)
    if "members" in written:
        raise ValueError(f"{path} holds a family; name a member of it, e.g. {path}:m")
    data: Any = written.get("data")
    facts: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
    return Reference(
        architecture=parse(written.get("architecture")),  # type: ignore[arg-type]  # parse checks the type itself
        num_classes=_whole(facts.get("num_classes"), NUM_CLASSES),
        in_channels=_whole(facts.get("in_channels"), IN_CHANNELS),
    )


def _whole(value: object, otherwise: int) -> int:
    return value if type(value) is int and value > 0 else otherwise
