"""Is an export what it was made of? Read it back as a stranger would, and compare the logits that it carries."""

from pathlib import Path

from search_spaces.messages import first_line

from .formats import BrokenExportError, Format, format_of
from .probe import Comparison, Probe


def verify(path: Path) -> Comparison:
    """Read an export back and compare its logits with those it carries; needs nothing of its source.

    A timm export is imported, and a `torch.export` program unpickled, as whoever uses it must: both run what the file
    says, so verify what you would use.

    Raises:
        ValueError: If the path is no export of ours, or a package that its format needs is missing.
        BrokenExportError: If it cannot be read, or gives other logits.
    """
    form = format_of(path)
    metadata = form.read_metadata(path)
    if "export_format" not in metadata:
        raise ValueError(f"only what `nas export` wrote carries logits to compare with, got {path}")
    try:
        comparison = compare(form, path)
    except Exception as error:  # Runtimes fail on a damaged file in any way they like.
        raise BrokenExportError(f"{path} cannot be used as {form.name}: {first_line(error)}") from error
    require_equal(comparison, path)
    return comparison


def compare(form: Format, path: Path) -> Comparison:
    """The export's own logits against those it carries.

    Raises:
        ValueError: If it carries none, or its logits are of another shape.
    """
    probe = Probe.from_metadata(form.read_metadata(path))
    return probe.compare(form.run(path, probe.batches()))


def require_equal(comparison: Comparison, path: Path) -> None:
    """Make sure that a comparison was passed.

    Raises:
        BrokenExportError: If not.
    """
    if not comparison.passed:
        raise BrokenExportError(f"{path} gives other logits than its source: {comparison}")
