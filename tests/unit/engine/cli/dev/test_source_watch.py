"""Edited source files are noticed."""

from pathlib import Path

from kontinue_engine.cli.dev.source_watch import SourceWatch


def test_a_change_is_returned_once_it_is_quiet(tmp_path: Path) -> None:
    """While files still change nothing is said; then all of them, new and deleted ones too, once."""
    for name in ("old.py", "notes.txt"):
        (tmp_path / name).write_text("1")
    (tmp_path / "app.py").write_text("import old, new")
    watch = SourceWatch("app:app", tmp_path)
    assert watch.poll() == []
    (tmp_path / "app.py").write_text("import old, new  # notes")
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


def test_what_a_single_module_does_not_import_is_not_watched(tmp_path: Path) -> None:
    """A client script and a test stand beside it: to save them must not wake what sleeps."""
    (tmp_path / "app.py").write_text(
        "import json, prices as p; import stock\nfrom shop.orders import order\n\ndef f():\n    from .x import late\n"
    )
    (tmp_path / "prices.py").write_text("if True: import rates")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text("import taxes\nimport app")
    for name in ("many", "test_app", "late"):
        (tmp_path / f"{name}.py").write_text("import app")
    watch = SourceWatch("app:app", tmp_path)
    for name in ("many", "test_app", "late"):
        (tmp_path / f"{name}.py").write_text("import app, os")
    assert [watch.poll(), watch.poll()] == [[], []]
    used = [tmp_path / name for name in ("prices.py", "rates.py", "shop/orders.py", "stock.py", "taxes.py")]
    for path in used:
        with path.open("a") as file:
            file.write("  # edited, or made now")
    assert [watch.poll(), watch.poll()] == [[], used]


def test_an_edit_that_cannot_be_read_is_a_change_and_no_error(tmp_path: Path) -> None:
    """The worker says what is wrong with it."""
    (tmp_path / "app.py").write_text("import prices")
    (tmp_path / "prices.py").touch()
    watch = SourceWatch("app:app", tmp_path)
    (tmp_path / "app.py").write_bytes(b"import prices\ndef (\xff")
    assert [watch.poll(), watch.poll()] == [[], [tmp_path / "app.py"]]
