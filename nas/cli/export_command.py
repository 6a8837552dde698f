"""``nas export`` and ``nas verify``: a network taken away, and looked at again wherever it arrived."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import fail, usage_errors
from .inspect_commands import ARCH

if TYPE_CHECKING:
    from ..export.probe import Comparison

_WEIGHTS = Annotated[
    Path | None,
    typer.Option(help="A .safetensors or .pt file; by default those of ARCH's training, else untrained ones."),
]
_CLASSES = Annotated[
    int | None,
    typer.Option("--num-classes", min=1, help="By default as the weights say, else as ARCH does, else 1000."),
]
_CHANNELS = Annotated[
    int | None, typer.Option("--in-channels", min=1, help="By default as the weights say, else as ARCH does, else 3.")
]

_RESOLUTION = Annotated[
    int | None,
    typer.Option(min=1, help="Pixels per side; by default the inference size, where it is known, else ARCH's own."),
]


def register(app: typer.Typer) -> None:
    app.command("export")(export)
    app.command("verify")(verify)


def export(
    arch: ARCH,
    format_name: Annotated[str, typer.Option("--format", help="onnx, torch, safetensors, timm or torchvision.")],
    out: Annotated[Path, typer.Option(help="The file (.onnx, .pt2), or the folder of the other formats.")],
    weights: _WEIGHTS = None,
    num_classes: _CLASSES = None,
    in_channels: _CHANNELS = None,
    resolution: _RESOLUTION = None,
    padding: Annotated[
        str | None, typer.Option(help="same (timm's tf_ weights) or ''; by default as the weights say, else ''.")
    ] = None,
    norm_eps: Annotated[
        float | None, typer.Option(help="Epsilon of batch norms; by default as the weights say, else 0.001.")
    ] = None,
    act: Annotated[
        str | None, typer.Option(help="timm's name of the activation; by default as the weights say, else silu.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of weights that are drawn, not read.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
) -> None:
    """Write a network as ONNX, torch.export program, safetensors, timm module or torchvision weights, and verify it.

    What is written is read back and its logits compared; if they differ, nothing is left, and the exit code is 1.
    """
    from ..export.formats import BrokenExportError, get_format, require_name

    with usage_errors():
        # torch is imported once the format and the name of the file are known to be right.
        require_name(format_name, out)
        form = get_format(format_name)
        from ..export.source import Overrides, read_subject
        from ..export.writing import export as write
        from ..export.writing import require_place
        from ..reference import find_network

        overrides = Overrides(
            num_classes=num_classes, in_channels=in_channels, padding=padding, norm_eps=norm_eps, act=act
        )
        with _doing("building the network"):
            subject = read_subject(
                find_network(arch), weights=weights, overrides=overrides, resolution=resolution, seed=seed
            )
        require_place(form, subject.settings, out, force=force)
    try:
        with _doing(f"writing {out} and reading it back"):
            comparison = write(subject, form, out, force=force)
    except BrokenExportError as error:
        fail(f"nothing was written: {error}", 1)
    except OSError as error:
        fail(f"cannot write {out}: {error.strerror or error}", 1)
    print(f"exported  {subject.settings.architecture}")
    for line in (str(subject.origin), *subject.origin.notes):
        print(f"          {line}")
    print(f"written   {out} ({form.name}, {_size(out)})")
    _print_comparison(comparison)


def verify(path: Annotated[Path, typer.Argument(help="What `nas export` wrote: a file or a folder.")]) -> None:
    """Read an export back and compare its logits with those it carries; needs nothing but the export.

    Exit code 0: equal; 1: damaged, or other logits. A timm export is imported and a .pt2 unpickled, as in their use.
    """
    from ..export.formats import BrokenExportError
    from ..export.verification import verify as compare

    with usage_errors():
        try:
            with _doing(f"reading {path}"):
                comparison = compare(path)
        except BrokenExportError as error:
            fail(error, 1)
    _print_comparison(comparison)


@contextmanager
def _doing(text: str) -> Iterator[None]:
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def _size(path: Path) -> str:
    from ..quantities import gibibytes

    files = path.iterdir() if path.is_dir() else [path]
    return gibibytes(sum(file.stat().st_size for file in files if file.is_file()))


def _print_comparison(comparison: "Comparison") -> None:
    print(f"verified  {comparison}")
