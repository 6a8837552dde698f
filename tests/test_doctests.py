"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import experiments
import nas
import proxies
import search_spaces

MODULES = sorted(
    module.name
    for package in (search_spaces, proxies, nas, experiments)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    examples = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(examples) >= 10
