"""What strict reading takes, and what it refuses in one line with its place."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.strict_yaml import dump_yaml, parse_yaml, read_yaml

BOMB = "a: &a [lol, lol, lol]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(12)
)

# Text -> place (None where YAML knows none) and what the message must name.
REFUSED: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "": (None, ("mapping", "nothing")),
    "# only a comment\n": (None, ("mapping", "nothing")),
    "{}": (None, ("mapping", "nothing")),
    "---\n": (None, ("mapping", "nothing")),
    "- a\n- b\n": (None, ("mapping", "list")),
    "just words": (None, ("mapping", "str")),
    "3": (None, ("mapping", "int")),
    "trials: 1\ntrials: 2\n": ("2:1", ("doubled key", "'trials'")),
    "trials: 1\n'trials': 2\n": ("2:1", ("doubled key", "'trials'")),
    "train: {lr: 1, lr: 2}\n": ("1:16", ("doubled key", "'lr'")),
    "a:\n  - b: 1\n    b: 2\n": ("3:5", ("doubled key", "'b'")),
    "train:\n\tlr: 1\n": ("2:1", (r"'\t'",)),
    "a: 1\n\tb: 2\n": ("2:1", (r"'\t'",)),
    "a: !!python/object/apply:os.system ['true']\n": ("1:4", ("tags are not allowed", "python/object/apply:os.system")),
    "a: !!python/name:os.system\n": ("1:4", ("tags are not allowed", "python/name:os.system")),
    "a: !mine 3\n": ("1:4", ("tags are not allowed", "'!mine'")),
    "a: !!bool maybe\n": ("1:4", ("tags are not allowed", "bool")),
    "a: !!timestamp soon\n": ("1:4", ("tags are not allowed", "timestamp")),
    "!!omap [a: 1]\n": ("1:1", ("tags are not allowed", "omap")),
    "a: ! 3\n": ("1:4", ("tags are not allowed", "'!'")),
    BOMB: ("2:8", ("aliases are not allowed", "'*a'")),
    "a: &x [1]\nb: *x\n": ("2:4", ("aliases are not allowed", "'*x'")),
    "a: &x [*x]\n": ("1:8", ("aliases are not allowed", "'*x'")),
    "a: *nowhere\n": ("1:4", ("aliases are not allowed", "'*nowhere'")),
    "base: &base {a: 1}\nb:\n  <<: *base\n": ("3:7", ("aliases are not allowed", "'*base'")),
    "<<: {a: 1}\n": ("1:1", ("keys must be texts", "'<<'")),
    "1: a\n": ("1:1", ("keys must be texts", "'1'")),
    "no: a\n": ("1:1", ("keys must be texts", "'no'")),
    "null: a\n": ("1:1", ("keys must be texts", "'null'")),
    "a: {2026-11-21: b}\n": ("1:5", ("keys must be texts", "'2026-11-21'")),
    "? [a, b]\n: 1\n": ("1:3", ("keys must be texts", "a list or mapping")),
    "a: 1\n---\nb: 2\n": ("2:1", ("a single document",)),
    "a: [1, 2\n": ("2:1", ("expected ',' or ']'",)),
    "a: 'open\n": ("2:1", ("unexpected end of stream",)),
    "a: 1: 2\n": ("1:5", ("not allowed here",)),
    "a: 1\n b: 2\n": ("2:3", ("not allowed here",)),
    "a: 2026-13-45\n": ("1:4", ("month",)),
    "a: " + "9" * 5000 + "\n": ("1:4", ("limit", "5000 digits")),
    "a: " + "[" * 50_000 + "\n": (None, ("nested too deeply",)),
    "{" * 50_000: (None, ("nested too deeply",)),
    "a: \x00\n": (None, ("#x0000",)),
    "a: \x1b[31m\n": (None, ("#x001b",)),
}


@pytest.mark.timeout(20)  # The bomb would fill any memory in that time.
@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_a_malformed_text_is_refused_with_its_place(text: str) -> None:
    place, named = REFUSED[text]
    with pytest.raises(ValueError) as error:
        parse_yaml(text, source="recipe.yaml")
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 300
    assert message.startswith(f"recipe.yaml:{place}: " if place else "recipe.yaml: ")
    assert all(part in message for part in named), message


# Text -> the value, by the YAML specification (1.2 where 1.1 differs).
TAKEN: dict[str, Any] = {
    "a: 1\nb: [1, 2.5, three, null, true]\n": {"a": 1, "b": [1, 2.5, "three", None, True]},
    "a: {b: {c: [{}]}}": {"a": {"b": {"c": [{}]}}},
    "\ufeffa: 1\r\nb: 2\r\n": {"a": 1, "b": 2},
    "a: ü — 日本\n": {"a": "ü — 日本"},
    "'1': a\n\"no\": b\n": {"1": "a", "no": "b"},
    "a: |\n  two\n  lines\n": {"a": "two\nlines\n"},
    "a: &named 3\n": {"a": 3},
    "lr: 1e-3": {"lr": 0.001},
    "lr: [1E5, 1.5e3, -2e+3, .5e1, 7.e0]": {"lr": [1e5, 1500.0, -2000.0, 5.0, 7.0]},
    "name: [e3, 1e, 1e3x, 3-e5]": {"name": ["e3", "1e", "1e3x", "3-e5"]},
    "a: '1e3'": {"a": "1e3"},
    "a: .inf": {"a": float("inf")},
}


@pytest.mark.parametrize("text", TAKEN, ids=repr)
def test_a_sound_text_is_read(text: str) -> None:
    value = parse_yaml(text)
    assert value == TAKEN[text]
    assert repr(value) == repr(TAKEN[text])  # 1 is not 1.0 or true here.


def test_not_a_number_is_read_as_such() -> None:
    """Who reads a setting decides about it; it must not turn into a text or a zero."""
    value = parse_yaml("a: .nan")["a"]
    assert isinstance(value, float)
    assert value != value


@pytest.mark.parametrize("seed", range(20))
def test_what_a_plain_dumper_writes_is_read_back(seed: int) -> None:
    print(f"{seed=}")
    value = random_mapping(random.Random(seed), depth=3)
    assert parse_yaml(yaml.safe_dump(value)) == value


def random_mapping(rng: random.Random, depth: int) -> dict[str, Any]:
    return {f"key{number}": random_value(rng, depth - 1) for number in range(rng.randint(1, 4))}


def random_value(rng: random.Random, depth: int) -> Any:
    scalars = [None, True, -3, 0.25, 1e-7, 1e300, "", "no", "12", "a: b", "ü\n\t'\"", "2026-11-21"]
    kind = rng.choice(("scalar", "list", "mapping")) if depth else "scalar"
    if kind == "scalar":
        return rng.choice(scalars)
    if kind == "list":
        return [random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return random_mapping(rng, depth)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: ü\n", encoding="utf-8")
    assert read_yaml(path) == {"a": "ü"}


def refused_file(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_yaml(path)
    message = str(error.value)
    assert message.isprintable()
    assert message.count(str(path)) == 1
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refused_file(tmp_path / "recipe.yaml").startswith("no such file: ")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "Is a directory" in refused_file(tmp_path)


def test_a_file_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a: 1")
    assert "Not a directory" in refused_file(tmp_path / "file" / "recipe.yaml")


@pytest.mark.parametrize("raw", [b"a: \xff\n", b"\x89PNG\r\n\x1a\n", "a: ü".encode("latin-1"), "a: 1".encode("utf-16")])
def test_a_file_in_another_encoding_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(raw)
    assert "utf-8" in refused_file(path)


def test_a_mistake_in_a_file_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: 1\na: 2\n")
    assert refused_file(path) == f"{path}:2:1: doubled key 'a'"


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.touch()
    assert refused_file(path).endswith("got nothing")


@pytest.mark.parametrize("text", ["1e3", "1e-3", "yes", "null", "2026-11-21", "3", "~", "a: b", "é", "", " x", "#"])
def test_what_is_written_is_read_back(text: str) -> None:
    value = {"key": text, "list": [text, 1e-3, 3, True, None]}
    assert parse_yaml(dump_yaml(value)) == value
