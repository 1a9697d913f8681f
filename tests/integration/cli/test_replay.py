"""``kontinue replay``: Executions of a server, and of files, against the code in a folder."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kontinue import archives
from kontinue.api import labels
from kontinue.api.v1alpha1 import Execution
from kontinue.kube import requests
from kontinue.kube.config import load_config
from kontinue.kube.http import KubeTransport
from kontinue_engine.cli.main import main

pytestmark = pytest.mark.slow

Kontinue = Any  # the class is in conftest, which importlib mode does not let us import

EDITED = "ctx.step(other_step)"


@pytest.fixture
def edited(shared: Kontinue, tmp_path: Path) -> str:
    """A folder with the app after an edit that does not fit: ``--app-dir`` of it."""
    (tmp_path / "app.py").write_text((shared.folder / "app.py").read_text().replace("ctx.step(first_step)", EDITED, 1))
    text = (tmp_path / "app.py").read_text()
    head, mark, tail = text.partition("async def two_steps")
    (tmp_path / "app.py").write_text(head + mark + tail.replace("ctx.step(first_step)", EDITED))
    return str(tmp_path)


@pytest.fixture
def asleep(shared: Kontinue, wait_until: Callable[..., None]) -> str:
    """Name of an Execution that has recorded a step, and sleeps."""
    name = str(shared("execute", "-q", "--detach", "two_steps", "-p", "seconds=600").stdout.strip())
    wait_until("the sleep", lambda: phase_of(shared, name) == "Suspended")
    return name


def get(shared: Kontinue, name: str) -> dict[str, Any]:
    return dict(json.loads(shared("get", name, "-o", "json").stdout))


def phase_of(shared: Kontinue, name: str) -> str:
    return str(get(shared, name).get("status", {}).get("phase", ""))


def test_an_execution_that_waits_is_checked_against_both_codes(shared: Kontinue, asleep: str, edited: str) -> None:
    """Exit code 0 and 1; recorded and requested below each other; nothing has been written."""
    before = get(shared, asleep)
    fits = shared("replay", asleep, "app:app")
    assert (fits.returncode, fits.stderr) == (0, "")
    assert "Replays   then waits for Timer" in fits.stdout
    differs = shared("replay", asleep, "app:app", "--app-dir", edited)
    assert differs.returncode == 1
    recorded, requested = differs.stdout.splitlines()[-2:]
    assert recorded.startswith("  recorded:  step first_step (arguments digest ")
    assert "app.py:" in recorded
    assert requested.startswith("  requested: step other_step (arguments digest ")
    assert "app.py:" in requested
    after = get(shared, asleep)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert shared("cancel", asleep).returncode == 0


def test_all_live_executions_or_a_selection_are_checked_at_once(shared: Kontinue, asleep: str, edited: str) -> None:
    """What has ended is left out, unless it is named."""
    ended = shared("execute", "-q", "--detach", "--name", "replay-ended", "many_steps", "-p", "count=2").stdout.strip()
    assert shared("wait", ended).returncode == 0
    every = shared("replay", "--all", "app:app", "-o", "json")
    found = {one["name"]: one for one in json.loads(every.stdout)}
    assert ended not in found
    assert found[asleep]["finding"] == "Replays"
    selected = shared("replay", "-l", "kontinue.cloud/function=two_steps", "app:app", "--app-dir", edited, "-o", "name")
    assert asleep in selected.stdout.split()
    assert selected.returncode == 1
    both = shared("replay", ended, asleep, "app:app")
    assert [line.split()[0] for line in both.stdout.splitlines()] == ["NAME", ended, asleep]
    assert "then returns" in both.stdout
    assert shared("cancel", asleep).returncode == 0


def test_files_and_stdin_are_checked_without_a_server(shared: Kontinue, edited: str, tmp_path: Path) -> None:
    """As kubectl writes them, in CI."""
    name = shared("execute", "-q", "--detach", "many_steps", "-p", "count=3").stdout.strip()
    assert shared("wait", name).returncode == 0
    (tmp_path / "history.yaml").write_text(shared("get", name, "-o", "yaml").stdout)
    nowhere = ("--kubeconfig", str(tmp_path / "nowhere"))
    fits = shared("replay", "-f", str(tmp_path / "history.yaml"), "app:app", *nowhere)
    assert (fits.returncode, fits.stderr) == (0, "")
    as_json = shared("get", name, "-o", "json").stdout
    differs = shared("replay", "-f", "-", "app:app", "--app-dir", edited, "-o", "json", *nowhere, stdin=as_json)
    assert differs.returncode == 1
    (found,) = json.loads(differs.stdout)
    assert (found["name"], found["finding"], found["step"], found["records"]) == (name, "Differs", "1", 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["replay", "name"], 2, "is no MODULE:APP"),
        (["replay", "app:app"], 2, "say which Executions"),
        (["replay", "app:app", "--all", "-f", "x.yaml"], 2, "a file is replayed as a whole"),
        (["replay", "app:app", "-f", "none.yaml"], 2, "none.yaml: No such file"),
        (["replay", "app:app", "-f", "app.py"], 1, "error: app.py: "),
        (["replay", "nobody", "app:app"], 1, "Execution 'nobody' not found"),
        (["replay", "nobody", "ap:app"], 1, "did you mean 'app'?"),
    ],
)
def test_what_cannot_be_checked_is_an_error(shared: Kontinue, arguments: list[str], code: int, message: str) -> None:
    """Never exit code 0 for what was not looked at."""
    done = shared(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in " ".join(done.stderr.replace("│", "").split())


def test_nothing_is_written_to_the_server(
    shared: Kontinue, asleep: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even an Event: it only reads."""
    methods: list[str] = []
    send = KubeTransport.send

    async def counting(self: KubeTransport, request: requests.Request, **options: Any) -> bytes:
        methods.append(request.method)
        return await send(self, request, **options)

    monkeypatch.setattr(KubeTransport, "send", counting)
    options = ["--kubeconfig", str(shared.kubeconfig), "--app-dir", str(shared.folder)]
    assert main(["replay", asleep, "app:app", *options]) == 0
    assert main(["replay", "--all", "-A", "app:app", *options]) in {
        0,
        1,
    }  # of other tests there may be some that do not fit
    one, every = capsys.readouterr().out.split("NAMESPACE")
    assert asleep in one
    assert asleep in every
    assert len(methods) >= 2
    assert set(methods) == {"GET"}
    assert shared("cancel", asleep).returncode == 0


