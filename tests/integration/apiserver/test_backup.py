"""Backup while the server runs, restore while it does not; revisions never mean two things."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from api import Api
from kontinue_engine.apiserver.backup import backup, restoring
from kontinue_engine.apiserver.backup.backup import BackupDamagedError
from kontinue_engine.apiserver.backup.restoring import DataPresentError
from kontinue_engine.apiserver.storage.protocol import StorageBusyError, StorageCorruptError, StorageFailedError

DATABASE = "kontinue.db"
CLI = "import sys; from kontinue_engine.cli.main import main; sys.exit(main())"


def kontinue(*arguments: object, fault: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{fault}\n{CLI}", "apiserver", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def ok(*arguments: object) -> str:
    done = kontinue(*arguments)
    assert done.returncode == 0, done
    return done.stdout


def refused(*arguments: object) -> str:
    done = kontinue(*arguments)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def silent(_done: int, _of: int) -> None:
    """Show no progress."""


async def put(api: Api, name: str, value: str) -> dict[str, Any]:
    body = {"metadata": {"name": name}, "data": {"value": value}}
    status, made = await api.send("POST", api.path("configmaps"), body)
    if status == 409:
        status, made = await api.send("PUT", api.path("configmaps", name), body)
    assert status in {200, 201}, made
    return made


async def items(api: Api) -> dict[str, Any]:
    _, listed = await api.send("GET", api.path("configmaps"))
    return {item["metadata"]["name"]: item for item in listed["items"]}


def rev(document: dict[str, Any]) -> int:
    return int(document["metadata"]["resourceVersion"])


async def test_a_backup_of_a_running_server_is_one_moment_and_comes_back_whole(start: Any, tmp_path: Path) -> None:
    """Under writers: a pair that is written one after the other is never torn further than one apart."""
    server = start(tmp_path / "data")
    api = Api(server.url, server.token)
    stop = asyncio.Event()
    last: dict[str, Any] = {}

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for half in ("a", "b"):
                last[f"{half}{writer}"] = await put(api, f"{half}{writer}", str(number))

    writers = [asyncio.create_task(write(writer)) for writer in range(4)]
    async with asyncio.timeout(60):
        while len(last) < 8:
            await asyncio.sleep(0.005)
    message = await asyncio.to_thread(ok, "backup", tmp_path / "file", "--data-dir", tmp_path / "data")
    stop.set()
    await asyncio.gather(*writers)
    assert str(tmp_path / "file") in message
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    highest = max(rev(made) for made in last.values())
    await api.close()
    await asyncio.to_thread(server.stop, signal.SIGTERM)

    ok("restore", tmp_path / "file", "--data-dir", tmp_path / "other")
    server = start(tmp_path / "other")
    api = Api(server.url, server.token)
    found = await items(api)
    assert len(found) == 8
    for writer in range(4):
        first, second = (int(found[f"{half}{writer}"]["data"]["value"]) for half in "ab")
        assert first - 1 <= second <= first
    assert rev(await put(api, "new", "1")) > highest
    await api.close()


async def test_an_older_backup_over_newer_data_never_hands_out_a_revision_again(start: Any, tmp_path: Path) -> None:
    """Objects are as they were, the counter goes on beyond both, a watch from between gets 410."""
    server = start(tmp_path / "data")
    api = Api(server.url, server.token)
    kept = await put(api, "kept", "1")
    await asyncio.to_thread(ok, "backup", tmp_path / "file", "--data-dir", tmp_path / "data")
    for number in range(5):
        newest = await put(api, "kept", f"newer {number}")
    await put(api, "lost", "1")
    _, listed = await api.send("GET", api.path("configmaps"))
    await api.close()
    assert "process" in await asyncio.to_thread(refused, "restore", tmp_path / "file", "--data-dir", tmp_path / "data")
    await asyncio.to_thread(server.stop, signal.SIGKILL)  # the newest are only in the log

    assert "--replace" in refused("restore", tmp_path / "file", "--data-dir", tmp_path / "data")
    ok("restore", tmp_path / "file", "--data-dir", tmp_path / "data", "--replace")
    server = start(tmp_path / "data")
    api = Api(server.url, server.token)
    assert await items(api) == {"kept": kept}
    status, _ = await api.send("PUT", api.path("configmaps", "kept"), newest)
    assert status == 409
    for old in (rev(kept), rev(newest), rev(listed)):
        path = f"{api.path('configmaps')}?watch=1&resourceVersion={old}"
        (event,) = [event async for event in api.watch(path)]
        assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    made = await put(api, "new", "1")
    assert rev(made) > rev(listed) + restoring.REVISION_GAP - 1
    _, listed = await api.send("GET", api.path("configmaps"))
    path = f"{api.path('configmaps')}?watch=1&timeoutSeconds=1&resourceVersion={rev(made) - 1}"
    assert [event["object"]["metadata"]["name"] async for event in api.watch(path)] == ["new"]
    await api.close()


async def test_a_stopped_server_is_backed_up_from_its_file(start: Any, tmp_path: Path) -> None:
    """With the same content, though it was killed and the newest is only in the log."""
    server = start(tmp_path / "data")
    api = Api(server.url, server.token)
    await put(api, "a", "1")
    await put(api, "a", "2")
    await put(api, "b", "3")
    await api.send("DELETE", api.path("configmaps", "b"))
    await asyncio.to_thread(ok, "backup", tmp_path / "online", "--data-dir", tmp_path / "data")
    await api.close()
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    ok("backup", tmp_path / "offline", "--data-dir", tmp_path / "data")
    online, offline = ((tmp_path / name).read_bytes().splitlines() for name in ("online", "offline"))
    assert online[1:-1] == offline[1:-1]
    assert orjson.loads(online[0])["revision"] == orjson.loads(offline[0])["revision"]
    assert "exists" in refused("backup", tmp_path / "offline", "--data-dir", tmp_path / "data")
    assert "--data-dir" in refused("backup", tmp_path / "new", "--data-dir", tmp_path / "none")
    assert "cannot be written" in refused("backup", tmp_path / "none" / "new", "--data-dir", tmp_path / "data")
    (tmp_path / "file").write_text("")  # nothing can be made below it, nor removed
    assert "cannot be written" in refused("backup", tmp_path / "file" / "new", "--data-dir", tmp_path / "data")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A backup of 50 objects."""
    stored = [
        backup.Stored(n, f"configmaps/default/c{n}", b'{"metadata":{"resourceVersion":"","uid":"%d"}}' % n)
        for n in range(1, 51)
    ]
    path = tmp_path / "backup"
    path.write_bytes(b"".join(backup.encode(stored, revision=60, created_at="2026-01-01T00:00:00+00:00")))
    return path


