"""YAML read strictly: no doubled keys, no aliases, no tags; every mistake is one line with its place."""

from collections.abc import Hashable
from pathlib import Path

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
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {_one_line(error)}") from None
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
        raise ValueError(f"{source}: must hold a mapping of keys to values, got {type(value).__name__}")
    return value


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without aliases (they allow exponential bombs) and without silent overwriting of keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConstructorError(None, None, "aliases (*name) are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise ConstructorError(None, None, f"keys must be texts, got {key!r}", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"doubled key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    return _one_line(getattr(error, "problem", None) or error)


def _one_line(value: object) -> str:
    return " ".join(str(value).split())