def test_an_archived_execution_is_replayed_from_its_archive_with_its_pages(shared: Kontinue, edited: str) -> None:
    """It does not live any more, and its steps stood in MemoPages."""
    name = shared("execute", "-q", "--detach", "many_steps", "-p", "count=40").stdout.strip()
    assert shared("wait", name).returncode == 0
    asyncio.run(archive(str(shared.kubeconfig), name))
    fits = shared("replay", name, "app:app")
    assert (fits.returncode, fits.stderr) == (0, "")
    assert re.search(rf"{name} +many_steps +Completed +40 +Replays +then returns", fits.stdout)
    differs = shared("replay", name, "app:app", "--app-dir", edited, "-o", "name")
    assert (differs.returncode, differs.stdout) == (1, f"{name}\n")


async def archive(kubeconfig: str, name: str) -> None:
    """Do what the leader does once an Execution is old enough."""
    transport = KubeTransport(load_config(kubeconfig=kubeconfig), user_agent="test")
    try:
        raw = await transport.send(requests.get(requests.EXECUTIONS, "default", name))
        selector = f"{labels.EXECUTION}={name}"
        pages = await transport.send(requests.list_objects(requests.MEMO_PAGES, "default", label_selector=selector))
        found = json.loads(pages)["items"]
        assert found
        packer = archives.Packer()
        packer.add(raw)
        for page in found:
            head = {"apiVersion": labels.API_VERSION, "kind": "MemoPage"}
            packer.add(json.dumps({**page, **head}).encode())
        root = msgspec.json.decode(raw, type=Execution)
        (part,) = archives.build_parts(root, packer.finish(), below=(), group="cli-tests", delete_at=None)
        await transport.send(requests.create(requests.ARCHIVED_EXECUTIONS, "default", part))
        await transport.send(requests.delete(requests.EXECUTIONS, "default", name))
    finally:
        await transport.close()
