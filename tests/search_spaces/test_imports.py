"""An architecture is data: importing the ground floor brings no deep-learning library with it."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import search_spaces

HEAVY = ("torch", "torchvision", "timm", "optuna", "pandas", "numpy", "sklearn", "ray", "pydantic", "typer")
NEEDS_TORCH = (
    "features",
    "layer_settings",
    "network",
    "same_logits",
    "tensor_files",
    "torchvision_names",
    "weight_fit",
    "weight_names",
    "weight_source",
    "weights",
)
TORCH_NAMES = {"build", "features", "load_pretrained"}
NEEDS_NUMPY = ("space_blocks",)
MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(search_spaces.__path__)
    if module.name not in NEEDS_TORCH + NEEDS_NUMPY
)


def loaded_by(code: str) -> set[str]:
    """The top-level modules of a fresh interpreter that has run this."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_package_alone_is_light() -> None:
    assert not loaded_by("import search_spaces") & {*HEAVY, "yaml"}


def test_every_module_without_a_network_is_light() -> None:
    assert {"architecture", "blocks", "catalog", "space", "space_file", "strict_yaml"} <= set(MODULES)
    imports = "\n".join(f"import search_spaces.{name}" for name in MODULES)
    assert not loaded_by(imports) & set(HEAVY)


def test_sums_over_many_members_bring_numpy_alone() -> None:
    assert loaded_by("import search_spaces.space_blocks") & set(HEAVY) == {"numpy"}


def test_predicting_a_step_time_brings_no_torch() -> None:
    """A table measured elsewhere is read on a machine that trains nothing."""
    imports = "import proxies.step_time_table, proxies.costs, proxies.workload, proxies.device_identity"
    assert not loaded_by(imports) & {"torch", "torchvision", "timm", "optuna", "sklearn", "pandas"}


def test_the_public_names_without_a_network_are_light() -> None:
    names = ", ".join(sorted({*search_spaces.__all__} - TORCH_NAMES))
    work = (
        f"from search_spaces import {names}\n"
        "space = get_space('efficientnetv2', scale='s')\n"
        "assert space.contains(parse(str(catalog.get('efficientnetv2-s').architecture)))"
    )
    assert not loaded_by(work) & set(HEAVY)


def test_counting_is_light() -> None:
    work = (
        "from proxies import count_params\nfrom search_spaces import catalog\n"
        "assert count_params(catalog.get('efficientnetv2-s').architecture) == 21_458_488"
    )
    assert not loaded_by(work) & set(HEAVY)


def test_build_brings_torch() -> None:
    """So that the tests above are known to be able to fail."""
    assert {"torch", "timm"} <= loaded_by("from search_spaces import build")


def test_dir_shows_the_public_names() -> None:
    assert dir(search_spaces) == search_spaces.__all__ == sorted(set(search_spaces.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'search_spaces' has no attribute 'nonsense'"):
        _ = search_spaces.nonsense
    with pytest.raises(ImportError, match="nonsense"):
        from search_spaces import nonsense  # noqa: F401


def test_public_names_are_those_of_their_modules() -> None:
    homes = {
        "Architecture": "architecture",
        "Stage": "architecture",
        "parse": "architecture",
        "SearchSpace": "space",
        "StageChoices": "space",
        "get_space": "named_spaces",
        "build": "network",
        "load_pretrained": "weights",
    }
    for name, home in homes.items():
        module = importlib.import_module(f"search_spaces.{home}")
        assert getattr(search_spaces, name) is getattr(module, name)
    modules = ("catalog", "features", "scaling")
    for module_name in modules:
        assert getattr(search_spaces, module_name) is importlib.import_module(f"search_spaces.{module_name}")
    assert set(search_spaces.__all__) == {*homes, *modules}
