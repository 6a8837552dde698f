"""A user's mistakes: each ends with exit code 2 and one line that names key, rule and value; nothing is overwritten."""

import sys
from pathlib import Path

import fake_search
import pytest

from nas.cli import main

RECIPE = """\
space: {name: efficientnetv2, scale: [0.25, 0.5], resolution: 32}
data: {source: digits}
trials: 2
"""

# Lines appended to, or instead of, a sound recipe, and what the message must name.
RECIPES = {
    "unknown key": ("tirals: 3", "tirals: unknown key; did you mean 'trials'?"),
    "unknown inner key": ("train: {learning_rate: 0.1}", "train.learning_rate: unknown key"),
    "wrong type": ("seed: 'three'", "seed: Input should be a valid integer, got 'three'"),
    "text for a number": ("train: {lr: fast}", "train.lr: Input should be a valid number, got 'fast'"),
    "number for a text": ("device: 3", "device: Input should be a valid string, got 3"),
    "NaN": ("w: .nan", "w: Input should be a finite number, got nan"),
    "infinity": ("timeout_s: .inf", "timeout_s: Input should be a finite number, got inf"),
    "doubled key": ("trials: 3", "doubled key 'trials'"),
    "tab": ("train:\n\tlr: 1", "character '\\t'"),
    "python tag": ("sampler: !!python/object/apply:os.system ['true']", "tag"),
    "alias bomb": ("a: &a [1, 1]\nb: &b [*a, *a]", "aliases are not allowed, got '*a'"),
    "unknown sampler": ("sampler: tpee", "unknown sampler 'tpee'; did you mean 'tpe'?"),
    "unknown executor": ("executor: moon", "executor: Input should be 'local' or 'ray', got 'moon'"),
    "no workers": ("workers: 0", "workers: Input should be greater than or equal to 1, got 0"),
    "negative learning rate": ("train: {lr: -1.0}", "train.lr: Input should be greater than 0, got -1.0"),
    "no epochs": ("fidelity: {epochs: 0}", "fidelity.epochs: Input should be greater than or equal to 1, got 0"),
    "share above one": ("fidelity: {data_share: 1.5}", "fidelity.data_share: Input should be less than or equal to 1"),
    "batch of one": ("train: {batch_size: 1}", "train.batch_size: Input should be greater than or equal to 2, got 1"),
    "size below the stride": ("fidelity: {resolution: 16}", "fidelity.resolution must be at least the space's total"),
    "unknown objective": ("objectives: [accuracy, latency]", "objectives.1: Input should be 'accuracy', 'step_time'"),
    "single objective": ("objectives: [accuracy]", "objectives: must be empty or name two or three different ones"),
    "unknown dtype": ("step_time: {dtype: int8}", "step_time.dtype: Input should be 'auto', 'float32'"),
    "unknown method of step time": ("step_time: guessed", "step_time.method: Input should be 'predicted', 'measured'"),
    "tables beside another method": (
        "step_time: {method: macs, tables: [table.json]}",
        "step_time: tables predict step times, so method must be predicted, got macs",
    ),
    "table without weight": (
        "step_time: {tables: [{file: table.json, weight: 0.0}]}",
        "step_time.tables.0.weight: Input should be greater than 0, got 0.0",
    ),
    "no visits": ("step_time: {visits: 0}", "step_time.visits: Input should be greater than or equal to 1, got 0"),
    "negative calibration": ("step_time: {calibration_s: -1.0}", "step_time.calibration_s: Input should be greater"),
    "no memory": ("max_memory_gib: 0.0", "max_memory_gib: Input should be greater than 0, got 0.0"),
    "unknown way out of memory": ("out_of_memory: swap", "out_of_memory: Input should be 'infeasible' or 'micro_b"),
    "list at top level": ("- a\n- b", "recipe.yaml"),
    "key that is a number": ("3: 4", "keys must be texts, got '3'"),
}
SPACES = {
    "unknown space": ("space: efficentnetv2", "unknown space 'efficentnetv2'"),
    "unknown scale": ("space: {name: efficientnetv2, scale: xs}", "scale must be one of"),
    "unknown option": ("space: {name: mnasnet, scale: s}", "no option 'scale'"),
    "unknown layer rule": ("space: {name: efficientnetv2, layers: many}", "layers must be one of"),
    "no such space file": ("space: nowhere.yaml", "no such file: nowhere.yaml"),
    "even kernel": (
        "space: {resolution: 32, stem_channels: 8, head_channels: 8,"
        " stages: [{out_channels: 8, stride: 1, num_repeats: 1, kernel_size: 4}]}",
        "kernel_size must be odd, got 4",
    ),
    "space without a name": ("space: {scale: s}", "a space needs a name, or stages of its own"),
    "empty": ("", "must hold a mapping"),
}
FLAGS = {
    "no trials": (["--trials", "0"], "trials: Input should be greater than or equal to 1, got 0"),
    "trials that are no number": (["--trials", "many"], "Invalid value for '--trials'"),
    "unknown flag": (["--trails", "3"], "No such option: --trails"),
    "set without a value": (["--set", "train.lr"], "--set takes KEY=VALUE, got 'train.lr'"),
    "set of an unknown key": (["--set", "train.rl=1.0"], "train.rl: unknown key"),
    "set through a number": (["--set", "trials.x=1"], "trials.x reaches into trials"),
    "negative seed": (["--seed", "-1"], "seed: Input should be greater than or equal to 0, got -1"),
    "NaN exponent": (["--w", "nan"], "w: Input should be a finite number, got nan"),
    "time-out of nothing": (["--timeout", "0"], "timeout_s: Input should be greater than 0, got 0"),
    "unknown sampler": (["--sampler", "tpee"], "did you mean 'tpe'?"),
    "a cluster's flag without the cluster": (["--cpus-per-trial", "2"], "--cpus-per-trial needs --executor ray"),
    "more than a GPU": (["--executor", "ray", "--gpus-per-trial", "2"], "cluster.gpus_per_trial: Input should be less"),
    "a GPU of one's own choice": (["--executor", "ray", "--device", "cuda:1"], "where Ray deals GPUs out, got cuda:1"),
    "a target of no cluster": (["--set", "step_time.targets=fast"], "machines of a Ray cluster, got executor local"),
    "several targets and batches in parts": (
        ["--executor", "ray", "--set", "step_time.targets=[a, b]", "--set", "out_of_memory=micro_batches"],
        "out_of_memory must be infeasible with several step_time.targets",
    ),
    "no time for a trial": (["--set", "trial_timeout_s=0"], "trial_timeout_s: Input should be greater than 0, got 0"),
}


