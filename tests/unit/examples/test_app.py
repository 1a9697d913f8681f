"""The functions of the example, called as plain functions."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from stdlib_index import app
from stdlib_index.metrics import Counts
from stdlib_index.report import Mark, PartStats
from stdlib_index.sources import Part


def test_a_part_is_indexed_from_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the files of the part count."""
    (tmp_path / "json").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "json" / f"{name}.py").write_text("def f(): pass\n")
    stats = app.index_package.fn(Part("json", 1, 2, first=1, count=2), str(tmp_path))
    assert (stats.package, stats.number, stats.counts.files, stats.counts.functions) == ("json", 1, 2, 2)
    assert "json 1/2: 2 files" in capsys.readouterr().out
    again = app.index_package.fn(Part("json", 1, 2, first=1, count=2), str(tmp_path), passes=3)
    assert again.counts == stats.counts


def test_the_report_is_written_and_may_be_written_again(tmp_path: Path) -> None:
    """With the marks that the demo left; a step may run twice."""
    folder = tmp_path / "new" / "folder"
    parts = [PartStats("json", 1, Counts(files=1), 7, 1000, 500)]
    first = app.write_report(str(folder), "3.13", parts)
    assert "killed" not in Path(first[0]).read_text()
    (folder / "marks.json").write_text(json.dumps([{"at_ms": 1200, "kind": "kill", "label": "runner 7 killed"}]))
    assert app.write_report(str(folder), "3.13", parts) == first
    assert "runner 7 killed" in Path(first[0]).read_text()
    assert "runner 7 killed" in Path(first[1]).read_text()
    ElementTree.parse(first[1])
    assert app.read_marks(folder / "marks.json") == [Mark(1200, "kill", "runner 7 killed")]


def test_this_machine_has_a_standard_library() -> None:
    """Discovery finds packages that every Python has, in parts of about the size asked for."""
    library = app.discover(400 * 1024)
    packages = {part.package for part in library.parts}
    assert {"asyncio", "json", "email"} <= packages
    assert len(library.parts) >= len(packages)