def test_a_backup_that_is_not_whole_is_refused_before_anything_changes(made: Path, tmp_path: Path) -> None:
    """Cut short anywhere, or with any byte changed: the old data stay as they are."""
    restoring.restore(made, tmp_path / DATABASE, replaces=False, progress=silent)
    before = (tmp_path / DATABASE).read_bytes()
    content = made.read_bytes()
    draw = random.Random(1)
    damaged = [content[: draw.randrange(len(content))] for _ in range(50)]
    for _ in range(50):
        at = draw.randrange(len(content))
        damaged.append(content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :])
    for text in [b"", b"\n", b"[]\n", content + b"x", content.replace(b"backup/1", b"backup/2"), *damaged]:
        made.write_bytes(text)
        with pytest.raises(BackupDamagedError):
            restoring.restore(made, tmp_path / DATABASE, replaces=True, progress=silent)
    assert (tmp_path / DATABASE).read_bytes() == before


def test_a_restore_over_objects_must_be_told_so(made: Path, tmp_path: Path) -> None:
    """Each restore, told or not, leaves the counter higher."""
    first = restoring.restore(made, tmp_path / DATABASE, replaces=False, progress=silent)
    with pytest.raises(DataPresentError, match="50 objects"):
        restoring.restore(made, tmp_path / DATABASE, replaces=False, progress=silent)
    second = restoring.restore(made, tmp_path / DATABASE, replaces=True, progress=silent)
    assert (first.objects, second.objects) == (50, 50)
    assert first.revision > 60
    assert second.revision > first.revision
    revision, objects = restoring.read_closed(tmp_path / DATABASE)
    assert (revision, objects) == (second.revision, list(backup.read(made)))


def test_a_damaged_data_file_is_not_overwritten(made: Path, tmp_path: Path) -> None:
    """Its revision is unknown, and somebody may still want to rescue it: it must be moved away by hand."""
    (tmp_path / DATABASE).write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageCorruptError, match="Move it away"):
        restoring.restore(made, tmp_path / DATABASE, replaces=True, progress=silent)
    assert (tmp_path / DATABASE).read_bytes() == b"garbage" * 1000


