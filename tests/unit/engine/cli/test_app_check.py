"""``kontinue worker check``: what a worker would register, or why it could not start."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kontinue_engine.cli.main import main

APP = '''
from kontinue import App

app = App(group="checked")
print("importing")


@app.function
def greet(name: str, times: int = 1) -> str:
    """Greet somebody."""
    return name * times
'''


@pytest.fixture(autouse=True)
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of one test are not those of another."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in ("checked_app", "broken_app"):
        if name not in before:
            sys.modules.pop(name, None)


def test_it_prints_signatures_and_leaves_what_the_module_prints_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data on stdout, everything else on stderr."""
    (tmp_path / "checked_app.py").write_text(APP)
    assert main(["worker", "check", "checked_app:app", "--app-dir", str(tmp_path)]) == 0
    done = capsys.readouterr()
    assert done.out == "greet(name: string, times: integer = 1) -> string\n"
    assert done.err == "importing\nchecked_app:app can be imported: 1 function of group checked\n"


def test_it_prints_the_objects_that_a_worker_would_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With their schemas, for whoever compares two builds."""
    (tmp_path / "checked_app.py").write_text(APP)
    assert main(["worker", "check", "checked_app:app", "--app-dir", str(tmp_path), "-o", "json", "-q"]) == 0
    (function,) = json.loads(capsys.readouterr().out)["items"]
    assert (function["kind"], function["spec"]["workerGroup"]) == ("Function", "checked")
    assert function["spec"]["arguments"]["required"] == ["name"]


@pytest.mark.parametrize(
    ("spec", "text", "says"),
    [
        ("broken_app:app", "1 / 0\n", "ZeroDivisionError"),
        ("broken_app:other", APP, "did you mean broken_app:app?"),
        ("missing_app:app", "", "there is no module 'missing_app'"),
    ],
)
def test_what_no_worker_could_start_with_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, text: str, says: str
) -> None:
    """Exit code 1, and where it goes wrong in the user's code."""
    (tmp_path / "broken_app.py").write_text(text)
    assert main(["worker", "check", spec, "--app-dir", str(tmp_path)]) == 1
    done = capsys.readouterr()
    assert done.out == ""
    assert says in done.err
