"""What all kinds of primitives have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import click
import msgspec
import pytest
import typer

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