def nas(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Run the command line; its exit code."""
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def require_one_line(capsys: pytest.CaptureFixture[str], expected: str, *, said: str = "") -> None:
    """One line of error, beside what was said before."""
    output = capsys.readouterr()
    assert output.out == said
    assert output.err.startswith("nas: ")
    assert output.err.count("\n") == 1, output.err
    assert expected in output.err


@pytest.mark.parametrize(("lines", "expected"), RECIPES.values(), ids=RECIPES)
def test_a_mistake_in_a_recipe(
    lines: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(lines if lines.startswith("-") else RECIPE + lines + "\n")
    assert nas(monkeypatch, "search", recipe, "--out", tmp_path / "run") == 2
    require_one_line(capsys, expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("lines", "expected"), SPACES.values(), ids=SPACES)
def test_a_mistake_in_a_space(
    lines: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(lines + "\n")
    assert nas(monkeypatch, "search", recipe, "--out", tmp_path / "run") == 2
    require_one_line(capsys, expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("flags", "expected"), FLAGS.values(), ids=FLAGS)
def test_a_mistake_in_a_flag(
    flags: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert nas(monkeypatch, "search", recipe, "--out", tmp_path / "run", *flags) == 2
    require_one_line(capsys, expected)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["search"], "name a recipe (nas search --list), or give", id="nothing to search"),
        pytest.param(["search", "--out", "tpyo"], "name a recipe (nas search --list), or give", id="misspelt run"),
        pytest.param(["measure", "efficientnetv2-b0", "--device", "cpu", "--dtype", "float16"], "float16", id="fp16"),
        pytest.param(["search", "quikstart"], "no recipe 'quikstart'; did you mean 'quickstart'?", id="recipe name"),
        pytest.param(["search", "nowhere/recipe.yaml"], "no such recipe file", id="recipe file"),
        pytest.param(["show", "efficientnetv2-xxs"], "no architecture text, file, run directory", id="catalog name"),
        pytest.param(["show", "stem24-er_r2_k4_s1_e1_c24-head8@32"], "kernel_size must be odd, got 4", id="text"),
        pytest.param(["show", "efficientnetv2-s", "--resolution", "8"], "at least the total stride 32", id="size"),
        pytest.param(["measure", "efficientnetv2-s", "--device", "tpu"], "device must be auto, cpu", id="device"),
        pytest.param(["measure", "efficientnetv2-s", "--device", "cuda:99"], "not available here", id="no such GPU"),
        pytest.param(["measure", "efficientnetv2-s", "--dtype", "int4"], "dtype: Input should be", id="dtype"),
        pytest.param(
            ["measure", "efficientnetv2-s", "--batch-size", "0"], "Invalid value for '--batch-size'", id="batch"
        ),
        pytest.param(["report", "nowhere"], "no such run directory: nowhere", id="report"),
        pytest.param(["rerank", "nowhere"], "no such run directory: nowhere", id="rerank"),
        pytest.param(["compare", "nowhere", "elsewhere"], "no such run directory: nowhere", id="compare"),
        pytest.param(["bench", "overheat"], "no benchmark 'overheat'; did you mean 'overhead'?", id="benchmark"),
        pytest.param(["serach"], "No such command 'serach'", id="command"),
    ],
)
def test_a_mistake_on_the_command_line(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, *arguments) == 2
    require_one_line(capsys, expected)


def test_an_output_directory_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    assert nas(monkeypatch, "search", "quickstart", "--out", tmp_path / "file" / "run") == 2
    require_one_line(capsys, "cannot write the run directory")
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_that_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nas(monkeypatch, "report", tmp_path) == 2
    require_one_line(capsys, "not a run directory")


def test_another_space_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_search.run(fake_search.config(tmp_path / "run", trials=2, finalists=0))
    assert nas(monkeypatch, "search", "--out", tmp_path / "run", "--space", "mnasnet") == 2
    require_one_line(capsys, "was started with another space")


def test_images_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found by a worker, and still one line and no traceback."""
    arguments = ("search", "quickstart", "--data", f"imagefolder:{tmp_path / 'nowhere'}", "--out", tmp_path / "run")
    assert nas(monkeypatch, *arguments) == 2
    require_one_line(capsys, str(tmp_path / "nowhere"), said="reading the images\n")


@pytest.mark.parametrize("content", [None, "garbage", "{}"], ids=["missing", "garbage", "no table"])
def test_a_step_time_table_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = tmp_path / "table.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    tables = ("--set", f"step_time.tables=[{file}]")
    assert nas(monkeypatch, "search", "quickstart", *tables, "--out", tmp_path / "run") == 2
    require_one_line(capsys, str(file))
    assert not (tmp_path / "run").exists()
