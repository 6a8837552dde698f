"""`nas export` and `nas verify` as a user meets them: what is printed, what is refused, what is left behind."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import families
import pytest
import torch

from nas.cli import main
from nas.export import formats, safetensors_folder, writing
from nas.export.card import write_card
from nas.export.formats import BrokenExportError, get_format
from nas.export.source import Overrides, read_subject
from nas.export.subject import Subject
from nas.export.writing import export
from nas.family.members import StepTimeFigure, dump_family
from nas.reference import Reference, find_network
from nas.regularization import Regularization
from nas.run import Run
from proxies.complexity import count_macs, count_params
from search_spaces.architecture import parse
from search_spaces.weights import read_tensors, write_tensors

TINY = "stem8-er_r1_k3_s1_e1_c8-ir_r1_k3_s2_e4_c16_se0.25-head32@32"


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def subject() -> Subject:
    return read_subject(Reference(architecture=parse(TINY)), overrides=Overrides(num_classes=10))


def test_untrained_weights_are_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    flags = ("--num-classes", "10", "--in-channels", "1", "--resolution", "33", "--padding", "same", "--seed", "7")
    assert nas(monkeypatch, "export", TINY, "--format", "safetensors", "--out", out, *flags) == 0
    printed = capsys.readouterr().out
    assert "untrained weights (drawn with seed 7, batch norms fitted to noise)" in printed
    assert "verified  max |difference|" in printed
    card = (out / "README.md").read_text()
    params, macs = count_params(parse(TINY), 10, 1), count_macs(parse(TINY), 33, 10, 1)
    for expected in (TINY, "**Untrained weights**", "(N, 1, 33, 33)", f"{params:,}", f"{macs:,}", "TensorFlow"):
        assert expected in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]
    assert nas(monkeypatch, "verify", out) == 0
    assert "verified" in capsys.readouterr().out


def test_a_seed_names_the_weights_and_leaves_the_generator_alone(subject: Subject) -> None:
    before = torch.get_rng_state()
    again = read_subject(Reference(architecture=parse(TINY)), overrides=Overrides(num_classes=10))
    other = read_subject(Reference(architecture=parse(TINY)), overrides=Overrides(num_classes=10), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (again.probe.logits == subject.probe.logits).all()
    assert (other.probe.logits != subject.probe.logits).any()


def test_weights_travel_through_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is exported for torchvision comes back as ours, its settings with it."""
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    flags = ("--num-classes", "10", "--norm-eps", "1e-5")
    assert nas(monkeypatch, "export", TINY, "--format", "safetensors", "--out", first, *flags) == 0
    weights = ("--weights", first / "model.safetensors")
    assert nas(monkeypatch, "export", TINY, "--format", "torchvision", "--out", second, *weights) == 0
    weights = ("--weights", second / "model.safetensors")
    assert nas(monkeypatch, "export", TINY, "--format", "safetensors", "--out", third, *weights) == 0
    assert "weights from model.safetensors" in capsys.readouterr().out
    before, after = (read_tensors(path / "model.safetensors") for path in (first, third))
    assert before[0].keys() == after[0].keys()
    learnt = {name: tensor for name, tensor in before[0].items() if tensor.is_floating_point()}
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in learnt.items()), "all but counts of batches"
    assert after[1]["norm_eps"] == "1e-05"
    assert "Untrained" not in (third / "README.md").read_text()
    assert "How accurate they are was not measured" in (third / "README.md").read_text()


