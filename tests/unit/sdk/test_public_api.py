"""What ``import kontinue`` offers, and what it costs."""

import inspect
import subprocess
import sys

import pytest

import kontinue

OPTIONAL = {"typing_extensions"}
"""msgspec loads it where it is installed."""


def test_all_is_sorted_and_exact() -> None:
    """The public names are a list that a reader can trust."""
    assert list(kontinue.__all__) == sorted(kontinue.__all__)
    offered = {
        name for name, value in vars(kontinue).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert offered == set(kontinue.__all__)


@pytest.mark.parametrize("name", kontinue.__all__)
def test_public_name_has_a_docstring(name: str) -> None:
    """help() answers for everything public."""
    assert inspect.getdoc(getattr(kontinue, name))


def test_import_loads_msgspec_and_the_standard_library_only() -> None:
    """Runners and command lines pay for nothing that they do not use."""
    started = "import sys; before = {*sys.modules}"  # a distribution's own Python brings a sitecustomize
    program = f"{started}; import kontinue; print(*{{name.partition('.')[0] for name in {{*sys.modules}} - before}})"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split()) - sys.stdlib_module_names - OPTIONAL
    assert {name for name in loaded if not name.startswith("_")} == {"kontinue", "msgspec"}


def test_import_loads_no_client() -> None:
    """Functions do not need what spawns them from outside."""
    program = "import sys, kontinue; print(*sorted(name for name in sys.modules if name.startswith('kontinue.')))"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert not {name for name in run.stdout.split() if name.startswith(("kontinue.client", "kontinue.kube"))}
