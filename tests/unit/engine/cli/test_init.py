"""``kontinue init``: a new folder, and nothing of anybody's is overwritten."""

import ast
import tomllib
from pathlib import Path

import pytest

from kontinue_engine.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_writes_a_project_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name is the group's and the project's."""
    assert main(["init", "hello"]) == 0
    out = capsys.readouterr().out
    assert "cd hello" in out
    assert "kontinue dev app:app" in out
    names = {"app.py", "test_app.py", "pyproject.toml", "README.md", "Dockerfile", ".gitignore", ".dockerignore"}
    assert {path.name for path in (tmp_path / "hello").iterdir()} == names
    assert 'App(group="hello")' in (tmp_path / "hello" / "app.py").read_text()
    assert tomllib.loads((tmp_path / "hello" / "pyproject.toml").read_text())["project"]["name"] == "hello"
    for name in ("app.py", "test_app.py"):
        ast.parse((tmp_path / "hello" / name).read_text())


def test_an_empty_folder_may_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one that git has just made, in which it is called with a dot."""
    (tmp_path / "new").mkdir()
    assert main(["init", "new"]) == 0
    assert (tmp_path / "new" / "app.py").exists()
    assert "cd new" in capsys.readouterr().out


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file in the way, and none is written."""
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "app.py").write_text("mine")
    assert main(["init", "hello"]) == 2
    assert [path.name for path in (tmp_path / "hello").iterdir()] == ["app.py"]
    assert (tmp_path / "hello" / "app.py").read_text() == "mine"
    assert "app.py" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Hello", "a.b", "-x-", "a" * 64])
def test_a_name_that_no_group_can_have_is_refused(name: str, tmp_path: Path) -> None:
    """Before anything is written."""
    assert main(["init", "--", name]) == 2
    assert list(tmp_path.iterdir()) == []
