"""``koncli status all`` where not every kind is to be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import click
import msgspec
import pytest
import typer

from kontinue import errors
from kontinue.kube import requests
from kontinue.kube.requests import Resource
from kontinue_engine.cli.primitives import status

Answers = dict[Resource, bytes | errors.ApiError]
MUTEX = b'{"metadata": {"name": "deploy", "namespace": "shop"}, "spec": {}}'
FOREIGN = b'{"metadata": {"name": "db", "namespace": "shop"}, "spec": {"permits": "many"}}'


def shown(monkeypatch: pytest.MonkeyPatch, answers: Answers, *, otherwise: errors.ApiError | None = None) -> int:
    """Run it against a server that has nothing but these objects; return the exit code."""

    @asynccontextmanager
    async def connect(_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(namespace="shop", transport=None)

    async def list_objects(_: object, resource: Resource, *__: object, **___: object) -> SimpleNamespace:
        answer = answers.get(resource, otherwise)
        if isinstance(answer, errors.ApiError):
            raise answer
        return SimpleNamespace(items=[] if answer is None else [msgspec.Raw(answer)])

    monkeypatch.setattr(status, "connect", connect)
    monkeypatch.setattr(status, "list_objects", list_objects)
    with pytest.raises(typer.Exit) as left:
        status.all_(typer.Context(click.Command("all")))
    return left.value.exit_code


def test_a_kind_that_is_not_to_be_had_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can be shown is shown; what is missing stands on stderr, with the exit code of the first such error."""
    forbidden = errors.Forbidden("gates are forbidden", status=403)
    answers: Answers = {requests.GATES: forbidden, requests.MUTEXES: MUTEX, requests.SEMAPHORES: FOREIGN}
    assert shown(monkeypatch, answers) == 4
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["mutexes:", "NAME", "deploy"]
    first, second = said.err.splitlines()
    assert first == "error: gates are forbidden"
    assert second.startswith("error: shop/db is no Semaphore")


def test_one_error_of_all_kinds_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when the server is away: eight lines would tell no more."""
    assert shown(monkeypatch, {}, otherwise=errors.Forbidden("you are nobody", status=403)) == 4
    assert capsys.readouterr().err == "error: you are nobody\n"
