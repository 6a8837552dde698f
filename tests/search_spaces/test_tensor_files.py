"""Files of tensors: written whole, read without running code, and refused in one line."""

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from search_spaces.architecture import parse
from search_spaces.network_settings import NetworkSettings
from search_spaces.tensor_files import read_tensors, write_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    return str(error.value)


class MakesFolder:
    """Unpickled, it makes a folder: what stands here for any code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_what_is_written_is_read_by_the_library(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS, {"act": "silu"})
    theirs = load_file(tmp_path / "a.safetensors")
    ours, texts = read_tensors(tmp_path / "a.safetensors")
    assert texts == {"format": "pt", "act": "silu"}
    for tensors in (theirs, ours):
        assert set(tensors) == set(TENSORS)
        assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
        assert tensors["b"].dtype == torch.float16


def test_views_and_shared_memory_are_written(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "turned": whole.T, "row": whole[1]}
    write_tensors(tmp_path / "a.safetensors", tensors, {})
    read = read_tensors(tmp_path / "a.safetensors")[0]
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS, {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_tensors(path, TENSORS, {"epoch": 3})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS, {})
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_name_of_a_written_file_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the file's name must end in \.safetensors, got .*a\.pt$"):
        write_tensors(tmp_path / "a.pt", TENSORS, {})


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_of_torch(tmp_path: Path, legacy: bool) -> None:
    checkpoint = {
        "arch": "efficientnet_b0",
        "args": argparse.Namespace(lr=0.1),
        "epoch": 3,
        "state_dict": TENSORS,
        "optimizer": {"state": {0: {"momentum": torch.ones(3)}}},
    }
    torch.save(checkpoint, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=not legacy)
    tensors, texts = read_tensors(tmp_path / "a.pth.tar")
    assert set(tensors) == set(TENSORS)
    assert texts == {"arch": "efficientnet_b0", "checkpoint_entry": "state_dict"}


@pytest.mark.parametrize("inside", ["alone", "beside tensors", "plain pickle"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, inside: str) -> None:
    folder, path = tmp_path / "made by code", tmp_path / "a.pt"
    evil = MakesFolder(folder)
    if inside == "plain pickle":
        path.write_bytes(pickle.dumps({**TENSORS, "evil": evil}, protocol=2))
        pickle.loads(path.read_bytes())
    else:
        torch.save(evil if inside == "alone" else {"state_dict": TENSORS, "evil": evil}, path)
        torch.load(path, weights_only=False)
    assert folder.exists(), "the file must be able to run code, or the test proves nothing"
    folder.rmdir()
    line = refusal(path)
    assert not folder.exists()
    if inside != "plain pickle":
        assert line.startswith(
            "a checkpoint must hold tensors alone, since anything else could run code; got posix.mkdir"
        )


def test_a_whole_network_in_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    assert "got torch.nn.modules.linear.Linear" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a{suffix}"
    tensors = {f"layer{number}": torch.randn(40, 40) for number in range(5)}
    if suffix == ".pt":
        torch.save(tensors, path)
    else:
        write_tensors(path, tensors, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "a.pt must be a whole checkpoint" in refusal(path) or "must be a whole safetensors file" in refusal(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"hello, world\n" * 50, b"\x00" * 500, b"\xff" * 500, b"PK\x03\x04" + b"x" * 99])
def test_other_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    assert f"a{suffix} must be a whole" in refusal(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, {"model": {"lr": 0.1}}])
def test_checkpoints_without_tensors_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert refusal(tmp_path / "a.pt").startswith("a file of weights must hold named tensors, got none in ")


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), 3])
def test_checkpoints_without_names_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert refusal(tmp_path / "a.pt").startswith("a checkpoint must be a mapping of names to tensors, got ")


def test_missing_files_folders_and_other_endings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    assert refusal(tmp_path / "b.pt") == f"weights must be a file that exists, got {tmp_path / 'b.pt'}"
    assert refusal(tmp_path) == f"weights must be a file, got the folder {tmp_path}"
    assert refusal(tmp_path / "a.onnx").startswith("a file of weights must end in .safetensors, .pt, ")


SETTINGS = NetworkSettings(
    architecture=parse("stem16-er_r1_k3_s1_e1_c16-head96@64"), num_classes=7, in_channels=1, padding="same",
    norm_eps=1e-5, act="relu",
)  # fmt: skip


def test_settings_survive_a_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", TENSORS, SETTINGS.to_metadata())
    assert NetworkSettings.from_metadata(read_tensors(tmp_path / "a.safetensors")[1]) == SETTINGS


def test_files_of_others_say_nothing() -> None:
    assert NetworkSettings.from_metadata({"format": "pt", "architecture": "resnet18"}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_classes", "many"), ("num_classes", "0"), ("norm_eps", "nan"), ("norm_eps", "x"), ("padding", "valid"),
     ("architecture", "resnet18"), ("in_channels", "1" * 5000), ("act", "")],
)  # fmt: skip
def test_damaged_settings_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{1,300}$"):
        NetworkSettings.from_metadata({**SETTINGS.to_metadata(), name: value})
