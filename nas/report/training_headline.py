"""The head of a training's report: how accurate the network is, and under which circumstances it was trained."""

from proxies.binomial import binomial_error
from proxies.complexity import count_params
from search_spaces.architecture import Architecture, parse

from ..full_training.record import EpochRecord, State, TrainingRecord
from ..quantities import count, duration, percent
from .markup import Markup, copyable, element, facts, join, tiles
from .ribbon import ribbon, ribbon_legend

_BADGES: dict[State, str] = {"finished": "done", "running": "open", "stopped": "open", "diverged": "failed"}


def training_headline(record: TrainingRecord) -> Markup:
    """Title, state, the network with what it reached, and the facts of the training."""
    return join([_title(record), _network(record), _facts(record)])


def state_text(record: TrainingRecord) -> str:
    """Whether the training is finished, and if not, how far it came."""
    if record.state == "finished":
        return "finished"
    so_far = f"{len(record.epochs)} of {record.num_epochs} epochs"
    return so_far if record.state == "running" else f"{record.state}, {so_far}"


def _title(record: TrainingRecord) -> Markup:
    badge = element("span", state_text(record), class_=f"badge {_BADGES[record.state]}")
    what = {
        "finished": f"{record.num_epochs} epochs",
        "running": "running or interrupted",
        "stopped": "stopped before its end; the same command continues",
        "diverged": "the loss was not finite, and smaller learning rates did not help",
    }[record.state]
    line = f"{what} · {duration(_seconds(record))} · {record.device}"
    return element(
        "header",
        element("p", "Training to the end", class_="kicker"),
        element("h1", f"{record.num_classes} classes", element("span", " of ", class_="soft"), record.source),
        element("p", badge, " ", line, class_="meta"),
    )


def _network(record: TrainingRecord) -> Markup:
    architecture = parse(record.architecture)
    return element(
        "section",
        element("h2", "The network"),
        element("p", _verdict(record), class_="verdict"),
        ribbon(architecture),
        ribbon_legend(),
        copyable(record.architecture),
        tiles(_figures(record, architecture)),
        class_="hero",
    )


def _verdict(record: TrainingRecord) -> str:
    best = record.best
    if best is None:
        return "No epoch has been completed yet."
    right = f"{best.num_correct if best.ema_num_correct is None else best.ema_num_correct} of {best.num_judged}"
    return f"{right} {record.judged_by} images right after epoch {best.epoch}, whose weights are kept."


def _figures(record: TrainingRecord, architecture: Architecture) -> list[tuple[str, str, str]]:
    params = count_params(architecture, record.num_classes, record.in_channels)
    sizes = f"trained to {architecture.resolution} px, judged at {record.test_size} px"
    best = record.best
    if best is None:
        return [("Parameters", count(params), sizes)]
    images, seconds = (sum(getattr(each, name) for each in record.epochs) for name in ("num_trained", "train_seconds"))
    weights = "weights as trained" if best.ema_accuracy is None else "averaged weights"
    return [
        ("Best accuracy", _accuracy(best.judged_accuracy, best), f"epoch {best.epoch}, {weights}"),
        *_other_weights(best),
        ("Time", duration(_seconds(record)), f"{len(record.epochs)} epochs, judging included"),
        ("Images/s", f"{images / seconds:.0f}" if seconds else "–", "of training, mean over all epochs"),
        ("Parameters", count(params), sizes),
    ]


def _other_weights(best: EpochRecord) -> list[tuple[str, str, str]]:
    """What the weights as trained reach where their average is kept."""
    if best.ema_accuracy is None:
        return []
    points = 100 * (best.ema_accuracy - best.accuracy)
    note = f"same epoch; averaging gives {points:+.1f} points"
    return [("Weights as trained", _accuracy(best.accuracy, best), note)]


def _accuracy(accuracy: float, record: EpochRecord) -> str:
    return percent(accuracy, binomial_error(accuracy * record.num_judged, record.num_judged))


def _facts(record: TrainingRecord) -> Markup:
    stages = record.stages
    sizes = " → ".join(dict.fromkeys(str(stage.resolution) for stage in stages)) if len(stages) <= 8 else _range(record)
    judged = f"{record.num_judged} {record.judged_by} images judge"
    mean, std = (", ".join(f"{value:.4g}" for value in each) for each in (
        record.normalisation_mean, record.normalisation_std
    ))  # fmt: skip
    processes = f", {record.world_size} processes" if record.world_size > 1 else ""
    return facts(
        {
            "Images": f"{record.source}: {record.num_train} to train, {judged}, {record.num_classes} classes",
            "Image sizes": f"{sizes} pixels in {len(stages)} stage{'s' * (len(stages) != 1)}",
            "Weights at the start": record.initial_weights or "drawn",
            "Execution": f"{record.mode} on {record.device}{processes}",
            "Normalisation": f"mean {mean}, deviation {std} of pixels from 0 to 255",
            "Classes": _classes(record),
        }
    )


def _range(record: TrainingRecord) -> str:
    sizes = [stage.resolution for stage in record.stages]
    return f"{min(sizes)} to {max(sizes)}"


def _classes(record: TrainingRecord) -> str:
    shown = ", ".join(record.class_names[:10])
    rest = len(record.class_names) - 10
    return f"{shown} and {rest} more" if rest > 0 else shown


def _seconds(record: TrainingRecord) -> float:
    return sum(each.train_seconds + each.eval_seconds for each in record.epochs)
