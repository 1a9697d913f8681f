"""What all kinds of primitives have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import click
import msgspec
import pytest
import typer

from kontinue_engine.cli import koncli
from kontinue_engine.cli.primitives import kinds, semaphore


def test_a_list_of_another_version_is_told_as_such(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """As every other answer that cannot be read: it names the object, and is no bug of whoever asks."""

    @asynccontextmanager
    async def connect(_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(namespace="shop", transport=None)

    async def list_objects(*_: object, **__: object) -> SimpleNamespace:
        raw = b'{"metadata": {"name": "db", "namespace": "shop"}, "spec": {"permits": "many"}}'
        return SimpleNamespace(items=[msgspec.Raw(raw)])

    monkeypatch.setattr(kinds, "connect", connect)
    monkeypatch.setattr(kinds, "list_objects", list_objects)
    context = typer.Context(click.Command("list"))
    with pytest.raises(typer.Exit) as left:
        kinds.list_verb(semaphore.KIND)(context)
    assert left.value.exit_code == 1
    assert "error: shop/db is no Semaphore" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["list"], ["add", "jobs"]], ids=" ".join)
def test_a_verb_loads_no_other_kind(verb: list[str], tmp_path: Path) -> None:
    """Nor what makes YAML, trees of Executions or clients for threads: each costs a good part of a short command."""
    idle = ("yaml", "rich", "kontinue.sync.locks", "kontinue.sync.granted", "kontinue.sync.blocking", "kontinue.app")
    idle += ("kontinue.context", "kontinue.client.sync_client", "kontinue_engine.lifecycle", "kontinue_engine.kube")
    code = (
        f"import sys; from kontinue_engine.cli.koncli import main; assert main({['waitgroup', *verb]!r}) == 1;"
        f"print(*(name for name in sys.modules if name.startswith({idle!r})))"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "no Kubernetes API server found" in done.stderr


@pytest.mark.parametrize("words", [["mutex", "delete", "db"], ["waitgroup", "add", "db"], ["status", "mutex", "db"]])
@pytest.mark.parametrize("option", [["-A"], ["-l", "team=blue"]])
def test_what_is_about_one_object_takes_no_selection(
    words: list[str], option: list[str], capsys: pytest.CaptureFixture[str]
):
    """Rather than pass it over: it would be done to something else than is meant."""
    assert koncli.main([*words, *option]) == 1
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"koncli {' '.join(words[:2])} does not take it" in said


@pytest.mark.parametrize("name", ["list", "delete"])
def test_help_of_a_verb_says_which_global_options_it_takes(name: str, capsys: pytest.CaptureFixture[str]):
    """They stand before and behind it, and are told nowhere else on that page."""
    assert koncli.main(["mutex", name, "--help"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Global options:" in line]
    assert (" -n " in line, " -l " in line) == (True, name == "list")
