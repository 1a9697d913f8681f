"""A kopf operator on our own CRD: it creates, follows, resumes after it was killed, and holds what is deleted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api import MERGE_PATCH, Api, execution
from servers import Server

OPERATOR = Path(__file__).parent / "operators" / "executions.py"
EXECUTIONS = "kontinue.cloud/v1alpha1/executions"
FINALIZER = "example.com/operator"
Start = Callable[[str], "contextlib.AbstractContextManager[subprocess.Popen[bytes]]"]


@pytest.fixture
def start(server: Server, namespace: str, tmp_path: Path) -> Start:
    """Start runs of the operator by name; each is killed at the end of its context."""

    @contextlib.contextmanager
    def run(name: str) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig),
            "OPERATOR_RUN": name,
            "OPERATOR_FAREWELLS": str(tmp_path / "farewells"),
        }
        command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", namespace, str(OPERATOR)]
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
        except AssertionError as error:
            raise AssertionError((tmp_path / f"{name}.log").read_text()[-6000:]) from error
        finally:
            process.kill()
            process.wait(60)

    return run


def _annotations(body: Any) -> dict[str, str]:
    found = body["metadata"].get("annotations") or {}
    return {key.removeprefix("example.com/"): value for key, value in found.items() if key.startswith("example.com/")}


@pytest.mark.slow
async def test_an_operator_does_its_work_and_takes_it_up_again(api: Api, start: Start, tmp_path: Path) -> None:
    """Handlers of create, update, field and delete; changes made while it was dead are not missed."""
    path = api.path(EXECUTIONS, "a")
    with start("first"):
        assert (await api.send("POST", api.path(EXECUTIONS), execution("a")))[0] == 201
        body = await api.eventually(path, lambda body: _annotations(body).get("created-at-try") == "1")
        assert body["metadata"]["finalizers"] == [FINALIZER]
        await api.eventually(path, lambda body: (body.get("status") or {}).get("phase") == "Executing")
        await _paint(api, path, "red")
        body = await api.eventually(path, lambda body: _annotations(body).get("colour") == "red")
        await api.eventually(path, lambda body: "changes" in _annotations(body))
        assert "resumed-by" not in _annotations(body)
    await _paint(api, path, "blue")  # while nobody looks
    with start("second"):
        body = await api.eventually(path, lambda body: _annotations(body).get("resumed-by") == "second")
        await api.eventually(path, lambda body: _annotations(body).get("colour") == "blue")
    status, marked = await api.send("DELETE", path)
    assert (status, marked["metadata"]["finalizers"]) == (200, [FINALIZER])
    with start("third"):
        await api.eventually(path, 404)
    assert (tmp_path / "farewells").read_text() == "a\n"


async def _paint(api: Api, path: str, colour: str) -> None:
    body = {"metadata": {"labels": {"colour": colour}}}
    assert (await api.send("PATCH", path, body, content_type=MERGE_PATCH))[0] == 200
