"""A Python package of one small module that registers the network with timm; its weights lie beside it."""

import importlib.util
import keyword
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from string import Template

import timm
from safetensors.torch import load_file, save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import write_tensors

from .card import write_card
from .formats import CARD_FILE, WEIGHTS_FILE, Format
from .safetensors_folder import read_header
from .subject import Subject

_MODULE_FILE = "__init__.py"
_NAME = "timm_name"
"""Under it the metadata have the model's name: a folder that was renamed is a module of which timm knows another."""
_USAGE = """
import {name}  # the folder that holds {name}/ must be on Python's path
import timm
network = timm.create_model("{name}", pretrained=True)  # num_classes=, in_chans=, drop_rate=, features_only=True
"""
_TIMEOUT_S = 600

_MODULE = Template('''"""$name: a network that timm knows once this is imported. It needs torch and timm only.

    import $name
    import timm
    network = timm.create_model("$name", pretrained=True)

Beside this module lies $file, $weights; README.md says more.
"""

from functools import partial
from pathlib import Path

from timm.layers import get_act_layer
from timm.models import generate_default_cfgs, register_model
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import _create_effnet
from torch import nn

# $architecture
STAGES = [
$stages
]
FEATURES = $num_features  # feature maps, at strides 2, 4, ... of the image

default_cfgs = generate_default_cfgs(
    {
        "$name": dict(
            file=str(Path(__file__).with_name("$file")),
            num_classes=$num_classes,
            input_size=($in_channels, $train_size, $train_size),
            pool_size=($train_pool, $train_pool),
            test_input_size=($in_channels, $test_size, $test_size),
            test_pool_size=($test_pool, $test_pool),
            first_conv="conv_stem",
            classifier="classifier",
            # Not known here is how the images of the weights' training were normalised; these are usual values.
            mean=$mean,
            std=$std,
        )
    }
)


@register_model
def $name(pretrained=False, **options):
    """Build the network; options are those of every EfficientNet of timm."""
    if options.get("features_only"):
        options.setdefault("out_indices", tuple(range(FEATURES)))
    defaults = dict(
        block_args=decode_arch_def(STAGES, depth_multiplier=1.0),
        num_features=$head_channels,
        stem_size=$stem_channels,
        fix_stem=True,
        output_stride=$total_stride,
        pad_type="$padding",
        round_chs_fn=partial(round_channels, multiplier=1.0, divisor=1, round_limit=0.0),
        act_layer=get_act_layer("$act"),
        norm_layer=partial(nn.BatchNorm2d, eps=$norm_eps),
    )
    return _create_effnet("$name", pretrained, **(defaults | options))
''')

# Run in a fresh interpreter: folder, name, file of images, file for logits.
_SCRIPT = """
import importlib, sys
folder, name, images, logits = sys.argv[1:]
sys.path.insert(0, folder)
importlib.import_module(name)
import timm, torch
from safetensors.torch import load_file, save_file
network = timm.create_model(name, pretrained=True).eval()
with torch.inference_mode():
    save_file({key: network(batch) for key, batch in load_file(images).items()}, logits)
"""


def _require(settings: NetworkSettings, path: Path) -> None:
    """The folder's name becomes a module's and a model's."""
    name = path.name
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"the folder's name becomes a Python module's, so it must be an identifier, got {name!r}")
    if timm.is_model(name):
        raise ValueError(f"the folder's name becomes the model's in timm, which has one of that name: {name!r}")
    if _is_taken(name, path):
        raise ValueError(f"the folder's name becomes a Python module's, and there is one of that name: {name!r}")


def _is_taken(name: str, path: Path) -> bool:
    try:
        found = importlib.util.find_spec(name)
    except ValueError:  # A module that nobody could find by its name is there all the same, as `__main__` is.
        return True
    return found is not None and found.origin != str(path.absolute() / _MODULE_FILE)


def _write(subject: Subject, path: Path) -> None:
    path.mkdir()
    (path / _MODULE_FILE).write_text(_module(subject, path.name), encoding="utf-8")
    write_tensors(path / WEIGHTS_FILE, subject.network.state_dict(), subject.metadata("timm") | {_NAME: path.name})
    card = write_card(subject, path.name, _USAGE.format(name=path.name))
    (path / CARD_FILE).write_text(card, encoding="utf-8")


def _module(subject: Subject, name: str) -> str:
    settings = subject.settings
    architecture = settings.architecture
    stride = architecture.total_stride
    is_colour = settings.in_channels == 3
    return _MODULE.substitute(
        name=name,
        # Not the file that they come from: a name in a module's text could be code.
        weights="its weights" if subject.origin.is_trained else "untrained weights",
        file=WEIGHTS_FILE,
        architecture=architecture,
        stages="\n".join(f'    ["{stage}"],' for (stage,) in architecture.to_timm()),
        num_features=stride.bit_length() - 1,
        total_stride=stride,
        num_classes=settings.num_classes,
        in_channels=settings.in_channels,
        train_size=architecture.resolution,
        train_pool=-(-architecture.resolution // stride),
        test_size=subject.resolution,
        test_pool=-(-subject.resolution // stride),
        mean=IMAGENET_DEFAULT_MEAN if is_colour else (0.5,) * settings.in_channels,
        std=IMAGENET_DEFAULT_STD if is_colour else (0.5,) * settings.in_channels,
        head_channels=architecture.head_channels,
        stem_channels=architecture.stem_channels,
        padding=settings.padding,
        act=settings.act,
        norm_eps=repr(settings.norm_eps),
    )


def _run(path: Path, batches: Sequence[Tensor]) -> list[Tensor]:
    """In a fresh interpreter, in which nothing of ours is imported."""
    path = path.resolve()
    name = read_header(path).get(_NAME, path.name)
    if path.name != name:
        raise ValueError(f"the folder must be called {name}, as the model in it is, got {path.name}")
    with tempfile.TemporaryDirectory() as folder:
        images, logits = Path(folder) / "images.safetensors", Path(folder) / "logits.safetensors"
        save_file({str(place): batch.clone() for place, batch in enumerate(batches)}, images)
        arguments = [str(path.parent), name, str(images), str(logits)]
        # -P: nothing from the folder we are in; -B: no __pycache__ among what was exported.
        done = subprocess.run(
            [sys.executable, "-P", "-B", "-c", _SCRIPT, *arguments],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise RuntimeError(f"timm cannot make it: {last[0]}")
        answers = load_file(logits)
    return [answers[str(place)] for place in range(len(batches))]


FORMAT = Format(
    name="timm",
    files=(_MODULE_FILE, WEIGHTS_FILE, CARD_FILE),
    require=_require,
    write=_write,
    read_metadata=read_header,
    run=_run,
)
