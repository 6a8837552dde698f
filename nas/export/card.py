"""The model card: what the network is, where its weights come from, what was measured where, and how to load it."""

from collections.abc import Iterable, Sequence

from proxies.complexity import count_macs, count_params
from proxies.step_time import StepTime
from search_spaces.stage_table import stage_rows

from ..quantities import count, gibibytes, milliseconds, percent
from .subject import Finding, Subject

_FOLDER = "imagefolder:"


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
        *([_search(subject.finding), _costs(subject.finding), _recipe(subject.finding)] if subject.finding else []),
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
        ("output", f"(N, {settings.num_classes}) logits"),
        ("parameters", f"{params:,} ({gibibytes(4 * params)} as float32)"),
        ("MACs", f"{macs:,} at {size} pixels: convolutions and linear layers, counted"),
        ("padding", '"same", as TensorFlow pads' if settings.padding else "symmetric"),
        ("epsilon of batch norms", f"{settings.norm_eps:g}"),
        ("activation", settings.act),
    ]
    return f"## Network\n\n```\n{settings.architecture}\n```\n\n{_table(('', ''), rows)}"


def _stages(subject: Subject) -> str:
    rows = [
        (row.stage, row.block, row.layers, row.channels, row.stride, f"{row.se_ratio:g}" if row.se_ratio else "–",
         f"{row.size}²")
        for row in stage_rows(subject.settings.architecture)
    ]  # fmt: skip
    head = ("stage", "block", "layers", "channels", "stride", "SE", "output")
    size = subject.settings.architecture.resolution
    return f"## Stages\n\n{_table(head, rows)}\n\nOutput sizes at the architecture's own {size} pixels."


def _search(finding: Finding) -> str:
    run, entry = finding.run, finding.entry
    data, fidelity = run.preparation.data, run.config.fidelity
    size = fidelity.resolution or run.config.search_space().resolution
    trainings = f"the mean of {entry.num_trainings} short trainings" if entry.num_trainings > 1 else "a short training"
    share = "" if fidelity.data_share == 1 else f", {fidelity.data_share:.0%} of the training images"
    verdict = {"yes": "yes", "no": "no", "undecided": "undecided at 95 %", None: "the backbone was not judged"}
    better = "it is the backbone itself" if entry.is_backbone else verdict[entry.better_than_backbone]
    return (
        "## Accuracy in the search\n\n"
        f"Top-1 accuracy {percent(entry.accuracy, entry.accuracy_se)} (± standard error), {trainings} of "
        f"{fidelity.epochs} epochs at {size} pixels{share}, on {data.num_minival} held-out images of "
        f"{_images(data.source)} with {data.num_classes} classes.\n"
        "It is the architecture's, **not that of the weights here**: the search kept none. The architecture was chosen "
        f"among {sum(record.is_judged for record in run.records)} by its reward on these very images, so part of the "
        "figure is luck.\n\n"
        f"Better than the search's backbone: {better} "
        f"(reward {entry.reward:.4f} ± {entry.reward_se:.4f})."
    )


def _costs(finding: Finding) -> str:
    entry, data = finding.entry, finding.run.preparation.data
    rows = [("training step", _step_time(finding)), ("memory of a training step", _memory(finding))]
    inference = entry.measurement and entry.measurement.inference
    if inference:
        rows.append(
            (
                "inference step",
                f"{milliseconds(inference.median_s)}, measured: batch {inference.batch_size}, "
                f"{inference.resolution} pixels, {inference.mode}, {inference.device}",
            )
        )
    rows.append(("parameters", f"{entry.params:,}"))
    rows.append(("MACs", f"{count(entry.macs)} an image"))
    channels = f"{data.in_channels} image channel{'s' * (data.in_channels != 1)}"
    note = f"Of the network as it was searched: {data.num_classes} classes, {channels}."
    return f"## Costs in the search\n\n{note}\n\n{_table(('', ''), rows)}"


def _step_time(finding: Finding) -> str:
    run, entry = finding.run, finding.entry
    value = milliseconds(entry.step_time_s, entry.step_time_se)
    measured = _measured_step_time(finding)
    if measured is not None:
        return (
            f"{value}, measured: batch {measured.batch_size}, {measured.resolution} pixels, {measured.mode}, "
            f"{measured.device}"
        )
    if run.config.step_time.method == "macs" or not run.tables:
        return f"{value}: multiply-adds as a stand-in, no time that was measured"
    devices = ", ".join(
        f"{table.device} (batch {table.workload.batch_size}, {table.workload.mode})" for table in run.tables
    )
    return f"≈ {value}, predicted from blocks measured on {devices}"


def _measured_step_time(finding: Finding) -> StepTime | None:
    if finding.entry.measurement is not None:
        return finding.entry.measurement.step_time
    record = next(record for record in finding.run.records if record.number == finding.entry.number)
    return record.outcome.step_time if record.outcome else None


def _memory(finding: Finding) -> str:
    measurement = finding.entry.measurement
    if measurement is not None and measurement.peak_memory_bytes is not None:
        return f"{gibibytes(measurement.peak_memory_bytes)}, measured"
    return f"{gibibytes(finding.entry.peak_memory_bytes)}, predicted"


def _recipe(finding: Finding) -> str:
    config = finding.run.config
    recipe = config.train.model_dump(mode="json") | config.fidelity.model_dump(mode="json", exclude_none=True)
    rows = [(name.replace("_", " "), value) for name, value in recipe.items()]
    return (
        "## Training recipe of the search\n\nHow every candidate was trained briefly, on "
        f"{finding.run.preparation.device}.\n\n{_table(('', ''), rows)}"
    )


def _images(source: str) -> str:
    """The images by name; a folder without the path that leads to it on the machine of the search."""
    if not source.startswith(_FOLDER):
        return source
    return f"the folder {source.removeprefix(_FOLDER).rstrip('/').rpartition('/')[2]}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
