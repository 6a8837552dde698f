"""Every format gives the source's logits in hands that know nothing of us, and a changed one is found out."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors import safe_open
from torch import Tensor, nn

from nas.export.formats import BrokenExportError, get_format
from nas.export.probe import Probe, make_probe, random_images
from nas.export.source import Overrides, read_subject
from nas.export.subject import Origin, Subject, make_subject
from nas.export.verification import verify
from nas.export.writing import export
from nas.reference import Reference
from search_spaces.architecture import parse
from search_spaces.network_settings import NetworkSettings
from search_spaces.weights import load_pretrained, read_tensors, write_tensors

TINY = parse("stem8-er_r1_k3_s1_e1_c8-ir_r2_k3_s2_e4_c16_se0.25-head32@35")
SEED = 11
SETTINGS = {
    # An odd size, then an even one, where "same" pads one side only; not torchvision's.
    "same": NetworkSettings(architecture=TINY, num_classes=10, in_channels=1, padding="same"),
    "symmetric": NetworkSettings(architecture=TINY, num_classes=10, norm_eps=1e-5),
}
MADE = {
    "onnx": ("same", "net.onnx"),
    "torch": ("same", "net.pt2"),
    "safetensors": ("same", "plain"),
    "timm": ("tested larger", "timm_net"),
    "torchvision": ("symmetric", "their_net"),
}


def network_of(settings: NetworkSettings) -> nn.Module:
    """With statistics as a training leaves them: folding a batch norm wrongly must show."""
    generator = torch.Generator().manual_seed(SEED)
    network = settings.build()
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2, generator=generator)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5, generator=generator)
    return network.train()


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    print(f"weights: seed {SEED}")
    # A file may have any name, and none of it may become code in the module for timm.
    origin = Origin(text='a""" + exit(3) + """test', is_trained=True)
    same = SETTINGS["same"]
    larger = make_subject(network_of(same), same, origin=origin, reference=Reference(architecture=TINY, test_size=42))
    made = {name: make_subject(network_of(settings), settings, origin=origin) for name, settings in SETTINGS.items()}
    return made | {"tested larger": larger}


@pytest.fixture(scope="module")
def exports(subjects: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exports")
    for name, (kind, path) in MADE.items():
        assert export(subjects[kind], get_format(name), folder / path).passed
    return {name: folder / path for name, (_, path) in MADE.items()}


@pytest.fixture
def images() -> Tensor:
    return torch.randn(5, 1, 35, 35, generator=torch.Generator().manual_seed(SEED + 1))


def expected(subject: Subject, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return subject.network(images).numpy()


def python(script: str, *arguments: str | Path) -> str:
    """In a fresh interpreter that looks for nothing in this folder, and takes warnings for errors."""
    command = [sys.executable, "-I", "-B", "-W", "error::UserWarning", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_gives_the_same_logits(
    exports: dict[str, Path], subjects: dict[str, Subject], images: Tensor, batch: int
) -> None:
    session = onnxruntime.InferenceSession(exports["onnx"])
    (logits,) = session.run(None, {"images": images[:batch].numpy()})
    np.testing.assert_allclose(logits, expected(subjects["same"], images[:batch]), rtol=1e-4, atol=1e-5)
    assert session.get_inputs()[0].shape == ["batch", 1, 35, 35]


def test_onnx_carries_the_card_but_nothing_of_this_machine(exports: dict[str, Path]) -> None:
    model = onnx.load(exports["onnx"])
    assert str(TINY) in model.doc_string
    assert "InferenceSession" in model.doc_string
    for name in ("onnx", "torch"):
        content = exports[name].read_bytes()
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


@pytest.mark.parametrize("batch", [1, 5])
def test_a_torch_program_gives_the_same_logits(
    exports: dict[str, Path], subjects: dict[str, Subject], images: Tensor, batch: int
) -> None:
    logits = torch.export.load(exports["torch"]).module()(images[:batch])
    np.testing.assert_allclose(logits.detach(), expected(subjects["same"], images[:batch]), rtol=1e-4, atol=1e-5)


def test_a_torch_program_carries_its_card(exports: dict[str, Path]) -> None:
    extra = {"README.md": "", "metadata.json": ""}
    torch.export.load(exports["torch"], extra_files=extra)
    assert str(TINY) in str(extra["README.md"])
    assert json.loads(extra["metadata.json"])["padding"] == "same"


@pytest.mark.slow
def test_a_torch_program_runs_where_neither_we_nor_timm_are(exports: dict[str, Path], tmp_path: Path) -> None:
    script = (
        "import sys, torch; network = torch.export.load(sys.argv[1]).module(); network(torch.zeros(3, 1, 35, 35))\n"
        "print(*{'timm', 'search_spaces', 'nas'} & set(sys.modules))"
    )
    assert not python(script, exports["torch"]).split()


def test_safetensors_are_loaded_again(exports: dict[str, Path], subjects: dict[str, Subject], images: Tensor) -> None:
    found = load_pretrained(TINY, exports["safetensors"] / "model.safetensors")
    assert found.settings == SETTINGS["same"]
    with torch.no_grad():
        logits = found.network.eval()(images)
    np.testing.assert_allclose(logits, expected(subjects["same"], images), rtol=1e-5, atol=1e-6)
    with safe_open(exports["safetensors"] / "model.safetensors", framework="pt") as file:
        assert file.metadata()["architecture"] == str(TINY)


def test_timm_makes_the_network_and_its_variants(
    exports: dict[str, Path], subjects: dict[str, Subject], images: Tensor, tmp_path: Path
) -> None:
    """One fresh interpreter for all: importing timm takes seconds."""
    torch.save(images, tmp_path / "images.pt")
    script = """
