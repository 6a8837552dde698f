"""What the card says of the place that a network was taken from: a run, a family or the catalog."""

from collections.abc import Iterable, Sequence

from proxies.data.source_names import split_source
from proxies.step_time import StepTime
from search_spaces.catalog_entry import RECIPES, CatalogEntry

from ..family.members import Family, Member, StepTimeFigure
from ..full_training.record import TrainingRecord
from ..full_training.schedule_text import SCHEDULE_HEADS, schedule_rows
from ..leaderboard import Entry
from ..quantities import count, gibibytes, milliseconds, percent
from ..reference import Reference
from ..run import Run


def reference_sections(reference: Reference) -> list[str]:
    """Sections of Markdown, none where nothing is known but the architecture."""
    if reference.training:
        return [_training(reference.training)]
    if reference.run and reference.entry:
        run, entry = reference.run, reference.entry
        return [_search(run, entry), _costs(run, entry), _recipe(run)]
    if reference.family and reference.member:
        return [_member_costs(reference.family, reference.member), _progressive(reference.member)]
    return [_published(reference.published)] if reference.published else []


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _training(record: TrainingRecord) -> str:
    best = record.best
    judged = "not judged yet"
    if best is not None:
        accuracy = percent(best.judged_accuracy, best.judged_standard_error)
        judged = (
            f"{accuracy} on {best.num_judged:,} held-out images ({record.judged_by}) at "
            f"{record.test_size} pixels, after epoch {best.epoch} of {record.num_epochs}, chosen by this figure"
        )
    rows = [
        ("images", f"{record.num_train:,} of {_images(record.source)}, {record.num_classes} classes"),
        (
            "normalisation",
            f"(pixel of 0…255 - {_numbers(record.normalisation_mean)}) ÷ {_numbers(record.normalisation_std)}",
        ),
        ("accuracy", judged),
        ("started from", record.initial_weights or "drawn weights"),
        ("executed in", f"{record.mode} on {record.device}"),
    ]
    return "\n\n".join(
        [
            "## Training",
            table(("", ""), rows),
            "### Stages",
            table(SCHEDULE_HEADS, schedule_rows(record.stages)),
        ]
    )


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _search(run: Run, entry: Entry) -> str:
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


def _costs(run: Run, entry: Entry) -> str:
    data = run.preparation.data
    rows = [("training step", _step_time(run, entry)), ("memory of a training step", _memory(run, entry))]
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
    note = f"Of the network as it was searched: {data.num_classes} classes, {_channels(data.in_channels)}."
    return f"## Costs in the search\n\n{note}\n\n{table(('', ''), rows)}"


def _step_time(run: Run, entry: Entry) -> str:
    value = milliseconds(entry.step_time_s, entry.step_time_se)
    measured = _measured_step_time(run, entry)
    if measured is not None:
        return (
            f"{value}, measured: batch {measured.batch_size}, {measured.resolution} pixels, {measured.mode}, "
            f"{measured.device}"
        )
    if run.config.step_time.method == "macs" or not run.tables:
        return f"{value}: multiply-adds as a stand-in, no time that was measured"
    devices = ", ".join(
        f"{each.device} (batch {each.workload.batch_size}, {each.workload.mode})" for each in run.tables
    )
    return f"≈ {value}, predicted from blocks measured on {devices}"


def _measured_step_time(run: Run, entry: Entry) -> StepTime | None:
    if entry.measurement is not None:
        return entry.measurement.step_time
    record = next(record for record in run.records if record.number == entry.number)
    return record.outcome.step_time if record.outcome else None


def _memory(run: Run, entry: Entry) -> str:
    measurement = entry.measurement
    if measurement is not None and measurement.peak_memory_bytes is not None:
        return f"{gibibytes(measurement.peak_memory_bytes)}, measured"
    return f"{gibibytes(entry.peak_memory_bytes)}, predicted"


def _recipe(run: Run) -> str:
    config = run.config
    recipe = config.train.model_dump(mode="json") | config.fidelity.model_dump(mode="json", exclude_none=True)
    rows = [(name.replace("_", " "), value) for name, value in recipe.items()]
    return (
        "## Training recipe of the search\n\nHow every candidate was trained briefly, on "
        f"{run.preparation.device}.\n\n{table(('', ''), rows)}"
    )


def _images(source: str) -> str:
    """The images by name; a folder without the path that leads to it on the machine of the search."""
    _, path = split_source(source)
    return source if path is None else f"the folder {path.rstrip('/').rpartition('/')[2]}"


def _member_costs(family: Family, member: Member) -> str:
    setting, size = family.setting, member.parsed().resolution
    capped = f", capped from {member.computed_test_size}" if member.is_capped else ""
    note = (
        f"Member {member.name} of a family that was scaled from another network, before any training. Costs of a "
        f"training step of batch {setting.batch_size} at {size} pixels, {setting.mode}, {setting.optimizer}, with "
        f"{setting.num_classes} classes and {_channels(setting.in_channels)}."
    )
    rows = [
        *_member_times(family, member),
        ("memory of a training step", f"{gibibytes(member.peak_memory_bytes)}, predicted"),
        ("parameters", f"{member.params:,}"),
        ("MACs", f"{count(member.macs)} an image at {size} pixels"),
        ("test size", f"{member.test_size} pixels{capped}"),
    ]
    return f"## Costs of this size\n\n{note}\n\n{table(('', ''), rows)}"


def _member_times(family: Family, member: Member) -> Iterable[tuple[str, str]]:
    if member.measured:
        verdict = f" ({member.measured.verdict})" if member.measured.verdict else ""
        device = family.setting.measured_on or "a device that the family does not name"
        yield "training step", f"{_seconds(member.measured)}, measured{verdict}: {device}"
    if member.predicted:
        device = family.setting.predicted_for or "a device that the family does not name"
        yield "training step", f"≈ {_seconds(member.predicted)}, predicted: {device}"
    if member.step_time is None:
        yield "training step", "neither measured nor predicted"


def _seconds(figure: StepTimeFigure) -> str:
    return milliseconds(figure.seconds, figure.seconds * figure.relative_error)


def _progressive(member: Member) -> str:
    strength = member.regularization
    rows = [
        ("image size, pixels", *strength.image_size),
        ("RandAugment, magnitude", *strength.randaugment),
        ("mixup, α", *strength.mixup),
        ("dropout", *strength.dropout),
    ]
    return (
        "## Progressive training\n\nMeant for a network of this size (after arXiv:2104.00298, Table 6), from the first "
        "stage of training to the last; **not a record of how the weights here came about**.\n\n"
        f"{table(('', 'first', 'last'), rows)}"
    )


def _published(entry: CatalogEntry) -> str:
    rows = [
        (percent(each.top1), each.test_size, RECIPES[each.recipe], each.source)
        for each in entry.accuracies
    ]  # fmt: skip
    note = (
        f"Top-1 on ImageNet's validation images of the weights that {entry.name}'s authors, or whom else the source "
        "names, trained; **not of the weights here**, which this export did not evaluate."
    )
    return f"## Published accuracies\n\n{note}\n\n{table(('top-1', 'pixels', 'training', 'source'), rows)}"


def _channels(number: int) -> str:
    return f"{number} image channel{'s' * (number != 1)}"
