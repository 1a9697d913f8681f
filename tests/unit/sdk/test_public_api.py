"""What ``import kontinue`` offers, and what it costs."""

import ast
import importlib
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import kontinue
import kontinue.client
import kontinue.options
import kontinue.sync

OPTIONAL = {"typing_extensions"}
"""msgspec loads it where it is installed."""


def test_all_is_sorted_and_exact() -> None:
    """The public names are a list that a reader can trust."""
    assert list(kontinue.__all__) == sorted(kontinue.__all__)
    besides = set(dir(kontinue)) - set(kontinue.__all__)
    plain = {name for name in besides if not name.startswith("_") and not inspect.ismodule(getattr(kontinue, name))}
    assert plain == {"TYPE_CHECKING", "on_demand"}


@pytest.mark.parametrize("package", [kontinue, kontinue.client, kontinue.sync])
def test_names_are_loaded_from_where_type_checkers_find_them(package: ModuleType) -> None:
    """What is loaded on demand is what stands below TYPE_CHECKING, each name from the same module."""
    imports = [part for part in ast.walk(ast.parse(inspect.getsource(package))) if isinstance(part, ast.ImportFrom)]
    found = {alias.name: part.module for part in imports for alias in part.names}
    for name in package.__all__:
        assert getattr(package, name) is getattr(importlib.import_module(str(found[name])), name)
        assert name in dir(package)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    """As of any module; a module below is found by its name once the package is loaded."""
    with pytest.raises(AttributeError, match="module 'kontinue' has no attribute 'Workflow'"):
        kontinue.Workflow  # type: ignore[attr-defined]  # noqa: B018
    assert kontinue.options.RetryPolicy is kontinue.RetryPolicy


@pytest.mark.parametrize("name", kontinue.__all__)
def test_public_name_has_a_docstring(name: str) -> None:
    """help() answers for everything public."""
    assert inspect.getdoc(getattr(kontinue, name))


def test_import_loads_msgspec_and_the_standard_library_only() -> None:
    """Runners and command lines pay for nothing that they do not use."""
    started = "import sys; before = {*sys.modules}"  # a distribution's own Python brings a sitecustomize
    program = (
        f"{started}; from kontinue import *; print(*{{name.partition('.')[0] for name in {{*sys.modules}} - before}})"
    )
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split()) - sys.stdlib_module_names - OPTIONAL
    assert {name for name in loaded if not name.startswith("_")} == {"kontinue", "msgspec"}


def test_import_loads_no_client() -> None:
    """Functions do not need what spawns them from outside."""
    program = "import sys; from kontinue import *; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert not {name for name in run.stdout.split() if name.startswith(("kontinue.client", "kontinue.kube"))}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import kontinue.errors", ("kontinue.app", "kontinue.context", "kontinue.options", "msgspec")),
        ("from kontinue.client import Client", ("kontinue.client.sync_client", "kontinue.context", "yaml")),
        ("from kontinue.sync import WaitGroup", ("kontinue.sync.locks", "kontinue.sync.blocking", "yaml")),
    ],
)
def test_a_module_is_loaded_without_its_neighbours(statement: str, forbidden: tuple[str, ...]) -> None:
    """Commands that last a moment load what they use."""
    program = f"import sys; {statement}; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert [name for name in run.stdout.split() if name.startswith(forbidden)] == []
