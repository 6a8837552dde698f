"""ONNX: one file for any runtime, checked with ONNX's own checker and read with onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxies.complexity import count_params
from search_spaces.messages import first_line
from search_spaces.network_settings import NetworkSettings

from .card import write_card
from .formats import BrokenExportError, Format
from .subject import Subject
from .torch_program import ANY_BATCH, trace

if TYPE_CHECKING:
    import onnx

# Of float32, with some room for the graph; a file is one message of Protocol Buffers.
_MAX_PARAMS = 2**29 - 2**21

_USAGE = """
import onnxruntime
session = onnxruntime.InferenceSession("{name}")
logits = session.run(None, {{"images": images}})[0]  # images: float32 array of any batch size
"""


def _require(settings: NetworkSettings, path: Path) -> None:
    params = count_params(settings.architecture, settings.num_classes, settings.in_channels)
    if params > _MAX_PARAMS:
        raise ValueError(f"an ONNX file holds at most {_MAX_PARAMS:,} parameters (2 GiB), got {params:,}")


def _write(subject: Subject, path: Path) -> None:
    import onnx

    program = torch.onnx.export(
        trace(subject),
        (),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=ANY_BATCH,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _forget_tracing(model)
    model.doc_string = write_card(subject, path.stem, _USAGE.format(name=path.name))
    for key, value in subject.metadata("onnx").items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _forget_tracing(model: "onnx.ModelProto") -> None:
    """Drop what the tracer notes at each node: source lines of this machine, for tiny networks most of the file."""
    graph = model.graph
    for parts in (graph.node, graph.input, graph.output, graph.initializer, graph.value_info):
        for part in parts:
            del part.metadata_props[:]
    del model.metadata_props[:]


def _read_metadata(path: Path) -> Mapping[str, str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise BrokenExportError(f"{path} is not a whole ONNX file: {first_line(error)}") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def _run(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(None, {"images": images.numpy()})[0]) for images in batches]


FORMAT = Format(
    name="onnx",
    needs=("onnx", "onnxruntime", "onnxscript"),
    require=_require,
    write=_write,
    read_metadata=_read_metadata,
    run=_run,
)
