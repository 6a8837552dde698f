"""The model card: what the network is, where its weights come from, what was measured where, and how to load it."""

from proxies.complexity import count_macs, count_params
from search_spaces.stage_table import stage_rows

from ..quantities import gibibytes
from .card_reference import reference_sections, table
from .subject import Subject


def write_card(subject: Subject, title: str, usage: str) -> str:
    """The card as Markdown.

    Args:
        subject: What is exported.
        title: Its name.
        usage: Lines of Python that load it.
    """
    parts = [
        f"# {title}",
        _weights(subject),
        f"## Loading\n\n```python\n{usage.strip()}\n```",
        _network(subject),
        _stages(subject),
        *reference_sections(subject.reference),
        "Written by `nas export`; `nas verify` compares the logits again, on any machine.",
    ]
    return "\n\n".join(parts) + "\n"


def _weights(subject: Subject) -> str:
    origin = subject.origin
    if origin.is_trained:
        first = f"Weights from {origin.text}. How accurate they are was not measured by this export."
    else:
        first = f"**Untrained weights** ({origin.text}): the network answers at random until it is trained."
    return "\n".join([first, *(f"\n- {note}" for note in origin.notes)])


def _network(subject: Subject) -> str:
    settings, size = subject.settings, subject.resolution
    params = count_params(settings.architecture, settings.num_classes, settings.in_channels)
    macs = count_macs(settings.architecture, size, settings.num_classes, settings.in_channels)
    rows = [
        ("input", f"(N, {settings.in_channels}, {size}, {size}) float32, normalised as in the weights' training"),
        (
            "image size",
            f"exported for inference at {size} pixels; the architecture's training size is "
            f"{settings.architecture.resolution}",
        ),
        ("output", f"(N, {settings.num_classes}) logits"),
        ("parameters", f"{params:,} ({gibibytes(4 * params)} as float32)"),
        ("MACs", f"{macs:,} at {size} pixels: convolutions and linear layers, counted"),
        ("padding", '"same", as TensorFlow pads' if settings.padding else "symmetric"),
        ("epsilon of batch norms", f"{settings.norm_eps:g}"),
        ("activation", settings.act),
    ]
    return f"## Network\n\n```\n{settings.architecture}\n```\n\n{table(('', ''), rows)}"


def _stages(subject: Subject) -> str:
    rows = [
        (row.stage, row.block, row.layers, row.channels, row.stride, f"{row.se_ratio:g}" if row.se_ratio else "–",
         f"{row.size}²")
        for row in stage_rows(subject.settings.architecture)
    ]  # fmt: skip
    head = ("stage", "block", "layers", "channels", "stride", "SE", "output")
    size = subject.settings.architecture.resolution
    return f"## Stages\n\n{table(head, rows)}\n\nOutput sizes at the architecture's own {size} pixels."
