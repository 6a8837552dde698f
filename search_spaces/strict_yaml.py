"""YAML read strictly: no doubled keys, no aliases, no tags; every mistake is one line with its place."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError


def read_yaml(path: Path) -> dict[str, object]:
    """Read a file that holds one mapping.

    Raises:
        ValueError: If the file cannot be read or is not such a mapping, in one line with path and place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"no such file: {path}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str = "<text>") -> dict[str, object]:
    """Read a text that holds one mapping with text keys.

    Raises:
        ValueError: As `read_yaml`; ``source`` names the text in the message.
    """
    try:
        # Our loader is a SafeLoader with rules taken away, never added.
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{source}{_place(error)}: {_problem(error)}") from None
    except RecursionError:
        raise ValueError(f"{source}: nested too deeply") from None
    if not isinstance(value, dict) or not value:
        found = type(value).__name__ if value else "nothing"
        raise ValueError(f"{source}: must hold a mapping of keys to values, got {found}")
    return value


def dump_yaml(value: Mapping[str, object]) -> str:
    """Plain data as a text that `parse_yaml` reads back as the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they allow exponential bombs), tags, and silent overwriting of keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(f"aliases are not allowed, got '*{event.anchor}'", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"tags are not allowed, got {event.tag!r}", event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as error:
            # Looks like a number or date and is none, e.g. 2026-13-45.
            raise _refusal(_one_line(error), node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:str":
                raise _refusal(f"keys must be texts, got {_source(key_node)}", key_node.start_mark)
            if key_node.value in seen:
                raise _refusal(f"doubled key {key_node.value!r}", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes each text which our loader would read as something else."""


# YAML 1.1, which PyYAML follows, reads 1e-3 as a text; YAML 1.2 and everybody who writes a recipe read a number.
for _kind in (_StrictLoader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def _refusal(problem: str, mark: Any) -> ConstructorError:
    return ConstructorError(None, None, problem, mark)


def _source(node: yaml.Node) -> str:
    return repr(node.value[:60]) if isinstance(node, yaml.ScalarNode) else "a list or mapping"


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return _one_line(", ".join(parts) or error)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
