"""What of the documentation's site is made from code is complete: drawings, tables, navigation.

``make docs`` builds the site, strictly; nothing here needs MkDocs.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from kontinue.api import labels
from kontinue.api.v1alpha1 import Phase
from kontinue_engine.cli.main import VERBS
from kontinue_engine.lifecycle.phases import TRANSITIONS

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def tools() -> Iterator[None]:
    """The tools import each other from their folder, as MkDocs has them do."""
    sys.path.insert(0, str(ROOT / "tools" / "docs"))
    yield
    sys.path.remove(str(ROOT / "tools" / "docs"))


@pytest.fixture
def drawings(tools: None) -> ModuleType:
    return importlib.import_module("drawings")


@pytest.fixture
def tables(tools: None) -> ModuleType:
    return importlib.import_module("tables")


def test_every_transition_of_the_table_is_drawn(drawings: Any) -> None:
    """And no other."""
    drawn = {(source, arrow.event, arrow.target) for arrow in drawings.arrows() for source in arrow.sources}
    assert drawn == {(source, event, to) for source, events in TRANSITIONS.items() for event, to in events.items()}
    picture = drawings.phases()
    for phase in Phase:
        assert f">{phase}</text>" in picture
    for arrow in drawings.arrows():
        assert f">{arrow.event}</text>" in picture


def test_a_drawing_has_no_blank_line(drawings: Any) -> None:
    """Markdown would end it there."""
    for picture in (drawings.phases(), drawings.layers("kontinue"), drawings.layers("kontinue_engine")):
        assert "\n\n" not in picture


def test_the_layers_are_those_of_the_contract(drawings: Any) -> None:
    """From top to bottom, and from left to right."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rows,) = [one["layers"] for one in contracts if one.get("containers") == ["kontinue_engine"]]
    drawn = re.findall(r">(\w+)</text>", drawings.layers("kontinue_engine"))
    assert drawn == [name.strip() for row in rows for name in row.split("|")]


def test_every_verb_has_its_place_in_the_reference(tables: Any) -> None:
    """With those below it, and with the options that the worker parses itself."""
    text = tables.command_line()
    for verb in VERBS:
        assert f"### kontinue {verb.name}\n" in text
    assert "### kontinue schedules trigger\n" in text
    assert "`--recycle-after`" in text
    assert "`-n`, `--namespace`" in text


def test_every_field_of_every_kind_has_its_place_in_the_reference(tables: Any) -> None:
    """The CustomResourceDefinitions say which there are."""
    text = tables.kinds()
    for file in (ROOT / "crds").iterdir():
        assert f"\n## {yaml.safe_load(file.read_text())['spec']['names']['kind']}\n" in f"\n{text}"
    for field in ("spec.retry.nonRetryable", "status.waitingFor[].kind", "spec.resumeAt", "status.memoPages.count"):
        assert f"| `{field}` |" in text


def test_every_label_has_a_meaning(tables: Any) -> None:
    """Each has a docstring, and stands in the reference."""
    rows = dict(re.findall(r"^\| `(kontinue\.cloud/[^`]+)` \| (.*) \|$", tables.labels(), re.MULTILINE))
    found = {value for value in vars(labels).values() if isinstance(value, str) and value.startswith("kontinue.cloud/")}
    assert set(rows) == found - {labels.API_VERSION}
    assert [name for name, meaning in rows.items() if not meaning] == []


def test_every_page_has_its_place_in_the_navigation() -> None:
    """A page that nobody can find fails the build, too; here it says so sooner."""
    settings = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r"[\w./-]+\.md$", yaml.safe_dump(yaml.safe_load(settings)["nav"]), re.MULTILINE))
    pages = {str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")}
    lost = sorted(page for page in pages - listed if not page.startswith("adr/0"))
    assert lost == [], "give it a line below `nav` in mkdocs.yml"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    """As the build asks for, too."""
    for target, heading in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        linked = (page.parent / target).resolve() if target else page
        if linked.is_relative_to(DOCS):
            assert heading in anchors(linked), f"{page.name} links to {target}#{heading}"


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as MkDocs and GitHub make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def test_the_index_of_decisions_lists_them_all() -> None:
    """They have no place in the navigation but this one."""
    index = (DOCS / "adr" / "README.md").read_text()
    assert [file.name for file in sorted((DOCS / "adr").glob("0*.md")) if f"({file.name})" not in index] == []


@pytest.mark.parametrize(
    "module", ["kontinue", "kontinue.client", "kontinue.errors", "kontinue.sync", "kontinue_engine.testing"]
)
def test_every_public_name_says_what_it_is(module: str) -> None:
    """And so do the public methods and properties of classes."""
    silent = []
    public = importlib.import_module(module)
    for name in public.__all__:
        found = getattr(public, name)
        if not inspect.isclass(found) and not inspect.isfunction(found):
            continue  # an alias of types
        if not (found.__doc__ or "").strip():
            silent.append(name)
        if inspect.isclass(found):
            silent += [
                f"{name}.{attribute}"
                for attribute, value in vars(found).items()
                if not attribute.startswith("_")
                and (callable(value) or isinstance(value, (property, classmethod, staticmethod)))
                and not (getattr(value, "__doc__", None) or "").strip()
            ]
    assert silent == []