import json, sys, torch
folder, images = sys.argv[1:]
sys.path.insert(0, folder)
import timm_net, timm
images = torch.load(images)
network = timm.create_model("timm_net", pretrained=True).eval()
with torch.no_grad():
    logits = network(images)
other = timm.create_model("timm_net", pretrained=True, num_classes=7, in_chans=3, drop_rate=0.3, drop_path_rate=0.1)
features = timm.create_model("timm_net", pretrained=True, features_only=True).eval()
with torch.no_grad():
    maps = features(images)
    stem = network.blocks[0](network.bn1(network.conv_stem(images)))
print(json.dumps({
    "ours": sorted({"search_spaces", "nas", "proxies"} & set(sys.modules)),
    "known": timm.is_model("timm_net"),
    "pretrained": timm.list_pretrained("timm_net"),
    "sizes": [timm.data.resolve_model_data_config(network, use_test_size=test)["input_size"] for test in (False, True)],
    "pools": [network.pretrained_cfg["pool_size"], network.pretrained_cfg["test_pool_size"]],
    "logits": logits.tolist(),
    "untrained": bool((timm.create_model("timm_net").conv_stem.weight != network.conv_stem.weight).any()),
    "other": [*other.train()(torch.zeros(2, 3, 64, 64)).shape, other.drop_rate],
    "kept": bool((other.conv_head.weight == network.conv_head.weight).all()),
    "maps": [list(level.shape) for level in maps],
    "channels": features.feature_info.channels(),
    "reduction": features.feature_info.reduction(),
    "same_weights": bool(torch.equal(maps[0], stem)),
}))
"""
    told = json.loads(python(script, exports["timm"].parent, tmp_path / "images.pt"))
    assert told["ours"] == []
    assert told["known"]
    assert told["pretrained"] == ["timm_net"]
    assert told["sizes"] == [[1, 35, 35], [1, 42, 42]]
    assert told["pools"] == [[9, 9], [11, 11]]
    np.testing.assert_allclose(told["logits"], expected(subjects["same"], images), rtol=1e-4, atol=1e-5)
    assert told["untrained"]
    assert told["other"] == [2, 7, 0.3]
    assert told["kept"]
    assert told["maps"] == [[5, 8, 18, 18], [5, 16, 9, 9]]
    assert told["channels"] == [8, 16]
    assert told["reduction"] == [2, 4]
    assert told["same_weights"]


def test_torchvision_loads_the_weights_as_the_card_says(
    exports: dict[str, Path], subjects: dict[str, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (exports["torchvision"] / "README.md").read_text()
    lines = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert lines
    monkeypatch.chdir(exports["torchvision"].parent)
    names: dict[str, nn.Module] = {}
    exec(lines[1], names)
    images = torch.randn(3, 3, 40, 40, generator=torch.Generator().manual_seed(SEED))
    assert type(names["network"]).__module__.startswith("torchvision.")
    with torch.no_grad():
        logits = names["network"](images)
    np.testing.assert_allclose(logits, expected(subjects["symmetric"], images), rtol=1e-4, atol=1e-5)


def _tamper_onnx(path: Path) -> None:
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(weight), weight.name))
    onnx.save(model, path)


def _tamper_torch(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info, content in entries.items():
            if info.filename.endswith("/data/weights/weight_0"):
                content = (1.01 * np.frombuffer(content, "<f4")).astype("<f4").tobytes()
            archive.writestr(info.filename, content)


def _tamper_folder(path: Path) -> None:
    file = path / "model.safetensors"
    tensors, metadata = read_tensors(file)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[name] *= 1.01
    write_tensors(file, tensors, metadata)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "timm")) for name in MADE])
def test_a_changed_weight_is_noticed(exports: dict[str, Path], name: str, tmp_path: Path) -> None:
    """A hundredth on the first convolution; the untouched copy passes."""
    copy = tmp_path / exports[name].name
    subprocess.run(["cp", "-r", exports[name], copy], check=True)
    assert verify(copy).passed
    {"onnx": _tamper_onnx, "torch": _tamper_torch}.get(name, _tamper_folder)(copy)
    with pytest.raises(BrokenExportError, match="other logits"):
        verify(copy)


@pytest.mark.parametrize("name", ["onnx", "torch", "safetensors", "torchvision"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_file_is_noticed(exports: dict[str, Path], name: str, share: float, tmp_path: Path) -> None:
    copy = tmp_path / exports[name].name
    subprocess.run(["cp", "-r", exports[name], copy], check=True)
    file = copy if copy.is_file() else copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    # An ONNX file that lost its end may still be one, without logits to compare with.
    with pytest.raises((BrokenExportError, ValueError)):
        verify(copy)


def test_a_renamed_timm_folder_says_its_name(
    exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, restored = tmp_path / "better_name", tmp_path / "timm_net"
    subprocess.run(["cp", "-r", exports["timm"], copy], check=True)
    with pytest.raises(BrokenExportError, match=r"the folder must be called timm_net, .* got better_name$"):
        verify(copy)
    copy.rename(restored)
    monkeypatch.chdir(restored)
    assert verify(Path()).passed


def test_another_padding_is_another_network(exports: dict[str, Path], tmp_path: Path) -> None:
    """The weights are untouched, every shape is the same, and yet the logits differ."""
    copy = tmp_path / "plain"
    subprocess.run(["cp", "-r", exports["safetensors"], copy], check=True)
    tensors, metadata = read_tensors(copy / "model.safetensors")
    write_tensors(copy / "model.safetensors", tensors, metadata | {"padding": ""})
    with pytest.raises(BrokenExportError, match="other logits"):
        verify(copy)


def test_exports_of_others_are_refused(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    ])  # fmt: skip
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="only what `nas export` wrote"):
        verify(tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="no such export"):
        verify(tmp_path / "nothing")
    with pytest.raises(ValueError, match="an export is a file"):
        verify(tmp_path)


def test_the_source_stays_as_it_is() -> None:
    settings = SETTINGS["symmetric"]
    network = network_of(settings)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    subject = make_subject(network, settings, origin=Origin(text="a test", is_trained=True), resolution=64)
    assert network.training
    assert not subject.network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert subject.probe.resolution == 64


def test_a_network_that_answers_nothing_is_refused() -> None:
    network = network_of(SETTINGS["same"])
    network.classifier.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="must be finite"):
        make_subject(network, SETTINGS["same"], origin=Origin(text="a test", is_trained=True))


def test_a_network_that_is_mostly_rounding_is_refused() -> None:
    """Deep, fresh, and in evaluation mode: float32 and float64 do not agree either."""
    deep = parse("stem24-er_r8_k3_s1_e4_c24-ir_r60_k3_s2_e6_c64_se0.25-head64@32")
    settings = NetworkSettings(architecture=deep, num_classes=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = settings.build()
    with pytest.raises(ValueError, match="rounding alone moves them by"):
        make_subject(network, settings, origin=Origin(text="a test", is_trained=False))
    assert read_subject(Reference(architecture=deep), overrides=Overrides(num_classes=4)).probe.rounding < 1e-4


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, 1e-3])
def test_a_probe_judges_by_the_size_of_the_logits(wrong: float) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
    probe = Probe.from_metadata(make_probe(network, in_channels=3, resolution=2).to_metadata())
    with torch.no_grad():
        right = [network(batch) for batch in probe.batches()]
    assert probe.compare(right).relative < 1e-6
    right[1][2, 1] += wrong * np.abs(probe.logits).max()
    found = probe.compare(right)
    assert not found.passed
    assert found.relative == pytest.approx(wrong, rel=1e-2, nan_ok=True)


def test_probe_images_are_fixed_for_ever() -> None:
    """What was exported today must be verified in years; the figures are those of numpy's own documentation."""
    images = random_images(0, 1, 1, 1)
    assert images.dtype == torch.float32
    documented = np.array([0.5488135, 0.71518937, 0.60276338, 0.54488318])
    assert images.item() == pytest.approx((documented - 0.5).sum() * 3**0.5, abs=1e-6)
    wide = random_images(0, 4, 3, 128)
    assert float(wide.mean()) == pytest.approx(0, abs=0.03)
    assert float(wide.std()) == pytest.approx(1, abs=0.03)
    # Each scale has a quarter of the variance, and cells of 1 pixel share nothing with their neighbour.
    beside = float((wide[..., 0::8] * wide[..., 1::8]).mean())
    assert beside == pytest.approx(3 / 4, abs=0.05)
    assert float((wide[..., 7:-1:8] * wide[..., 8::8]).mean()) == pytest.approx(0, abs=0.05)