def test_a_run_tells_what_was_measured_and_that_the_weights_are_not_those(
    finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = finished_run.leaderboard()[0]
    out = tmp_path / "best"
    assert nas(monkeypatch, "export", finished_run.directory.path, "--format", "safetensors", "--out", out) == 0
    card = (out / "README.md").read_text()
    assert best.measurement is not None
    for expected in (
        best.architecture,
        "(N, 1, 32, 32)",
        "(N, 10) logits",
        f"Top-1 accuracy {100 * best.accuracy:.1f} ± {100 * best.accuracy_se:.1f} %",
        "the mean of 3 short trainings of 8 epochs at 32 pixels, on 360 held-out images of digits with 10 classes",
        "not that of the weights here",
        f"{1000 * best.step_time_s:.2f}"[:4],
        "measured: batch 32, 32 pixels, float32-channels_last, ",
        "Some Processor",
        "| optimizer | adamw |",
        "| epochs | 8 |",
    ):
        assert expected in card
    assert "predicted" not in card


def test_a_prediction_is_called_one(young_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a young run nothing is measured or trained again."""
    out = tmp_path / "best"
    assert nas(monkeypatch, "export", young_run.directory.path, "--format", "safetensors", "--out", out) == 0
    card = (out / "README.md").read_text()
    assert "≈" in card
    assert card.count("predicted") == 2, "step time and memory"
    assert "measured:" not in card
    assert ", measured" not in card
    assert "a short training of 8 epochs" in card


@pytest.mark.parametrize("kind", ["imagefolder", "imagenet", "stanford-cars", "hf"])
def test_a_folder_of_images_is_named_without_its_path(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A card is given away; where somebody keeps the images is not."""
    run = make_run(trials=3, source=f"{kind}:/home/somebody/secret/birds", retrain=False)
    assert nas(monkeypatch, "export", run.directory.path, "--format", "safetensors", "--out", tmp_path / "best") == 0
    card = (tmp_path / "best" / "README.md").read_text()
    assert "held-out images of the folder birds with" in card
    assert "secret" not in card


def test_a_run_s_best_yaml_says_its_classes_and_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best, out = tmp_path / "best.yaml", tmp_path / "best"
    best.write_text(f"architecture: {TINY}\ndata: {{num_classes: 7, in_channels: 1}}\n")
    assert nas(monkeypatch, "export", best, "--format", "safetensors", "--out", out) == 0
    shapes = {name: tuple(tensor.shape) for name, tensor in read_tensors(out / "model.safetensors")[0].items()}
    assert shapes["classifier.weight"] == (7, 32)
    assert shapes["conv_stem.weight"] == (8, 1, 3, 3)


def test_a_member_of_a_family_comes_with_its_size_and_all_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = families.family_of(families.timed_source(), requests=("s",))
    measured = StepTimeFigure(seconds=0.01234, relative_error=0.01, verdict="stable")
    strength = Regularization(image_size=(16, 64), randaugment=(5.0, 17.5), mixup=(0.0, 0.25), dropout=(0.1, 0.35))
    predicted = StepTimeFigure(seconds=0.011, relative_error=0.05)
    small = replace(
        found.members[0],
        test_size=80, computed_test_size=96, predicted=predicted, measured=measured, regularization=strength,
    )  # fmt: skip
    setting = replace(found.setting, num_classes=7, in_channels=1, measured_on="the machine here")
    (tmp_path / "family.yaml").write_text(dump_family(replace(found, members=(small,), setting=setting)))
    out = tmp_path / "small"
    arguments = ("export", f"{tmp_path / 'family.yaml'}:{small.name}", "--format", "safetensors", "--out", out)
    assert nas(monkeypatch, *arguments) == 0
    card = (out / "README.md").read_text()
    for expected in (
        "(N, 1, 80, 80)",
        "(N, 7) logits",
        f"exported for inference at 80 pixels; the architecture's training size is {small.parsed().resolution}",
        "12.34 ± 0.12 ms, measured (stable): the machine here",
        f"≈ 11.0 ± 0.6 ms, predicted: {setting.predicted_for}",
        "80 pixels, capped from 96",
        f"| parameters | {small.params:,} |",
        "| image size, pixels | 16 | 64 |",
        "| RandAugment, magnitude | 5.0 | 17.5 |",
        "| mixup, α | 0.0 | 0.25 |",
        "| dropout | 0.1 | 0.35 |",
        "with 7 classes and 1 image channel.",
    ):
        assert expected in card
    assert nas(monkeypatch, *arguments, "--force", "--resolution", "48") == 0
    assert "(N, 1, 48, 48)" in (out / "README.md").read_text()


def test_published_accuracies_are_said_to_be_of_other_weights(subject: Subject) -> None:
    known = find_network("efficientnetv2-s")
    assert known.published is not None
    assert known.inference_size == 384
    card = write_card(replace(subject, reference=known), "net", "")
    assert "**not of the weights here**" in card
    for line in ("| 83.9 % | 384 | ImageNet-1k alone", "google/automl 25907c2 efficientnetv2/README.md |"):
        assert line in card
    assert "Published" not in write_card(subject, "net", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "onxx", "--out", "net.onnx"], "no export format 'onxx'; did you mean 'onnx'?"),
        (["--format", "onnx", "--out", "net.pb"], "a file of the format onnx must end in .onnx, got net.pb"),
        (["--format", "torch", "--out", "net.onnx"], "a file of the format torch must end in .pt2, got net.onnx"),
        (["--format", "safetensors", "--out", "net.safetensors"], "--out must name one, e.g. net, got net.safetensors"),
        (["--format", "safetensors", "--out", "missing/net"], "no such folder: "),
        (["--format", "safetensors", "--out", "net", "--resolution", "3"], "at least the total stride 4, got 3"),
        (["--format", "safetensors", "--out", "net", "--padding", "valid"], "padding must be one of"),
        (["--format", "safetensors", "--out", "net", "--norm-eps", "0"], "norm_eps must be"),
        (["--format", "safetensors", "--out", "net", "--act", "silo"], "act must be"),
        (["--format", "safetensors", "--out", "net", "--weights", "gone.pt"], "gone.pt"),
        (["--format", "timm", "--out", "my-net"], "must be an identifier, got 'my-net'"),
        (["--format", "timm", "--out", "class"], "must be an identifier, got 'class'"),
        (["--format", "timm", "--out", "resnet18"], "timm, which has one of that name: 'resnet18'"),
        (["--format", "timm", "--out", "json"], "there is one of that name: 'json'"),
        (["--format", "torchvision", "--out", "net", "--padding", "same"], "torchvision's EfficientNet needs padding"),
        (["--format", "torchvision", "--out", "net", "--in-channels", "1"], "needs in_channels 3, got 1"),
        (["--format", "torchvision", "--out", "there"], "there holds other files"),
        (["--format", "torchvision", "--out", "there", "--force"], "there holds other files"),
        (["--format", "onnx", "--out", "folder.onnx", "--force"], "folder.onnx is a folder"),
    ],
)
def test_mistakes_end_with_one_line(
    flags: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").write_text("do not lose me")
    assert nas(monkeypatch, "export", TINY, *flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.onnx", "there"]
    assert (tmp_path / "there" / "thesis.tex").read_text() == "do not lose me"


def test_a_module_without_a_specification_is_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `__main__` is, when a script runs."""
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert nas(monkeypatch, "export", TINY, "--format", "timm", "--out", tmp_path / "__main__") == 2
    expected = "nas: the folder's name becomes a Python module's, and there is one of that name: '__main__'\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(("form", "out"), [("onnx", "net.pb"), ("timm", "net.onnx"), ("onxx", "net.onnx")])
def test_a_wrong_name_is_refused_before_torch_is_imported(form: str, out: str) -> None:
    script = (
        f"import sys\nsys.argv = ['nas', 'export', '{TINY}', '--format', '{form}', '--out', '{out}']\n"
        "from nas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    print(ended.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "2 False\n"
    assert done.stderr.count("\n") == 1


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert nas(monkeypatch, "export", TINY, "--format", "onnx", "--out", tmp_path / "net.onnx") == 2
    expected = "nas: the format onnx needs onnxruntime: pip install 'training-aware-nas[export]'\n"
    assert capsys.readouterr().err == expected


def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], subject: Subject
) -> None:
    export(subject, get_format("safetensors"), tmp_path / "net")
    wider = TINY.replace("head32", "head48")
    flags = ("--weights", tmp_path / "net" / "model.safetensors", "--out", tmp_path / "other")
    assert nas(monkeypatch, "export", wider, "--format", "safetensors", *flags) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_an_export_is_replaced_only_by_force(subject: Subject, tmp_path: Path) -> None:
    form, out = get_format("safetensors"), tmp_path / "net"
    export(subject, form, out)
    (out / "__pycache__").mkdir()
    before = (out / "model.safetensors").read_bytes()
    other = read_subject(Reference(architecture=parse(TINY)), overrides=Overrides(num_classes=10), seed=1)
    with pytest.raises(ValueError, match="exists; --force replaces it"):
        export(other, form, out)
    assert (out / "model.safetensors").read_bytes() == before
    export(other, form, out, force=True)
    assert (out / "model.safetensors").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_an_empty_folder_may_be_filled(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    export(subject, get_format("safetensors"), tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["README.md", "model.safetensors"]


_write_right = safetensors_folder.FORMAT.write


def _write_broken(subject: Subject, path: Path) -> None:
    """As if a converter had got a layer's bias wrong."""
    _write_right(subject, path)
    tensors, metadata = read_tensors(path / "model.safetensors")
    tensors["bn1.bias"] += 0.1
    write_tensors(path / "model.safetensors", tensors, metadata)


def test_what_fails_verification_is_not_left(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    export(subject, get_format("safetensors"), out)
    before = (out / "model.safetensors").read_bytes()
    broken = replace(safetensors_folder.FORMAT, write=_write_broken)
    with pytest.raises(BrokenExportError, match=r"other logits than its source: max \|difference\|"):
        export(subject, broken, out, force=True)
    monkeypatch.setattr(safetensors_folder, "FORMAT", broken)
    arguments = ("export", TINY, "--format", "safetensors", "--out", tmp_path / "new")
    assert nas(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("nas: nothing was written: ")
    assert error.count("\n") == 1
    assert (out / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_a_disk_that_is_full_at_the_end_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(made: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "_write_out", refuse)
    assert nas(monkeypatch, "export", TINY, "--format", "safetensors", "--out", tmp_path / "net") == 1
    assert capsys.readouterr().err == f"nas: cannot write {tmp_path / 'net'}: No space left on device\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "torch", "safetensors", "timm"])
def test_a_full_disk_is_one_line(form: str, tmp_path: Path) -> None:
    """A limit on the size of files stands for it; in a process of its own, since it holds for all its files."""
    out = {"onnx": "net.onnx", "torch": "net.pt2"}.get(form, "net")
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        f"sys.dont_write_bytecode = True\n"
        f"sys.argv = ['nas', 'export', '{TINY}', '--format', '{form}', '--out', '{out}']\n"
        f"from nas.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"nas: cannot write {out}: File too large\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that even root cannot write")
def test_a_folder_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "export", TINY, "--format", "safetensors", "--out", "/proc/net_of_ours") == 1
    error = capsys.readouterr().err
    assert error.startswith("nas: cannot write /proc/net_of_ours: ")
    assert error.count("\n") == 1


def test_verify_tells_broken_from_misused(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net"
    export(subject, get_format("safetensors"), out)
    assert nas(monkeypatch, "verify", tmp_path / "gone") == 2
    assert "no such export" in capsys.readouterr().err
    tensors, metadata = read_tensors(out / "model.safetensors")
    write_tensors(out / "model.safetensors", tensors | {"bn1.bias": tensors["bn1.bias"] + 0.1}, metadata)
    assert nas(monkeypatch, "verify", out) == 1
    assert "gives other logits than its source" in capsys.readouterr().err
    (out / "model.safetensors").write_bytes(b"")
    assert nas(monkeypatch, "verify", out) == 1
    assert "not a whole safetensors file" in capsys.readouterr().err


def test_a_failed_rename_puts_the_old_export_back(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, out = get_format("safetensors"), tmp_path / "net"
    export(subject, form, out)
    before = (out / "model.safetensors").read_bytes()

    def refuse(source: Path, target: Path) -> NoReturn:
        raise OSError("no")

    real = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda source, target: refuse(source, target) if target == out else real(source, target)
    )
    with pytest.raises(OSError, match="no"):
        export(subject, form, out, force=True)
    assert (out / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["export", "verify"])
def test_help_imports_nothing_heavy(command: str) -> None:
    script = (
        f"import sys\nsys.argv = ['nas', '{command}', '--help']\nfrom nas.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'timm', 'onnx', 'optuna', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "out"),
    [("onnx", "s.onnx"), ("torch", "s.pt2"), ("safetensors", "s"), ("timm", "my_v2_s"), ("torchvision", "s_tv")],
)
def test_efficientnetv2_s_in_every_format(
    form: str, out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "export", "efficientnetv2-s", "--format", form, "--out", tmp_path / out) == 0
    assert "verified" in capsys.readouterr().out
    size = sum(path.stat().st_size for path in [*tmp_path.rglob("*")] if path.is_file())
    # ONNX holds the batch norms inside the convolutions.
    assert 3.98 * 21_458_488 < size < 4.1 * 22_000_000, "weights and hardly anything else"
    assert nas(monkeypatch, "verify", tmp_path / out) == 0
