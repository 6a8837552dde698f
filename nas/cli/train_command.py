"""``nas train``: a network trained to the end, progressively."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import TRY_AGAIN, fail, usage_errors

if TYPE_CHECKING:
    from ..full_training.config import TrainingConfig

# Flags that override a key of the recipe, by the parameter's name.
_KEYS = {
    "data": "data.source", "epochs": "epochs", "preset": "progressive.preset", "resize": "progressive.resize",
    "stages": "progressive.num_stages", "batch_size": "train.batch_size", "batch": "batch", "lr": "train.lr",
    "weights": "weights", "mode": "mode", "dtype": "dtype", "device": "device", "seed": "seed", "threads": "threads",
    "out": "out",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command("train")(train)


def train(
    arch: Annotated[
        str | None,
        typer.Argument(
            help="A catalog name, an architecture text, a file, FAMILY.yaml:MEMBER, or a run directory; "
            "a training directory goes on."
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A file of settings, or an installed one: see --list.")] = None,
    data: Annotated[
        str | None, typer.Option(help="digits, fashion-mnist, cifar10, imagenet:PATH, imagefolder:PATH, …")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, all stages together.")] = None,
    preset: Annotated[str | None, typer.Option(help="auto, or paper or code for EfficientNetV2-S, -M and -L.")] = None,
    resize: Annotated[str | None, typer.Option(help="progressive, random or fixed image size.")] = None,
    stages: Annotated[int | None, typer.Option(help="Stages of progressive learning.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a step, of all processes together.")] = None,
    batch: Annotated[str | None, typer.Option(help="constant, or auto: as large as memory allows.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate at --batch-size.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A file to start from; the classifier may be another.")] = None,
    mode: Annotated[str | None, typer.Option(help="As bfloat16-channels_last; auto: measured.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16, where mode is auto.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and dropout.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default all cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="The training directory; the same one again resumes.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other key, e.g. train.clip_grad_norm=1.")
    ] = None,
    take_over_lock: Annotated[
        bool, typer.Option("--take-over", help="Of a directory whose run was on another host that is certainly gone.")
    ] = False,
    show_plan: Annotated[bool, typer.Option("--plan", help="Print the schedule and end.")] = False,
    show_recipes: Annotated[bool, typer.Option("--list", help="Name the installed recipes and end.")] = False,
) -> None:
    """Train a network to the end, in stages of growing image size and regularisation.

    Running it again on the same directory resumes. Several GPUs: torchrun --nproc-per-node N -m nas train …
    """
    if show_recipes:
        _print_recipes()
        return
    given = {name: value for name, value in locals().items() if name in _KEYS and value is not None}
    with usage_errors():
        config = _read(arch, recipe, {_KEYS[name]: value for name, value in given.items()}, settings or [])
        if show_plan:
            _print_plan(config)
            return
        if take_over_lock and _speaks():
            from ..run_lock import take_over

            take_over(config.out)
    _run(config)


def _read(arch: str | None, recipe: str | None, overrides: dict[str, object], settings: list[str]) -> "TrainingConfig":
    from ..config_values import parse_override
    from ..full_training.config import read_training_config
    from ..full_training.directory import TrainingDirectory
    from ..full_training.request import request_training
    from ..recipes import TRAININGS, find_recipe

    for text in settings:
        key, value = parse_override(text)
        overrides[key] = value
    if arch is not None and TrainingDirectory(Path(arch)).record_file.exists() and "out" not in overrides:
        overrides["out"], arch = Path(arch), None
    if arch is not None:
        return request_training(arch, find_recipe(recipe, TRAININGS) if recipe else None, overrides)
    out = overrides.get("out")
    if isinstance(out, Path) and TrainingDirectory(out).config_file.exists():
        if recipe is not None:
            raise ValueError(f"a training that goes on has its settings already; leave --recipe {recipe} out")
        return read_training_config(TrainingDirectory(out).config_file, overrides)
    raise ValueError("name a network, or with --out the directory of a training to resume")


def _run(config: "TrainingConfig") -> None:
    from proxies.data.decoding import ImageError
    from proxies.infeasible import InfeasibleError

    from ..full_training.run import RefusedTrainingError, train
    from ..full_training.session import DivergedTrainingError, StoppedTrainingError
    from ..run_directory import RunDirectoryError
    from ..run_lock import LeasedError
    from .training_display import TrainingDisplay

    with TrainingDisplay(config) as display:
        try:
            train(config, display)
        except StoppedTrainingError:
            display.close()
            if _speaks():
                print(f"stopped; to resume: nas train --out {config.out}, started as before", file=sys.stderr)
            raise typer.Exit(130) from None
        except (RunDirectoryError, RefusedTrainingError) as error:
            display.close()
            code = TRY_AGAIN if isinstance(error, LeasedError) else 2
            if not _speaks():
                raise typer.Exit(code) from None
            fail(error, code)
        except (DivergedTrainingError, InfeasibleError, ImageError) as error:
            display.close()
            fail(f"{error} ({config.out})", 1)
        except OSError as error:
            display.close()
            fail(f"{error.strerror or error} ({config.out}); what was kept is whole, run it again to resume", 1)


def _speaks() -> bool:
    """Of the processes that torchrun starts, only the first one says what all of them know."""
    return os.environ.get("RANK", "0") == "0"


def _print_plan(config: "TrainingConfig") -> None:
    from proxies.training.progressive import TrainingPlan

    from ..full_training.run import plan
    from .training_display import TrainingDisplay

    record = plan(config)
    num_steps = TrainingPlan(stages=record.stages, num_images=record.num_train).num_steps
    TrainingDisplay(config).planned(record, notes=(), steps_done=0, num_steps=num_steps)
    if config.mode == "auto":
        print("how steps are executed is measured when the training begins")


def _print_recipes() -> None:
    from ..recipes import TRAININGS, describe_recipe, recipe_names

    for name in recipe_names(TRAININGS):
        print(f"{name:<28} {describe_recipe(name, TRAININGS)}")
