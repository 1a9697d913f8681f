"""Edited source files are noticed."""

from pathlib import Path

from kontinue_engine.cli.dev.source_watch import SourceWatch


def test_a_change_is_returned_once_it_is_quiet(tmp_path: Path) -> None:
    """While files still change nothing is said; then all of them, new and deleted ones too, once."""
    for name in ("app.py", "old.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    watch = SourceWatch("app:app", tmp_path)
    assert watch.poll() == []
    (tmp_path / "app.py").write_text("1234")
    (tmp_path / "notes.txt").write_text("1234")
    assert watch.poll() == []
    (tmp_path / "old.py").unlink()
    (tmp_path / "new.py").touch()
    assert watch.poll() == []
    assert watch.poll() == [tmp_path / "app.py", tmp_path / "new.py", tmp_path / "old.py"]
    assert watch.poll() == []


def test_an_app_in_a_package_watches_the_package_alone(tmp_path: Path) -> None:
    """To its depths; beside it stand tests and tools."""
    inner = tmp_path / "shop" / "orders"
    inner.mkdir(parents=True)
    watch = SourceWatch("shop.app:app", tmp_path)
    (inner / "flow.py").touch()
    (inner / ".#flow.py").touch()
    (tmp_path / "test_shop.py").touch()
    assert watch.poll() == []
    assert watch.poll() == [inner / "flow.py"]
