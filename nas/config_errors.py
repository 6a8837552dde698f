"""Pydantic's findings, said in one line."""

from typing import get_args

from pydantic import BaseModel, ValidationError

from search_spaces.messages import did_you_mean


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first finding as ``key: rule, got value``, and how many more there are.

    Args:
        error: What Pydantic raised for ``model``.
        model: The settings that were read; a misspelt key gets a hint from their fields.
    """
    findings = error.errors(include_url=False)
    first = findings[0]
    loc = [str(part) for part in first["loc"]]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{'.'.join(loc)}: unknown key; {did_you_mean(loc[-1], _fields(model, loc[:-1]))}{more}"
    rule = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{'.'.join(loc) or 'configuration'}: {rule}{_got(first['type'], first['input'])}{more}"


def _fields(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys known at this place."""
    for part in path:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)


def _got(kind: str, value: object) -> str:
    if kind in ("missing", "value_error"):
        return ""  # the rule names the value itself
    text = repr(value)
    return f", got {text if len(text) <= 80 else text[:77] + '...'}"