def test_a_data_dir_named_before_the_subcommand_is_the_one_that_is_meant(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither read from nor restored into the default folder; the one named last wins."""
    monkeypatch.chdir(tmp_path)
    ok("restore", made)
    default = (tmp_path / ".kontinue" / DATABASE).read_bytes()
    ok("--data-dir", "x", "restore", made)
    assert "--replace" in refused("--data-dir", "x", "restore", made)
    ok("--data-dir", "x", "restore", made, "--replace")
    ok("--data-dir", "x", "restore", made, "--data-dir", "y")
    assert (tmp_path / ".kontinue" / DATABASE).read_bytes() == default
    assert restoring.read_closed(tmp_path / "x" / DATABASE)[0] > restoring.read_closed(tmp_path / "y" / DATABASE)[0]
    ok("--data-dir", "x", "backup", "copy")
    assert backup.check(tmp_path / "copy", silent).revision == restoring.read_closed(tmp_path / "x" / DATABASE)[0]


def test_a_pipe_is_refused_as_what_it_is(tmp_path: Path) -> None:
    """It can't be read twice, which a restore must; it is not called damaged."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BackupDamagedError, match="regular file") as caught:
        restoring.restore(tmp_path / "pipe", tmp_path / DATABASE, replaces=False, progress=silent)
    assert "no whole backup" not in str(caught.value)


def test_progress_is_told_and_nothing_but_the_data_file_is_left(made: Path, tmp_path: Path) -> None:
    """Twice over: while the backup is checked, and while it is written."""
    told: list[tuple[int, int]] = []
    restoring.restore(made, tmp_path / "d" / DATABASE, replaces=False, progress=lambda *step: told.append(step))
    assert told[49] == told[-1] == (50, 50)
    assert {path.name for path in (tmp_path / "d").iterdir()} == {DATABASE, f"{DATABASE}.lock"}
    assert (tmp_path / "d" / DATABASE).stat().st_mode & 0o777 == 0o600


def test_a_file_that_a_server_has_open_is_neither_read_nor_replaced(made: Path, tmp_path: Path) -> None:
    """The holder is named."""
    with restoring._locked(tmp_path / DATABASE):
        with pytest.raises(StorageBusyError) as caught:
            restoring.restore(made, tmp_path / DATABASE, replaces=True, progress=silent)
        assert caught.value.holder_pid == os.getpid()
        with pytest.raises(StorageBusyError):
            restoring.read_closed(tmp_path / DATABASE)


@pytest.mark.slow
def test_a_restore_that_is_killed_leaves_the_old_data_or_the_new(made: Path, tmp_path: Path) -> None:
    """At whatever call into the operating system or SQLite it dies."""
    old = [backup.Stored(7, "configmaps/default/old", b'{"metadata":{"resourceVersion":"","uid":"old"}}')]
    (tmp_path / "old").write_bytes(b"".join(backup.encode(old, revision=9, created_at="")))
    restoring.restore(tmp_path / "old", tmp_path / "d" / DATABASE, replaces=False, progress=silent)
    new = list(backup.read(made))
    outcomes = set()
    for step in range(1, 40):
        fault = f"""
import os, sys
steps = {step}
def audit(event, arguments):
    global steps
    touches = event in ("open", "os.rename", "os.remove", "sqlite3.connect") and "{DATABASE}" in str(arguments[0])
    if touches:
        steps -= 1
        if not steps:
            os.kill(os.getpid(), 9)
sys.addaudithook(audit)
"""
        done = kontinue("restore", made, "--data-dir", tmp_path / "d", "--replace", fault=fault)
        _, found = restoring.read_closed(tmp_path / "d" / DATABASE)
        assert found in (old, new)
        outcomes.add((done.returncode, found == new))
        if done.returncode == 0:
            break
    assert (-signal.SIGKILL, False) in outcomes
    assert (0, True) in outcomes


async def test_only_the_administrator_gets_a_backup(local_server: Any) -> None:
    """It holds every secret."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        await asyncio.to_thread(urllib.request.urlopen, f"{local_server.url}/backup")
    with contextlib.closing(caught.value):
        assert caught.value.code == 401
    api = Api(local_server.url, local_server.token)
    status, text = await api.send("GET", "/backup")
    assert (status, orjson.loads(text.splitlines()[0])["format"]) == (200, backup.FORMAT)
    assert (await api.send("POST", "/backup"))[0] in {404, 405}
    await api.close()


def test_a_log_that_cannot_be_moved_into_its_file_stops_a_restore(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the restored file it would be taken for its own."""
    restoring.restore(made, tmp_path / DATABASE, replaces=False, progress=silent)
    before = restoring.read_closed(tmp_path / DATABASE)
    opened = restoring._opened

    @contextlib.contextmanager
    def leave_log(database: Path) -> Iterator[Any]:
        with opened(database) as connection:
            yield connection
        Path(f"{database}-wal").write_bytes(b"as a full disk leaves it")

    monkeypatch.setattr(restoring, "_opened", leave_log)
    with pytest.raises(StorageFailedError, match="disk full"):
        restoring.restore(made, tmp_path / DATABASE, replaces=True, progress=silent)
    monkeypatch.undo()
    (tmp_path / f"{DATABASE}-wal").unlink()
    assert restoring.read_closed(tmp_path / DATABASE) == before


def test_what_cannot_be_used_is_named(made: Path, tmp_path: Path) -> None:
    """A file in the place of the data folder is what is at fault, not the backup."""
    (tmp_path / "file").write_text("")
    assert "is no folder" in refused("restore", made, "--data-dir", tmp_path / "file")


def test_a_restore_under_dev_names_dev(made: Path, tmp_path: Path) -> None:
    """To kill its server would not do: dev starts it again."""
    state = {"app": "a:a", "namespace": "d", "url": "u", "kubeconfig": "k", "dev_pid": 77, "server_pid": os.getpid()}
    (tmp_path / "dev.json").write_bytes(orjson.dumps(state))
    with restoring._locked(tmp_path / DATABASE):
        assert "kontinue dev (process 77)" in refused("restore", made, "--data-dir", tmp_path)
