"""``nas evaluate``: a trained network on images that it was not trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors

if TYPE_CHECKING:
    from proxies.data.normalisation import Normalisation
    from proxies.device import Device
    from proxies.training.config import DataConfig

    from ..full_training.evaluation import Exam
    from ..full_training.trained_network import Layers, TrainedNetwork

_CHECKPOINTS = ("best", "last")
_PARTS = ("test", "minival", "train")
_DTYPES = ("auto", "float32", "bfloat16", "float16")


def register(app: typer.Typer) -> None:
    app.command("evaluate")(evaluate)


def evaluate(
    network: Annotated[
        str, typer.Argument(metavar="DIR_OR_ARCH", help="A training directory; or, with --weights FILE, any network.")
    ],
    weights: Annotated[
        str | None, typer.Option(help="best or last checkpoint of the training, or a .safetensors or .pt file.")
    ] = None,
    averaged: Annotated[
        bool | None,
        typer.Option("--ema/--raw", help="The average of the weights, or as trained; by default the average, if kept."),
    ] = None,
    sizes: Annotated[
        list[int] | None,
        typer.Option("--size", min=1, help="Pixels per side, as often as you like; by default the test size."),
    ] = None,
    part: Annotated[str, typer.Option("--split", help="test, minival or train.")] = "test",
    data: Annotated[str | None, typer.Option(help="Other images of the same classes, as in nas train --data.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that holds the data set's files.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show the best and the worst classes.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A .json file for everything, or .csv for a row for each class.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16; auto: as in training.")] = "auto",
    mean: Annotated[
        str | None, typer.Option(help="Of pixels from 0 to 1, e.g. 0.485,0.456,0.406, where weights do not tell.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Likewise, e.g. 0.229,0.224,0.225.")] = None,
    padding: Annotated[str | None, typer.Option(help="same or '', where a file does not tell.")] = None,
    norm_eps: Annotated[float | None, typer.Option(help="Of batch norms, where a file does not tell.")] = None,
    act: Annotated[str | None, typer.Option(help="timm's name of the activation, where a file does not tell.")] = None,
) -> None:
    """Count what a trained network gets right: top-1, top-5 and class by class, on test images by default."""
    with usage_errors():
        _require_one_of("--split", part, _PARTS)
        _require_one_of("--dtype", dtype, _DTYPES)
        normalisation = _normalisation(mean, std)
        from ..full_training.evaluation_files import require_name
        from ..full_training.trained_network import Layers

        if out is not None:
            require_name(out)
        layers = Layers(padding=padding, norm_eps=norm_eps, act=act)
        trained = _trained(network, weights, averaged, layers)
        exam = _exam(trained, _data(trained, data, root), part, tuple(sizes or ()), normalisation)
        from proxies.device import find_device

        found = find_device(device)
    _run(exam, found, dtype, batch_size, out, per_class=per_class)


def _run(exam: "Exam", device: "Device", dtype: str, batch_size: int, out: Path | None, *, per_class: bool) -> None:
    from rich.console import Console

    from proxies.data.decoding import ImageError
    from proxies.infeasible import InfeasibleError

    from ..full_training.evaluation import judge
    from ..full_training.evaluation_files import write_evaluation
    from .evaluation_tables import evaluation_lines, evaluation_tables

    try:
        with Console(stderr=True).status("reading the images") as status:
            evaluation = judge(
                exam,
                device=device,
                dtype=None if dtype == "auto" else dtype,  # type: ignore[arg-type]  # one of them, see evaluate
                batch_size=batch_size,
                on_size=lambda size: status.update(f"classifying at {size} px"),
            )
        if out is not None:
            write_evaluation(evaluation, out)
    except (InfeasibleError, ImageError) as error:
        fail(error, 1)
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror or error}", 1)
    console = Console()
    for line in evaluation_lines(evaluation, exam.trained.notes):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    for table in evaluation_tables(evaluation, per_class=per_class):
        console.print()
        console.print(table)
    if out is not None:
        print(out)


def _trained(network: str, weights: str | None, averaged: bool | None, layers: "Layers") -> "TrainedNetwork":
    from ..full_training.directory import TrainingDirectory
    from ..full_training.trained_network import Layers, read_foreign, read_trained, read_weights_for
    from ..reference import find_network

    directory = TrainingDirectory(Path(network))
    is_training = directory.record_file.exists()
    if weights is None or weights in _CHECKPOINTS:
        if not is_training:
            raise ValueError(f"no training there: {network}; for another network give its weights with --weights FILE")
        if layers != Layers():
            raise ValueError("--padding, --norm-eps and --act are for files of weights; a training knows its own")
        return read_trained(directory, weights or "best", averaged=averaged)  # type: ignore[arg-type]
    if averaged is not None:
        raise ValueError(f"--ema and --raw are for checkpoints of a training, got the file {weights}")
    if is_training:
        return read_weights_for(directory, Path(weights), layers)
    return read_foreign(find_network(network), Path(weights), layers)


def _data(trained: "TrainedNetwork", source: str | None, root: Path | None) -> "DataConfig":
    """The images of the training, unless others are named; these are split in the same way."""
    from proxies.training.config import DataConfig

    if source is None and trained.data is None:
        raise ValueError("--data must name the images, since the weights come from no training directory")
    if source is None and root is None and trained.data is not None:
        return trained.data
    before = trained.data or DataConfig()
    if source is None:
        return before.model_copy(update={"root": root})
    return before.model_copy(update={"source": source, "root": root})


def _exam(
    trained: "TrainedNetwork",
    data: "DataConfig",
    part: str,
    sizes: tuple[int, ...],
    normalisation: "Normalisation | None",
) -> "Exam":
    from rich.console import Console

    from ..full_training.evaluation import prepare

    with Console(stderr=True).status("reading the images"):
        return prepare(
            trained,
            data,
            part=part,  # type: ignore[arg-type]  # one of them, see evaluate
            sizes=sizes,
            normalisation=normalisation,
        )


def _normalisation(mean: str | None, std: str | None) -> "Normalisation | None":
    if mean is None and std is None:
        return None
    from proxies.data.normalisation import Normalisation

    if mean is None or std is None:
        raise ValueError("--mean and --std must be given together")
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    if len(means) != len(stds) or not all(value > 0 for value in stds):
        raise ValueError(f"--std must be as many positive numbers as --mean has, got {std}")
    return Normalisation(mean=means, std=stds)


def _numbers(name: str, text: str) -> tuple[float, ...]:
    """Fractions of the brightest pixel, as timm and torchvision write them, in units of a pixel of 0…255."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{name} must be numbers between commas, got {text!r}") from None
    if not all(-1 <= value <= 1 for value in values):
        raise ValueError(f"{name} must be of pixels from 0 to 1, got {text}")
    return tuple(255 * value for value in values)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
