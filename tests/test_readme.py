"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

from nas.cli import app
from nas.config import make_config
from nas.recipes import recipe_names
from search_spaces.space_file import space_from_mapping
from search_spaces.strict_yaml import parse_yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (nas .*?)(?:\s+#.*)?$", README, re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_first_screen_gives_the_two_commands() -> None:
    first = README.splitlines()[:12]
    assert "    pip install -e . && nas search experiments/quickstart.yaml" in first
    assert '    pip install -e ".[dev]" && pytest' in first


PRINTED = (r"architectures; this one has", r"^[\d.]+ ms ± [\d.]+%$", r"^same 0\.001$")


@pytest.mark.parametrize(("block", "printed"), list(zip(blocks("python"), PRINTED, strict=True)))
def test_the_python_blocks_run(block: str, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
    assert re.search(printed, capsys.readouterr().out, re.MULTILINE)


def test_the_yaml_blocks_are_a_recipe_and_a_space() -> None:
    recipe, space = map(parse_yaml, blocks("yaml"))
    assert make_config(recipe, {}).trials == 200
    assert space_from_mapping(space).size > 1


def test_the_commands_exist_with_their_flags() -> None:
    assert len(COMMANDS) >= 5
    known = {info.name: info for info in app.registered_commands}
    for command in COMMANDS:
        name, *words = command.split()[1:]
        assert name in known, command
        source = Path(known[name].callback.__code__.co_filename).read_text(encoding="utf-8")  # type: ignore[union-attr]
        for flag in (word for word in words if word.startswith("--")):
            assert f'"{flag}"' in source or re.search(rf"^    {flag[2:].replace('-', '_')}: ", source, re.MULTILINE), (
                command
            )
        if name == "search" and words and not words[0].startswith("-") and not words[0].endswith(".yaml"):
            assert words[0] in recipe_names(), command


def test_files_it_names_are_there() -> None:
    for path in re.findall(r"`(tests/[\w/]+\.py)`|\]\((docs/[\w.]+)\)", README):
        assert (ROOT / "".join(path)).is_file(), path
