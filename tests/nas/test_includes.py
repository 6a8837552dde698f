"""A recipe's parts in files of their own: which one wins, where files are looked for, and what is refused."""

import sys
from pathlib import Path

import fake_search
import pytest

from nas.cli import main
from nas.config import make_config, read_config
from search_spaces.strict_yaml import dump_yaml

SPACE = "space: {name: efficientnetv2, scale: [0.25, 0.5], resolution: 32}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "proxy.yaml").write_text("fidelity: {epochs: 3, data_share: 0.5}\ntrain: {lr: 0.02}\n")
    (tmp_path / "recipe.yaml").write_text(f"{SPACE}include: [parts/proxy.yaml]\ntrain: {{label_smoothing: 0.0}}\n")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_recipe_includes_files_from_its_own_folder(folder: Path) -> None:
    found = read_config(folder / "recipe.yaml")
    assert (found.fidelity.epochs, found.fidelity.data_share) == (3, 0.5)
    assert (found.train.lr, found.train.label_smoothing) == (0.02, 0.0)


def test_the_written_configuration_is_complete_and_names_no_other_file(folder: Path) -> None:
    found = read_config(folder / "recipe.yaml")
    text = found.to_yaml()
    assert "include" not in text
    (folder / "parts" / "proxy.yaml").unlink()
    assert read_config(write(folder / "config.yaml", text)) == found


def test_the_recipes_own_keys_win_and_of_two_files_the_later(folder: Path) -> None:
    write(folder / "other.yaml", "train: {lr: 0.5, weight_decay: 0.1}\n")
    recipe = write(folder / "two.yaml", f"{SPACE}include: [parts/proxy.yaml, other.yaml]\nfidelity: {{epochs: 7}}\n")
    found = read_config(recipe)
    assert (found.fidelity.epochs, found.fidelity.data_share) == (7, 0.5)
    assert (found.train.lr, found.train.weight_decay) == (0.5, 0.1)


def test_what_is_included_on_the_command_line_outweighs_the_recipe_but_no_other_flag(folder: Path) -> None:
    recipe = write(folder / "own.yaml", f"{SPACE}fidelity: {{epochs: 7, resolution: 64}}\ntrain: {{lr: 0.1}}\n")
    part = folder / "parts" / "proxy.yaml"
    found = read_config(recipe, {"train.lr": 0.3}, include=[part])
    assert (found.fidelity.epochs, found.fidelity.resolution, found.train.lr) == (3, 64, 0.3)
    later = write(folder / "later.yaml", "fidelity: {epochs: 4}\n")
    assert read_config(recipe, include=[part, later]).fidelity.epochs == 4
    assert read_config(recipe, include=[later, part]).fidelity.epochs == 3


def test_files_that_an_included_file_names_lie_beside_it(folder: Path) -> None:
    write(folder / "parts" / "space.yaml", dump_yaml(fake_search.SPACE))
    write(folder / "parts" / "where.yaml", "space: space.yaml\n")
    found = read_config(write(folder / "here.yaml", "include: parts/where.yaml\n"))
    assert found.space["stem_channels"] == 8


def test_a_list_is_taken_as_a_whole(folder: Path) -> None:
    write(folder / "both.yaml", "objectives: [accuracy, params]\n")
    found = make_config({"objectives": ["accuracy", "step_time"], "include": "both.yaml"}, {}, folder=folder)
    assert found.objectives == ("accuracy", "step_time")


@pytest.mark.parametrize(
    ("include", "files", "message"),
    [
        pytest.param("nowhere.yaml", {}, "no such file: {folder}/nowhere.yaml", id="missing"),
        pytest.param("3", {}, "include must name a file or a list of files, got 3", id="number"),
        pytest.param("[{a: b}]", {}, "include must name a file or a list of files", id="mapping"),
        pytest.param("['']", {}, "include must name a file", id="empty"),
        pytest.param("self.yaml", {"self.yaml": "include: self.yaml\n"}, "must not include others", id="itself"),
        pytest.param("a.yaml", {"a.yaml": "include: [b.yaml]\n"}, "include: ['b.yaml']", id="two"),
        pytest.param("a.yaml", {"a.yaml": "- 1\n"}, "must hold a mapping", id="list"),
        pytest.param("a.yaml", {"a.yaml": "trian: {lr: 1}\n"}, "with {folder}/a.yaml: trian", id="unknown-key"),
        pytest.param("a.yaml", {"a.yaml": "train: {lr: -1}\n"}, "train.lr", id="wrong-value"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, include: str, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    recipe = write(tmp_path / "recipe.yaml", f"{SPACE}include: {include}\n")
    with pytest.raises(ValueError) as caught:
        read_config(recipe)
    assert message.format(folder=tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_several(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read in full before the search starts: the later file's mistake is the one that is told."""
    write(folder / "bad.yaml", "fidelity: {epochs: 0}\n")
    flags = ["--include", str(folder / "parts" / "proxy.yaml"), "--include", str(folder / "bad.yaml")]
    monkeypatch.setattr(sys, "argv", ["nas", "search", str(folder / "recipe.yaml"), *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert "fidelity.epochs" in errors
    assert errors.count("\n") == 1
