"""The documents name real files and real code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
NAME = re.compile(r"`(kontinue(?:_engine)?(?!\.cloud)(?:\.[a-z_0-9]+)+)(?::([A-Za-z_.]+))?`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_a_document_exists(document: Path) -> None:
    """A reader who follows a name finds it."""
    for module, attributes in NAME.findall(document.read_text()):
        resolve(module, attributes)


def resolve(module: str, attributes: str) -> None:
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError:
        parent, _, last = module.rpartition(".")
        found = getattr(importlib.import_module(parent), last)
    for attribute in filter(None, attributes.split(".")):
        found = getattr(found, attribute)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_in_a_document_leads_to_a_file(document: Path) -> None:
    """No link of the repository is broken."""
    for target in LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_async_tests_come_with_what_they_need(document: Path) -> None:
    """Who copies one into an empty folder is told of the plug-in and its mode before; pytest alone runs none."""
    before, has_one, _ = document.read_text().partition("async def test_")
    assert not has_one or "[pytest-asyncio in auto mode](" in before or "\nasyncio_mode = auto\n" in before


@pytest.mark.parametrize(
    "source",
    sorted((ROOT / "sdk").rglob("*.py")) + sorted((ROOT / "engine").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_every_module_says_what_it_is_and_names_only_modules_that_exist(source: Path) -> None:
    """A module's docstring comes first, and the neighbours it names are real."""
    text = source.read_text()
    if not text.strip():
        return
    assert text.startswith(('"""', 'r"""')), f"{source} has no docstring"
    docstring = text.split('"""')[1]
    for name in re.findall(r"``(kontinue(?:_engine)?(?!\.cloud)(?:\.[a-z_0-9]+)+)", docstring):
        resolve(name, "")
