"""A `torch.export` program: one file that PyTorch runs without the network's source code."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from .card import write_card
from .formats import CARD_FILE, BrokenExportError, Format, accept_any
from .subject import Subject

ANY_BATCH = ({0: Dim("batch", min=1)},)
"""Which axes of the input may vary."""

_METADATA = "metadata.json"
_USAGE = """
import torch
network = torch.export.load("{name}").module()
logits = network(images)  # images: float32 tensor of any batch size
"""


def trace(subject: Subject) -> ExportedProgram:
    """The network as a graph that takes batches of any size, without a trace of this machine's files."""
    settings, size = subject.settings, subject.resolution
    example = torch.zeros(2, settings.in_channels, size, size)
    program = torch.export.export(subject.network, (example,), dynamic_shapes=ANY_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _write(subject: Subject, path: Path) -> None:
    program = trace(subject)
    # The example would be stored in the file: megabytes of zeros.
    program.example_inputs = None
    extra = {
        _METADATA: json.dumps(subject.metadata("torch")),
        CARD_FILE: write_card(subject, path.stem, _USAGE.format(name=path.name)),
    }
    # Through memory: of a full disk torch's own writer says nothing but RuntimeError.
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=extra)
    path.write_bytes(buffer.getbuffer())


def _read_metadata(path: Path) -> Mapping[str, str]:
    """Read with zipfile, since torch would unpickle before anything is known of the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(f"/extra/{_METADATA}")]
            return json.loads(archive.read(names[0])) if names else {}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise BrokenExportError(f"{path} is not a whole torch.export program: {error}") from error


def _run(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    network = torch.export.load(path).module()
    with torch.inference_mode():
        return [network(images) for images in batches]


FORMAT = Format(name="torch", require=accept_any, write=_write, read_metadata=_read_metadata, run=_run)
