"""A disk that is full or cannot be written, and files that are damaged: real ones, under a real server process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from api import Api
from server_process import START_TIMEOUT_S, ServerProcess, command_of

KIB = 1024


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a file system for the test."""
    folders: list[Path] = []

    def begin(*options: str) -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a file system needs root and the kernel's leave: {done.stderr.strip()}")
        folders.append(folder)
        return folder

    yield begin
    for folder in folders:
        subprocess.run(["umount", str(folder)], check=False)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def refusal(data_dir: Path) -> str:
    """Start a server that must refuse, and return its message."""
    command = command_of(data_dir)
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


async def fill(api: Api, acknowledged: dict[str, int], *, writers: int = 4, prefix: str = "") -> None:
    """Create objects of 64 KiB until every writer has been refused."""

    async def write(writer: int) -> None:
        for number in range(10_000):
            name = f"{prefix}w{writer}-{number}"
            body = {"metadata": {"name": name}, "data": {"x": "x" * 64 * KIB}}
            status, answer = await api.send("POST", api.path("configmaps"), body)
            if status != 201:
                assert (status, answer["kind"], answer["reason"]) == (500, "Status", "InternalError"), answer
                return
            acknowledged[name] = int(answer["metadata"]["resourceVersion"])

    await asyncio.gather(*(write(writer) for writer in range(writers)))


async def revisions(api: Api) -> dict[str, int]:
    _, listed = await api.send("GET", api.path("configmaps"))
    return {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}


def said_by(server: ServerProcess) -> list[str]:
    """Return what it has said so far of writes that are refused, and stored again."""
    return [line["event"] for line in server.lines if line["event"].startswith("writes are")]


async def test_a_full_disk_refuses_writes_and_nothing_else(mount: Any, start: Any) -> None:
    """500 and a Status; reads and watches go on; with room again, writes too; what was acknowledged is there."""
    disk = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")
    server = start(disk / "data")
    api = Api(server.url, server.token)
    watched: dict[str, int] = {}

    async def follow() -> None:
        with contextlib.suppress(aiohttp.ClientError):  # the server is killed
            async for event in api.watch(f"{api.path('configmaps')}?watch=1"):
                metadata = event["object"]["metadata"]
                watched[metadata["name"]] = int(metadata["resourceVersion"])

    following = asyncio.create_task(follow())
    acknowledged: dict[str, int] = {}
    await fill(api, acknowledged)
    assert len(acknowledged) > 20
    status, health = await api.send("GET", "/readyz")
    assert (status, health[:32]) == (500, b"[+]ping ok\n[-]storage failed: wr"), health
    assert await api.send("GET", "/livez") == (200, b"ok")
    name = next(iter(acknowledged))
    path = api.path("configmaps", name)
    for method, body in (("DELETE", None), ("PUT", {"metadata": {"name": name}, "data": {"y": "y" * 200 * KIB}})):
        status, answer = await api.send(method, path, body)
        assert status in {200, 500}
        if status == 200:
            acknowledged.pop(name)
            break
        assert answer["kind"] == "Status"
    kept = {name: rev for name, rev in (await revisions(api)).items() if name in acknowledged}
    assert kept == acknowledged
    remount(disk, "size=64m")
    async with asyncio.timeout(60):
        status = 0
        while status != 201:
            status, answer = await api.send("POST", api.path("configmaps"), {"metadata": {"name": "room"}})
            assert status in {201, 500}, answer
    assert int(answer["metadata"]["resourceVersion"]) > max(acknowledged.values())
    acknowledged["room"] = int(answer["metadata"]["resourceVersion"])
    async with asyncio.timeout(60):
        while watched.get("room") != acknowledged["room"]:
            await asyncio.sleep(0.005)
    assert acknowledged.items() <= watched.items()
    async with asyncio.timeout(60):  # a thread writes the log: a kill would lose what it has not come to
        while not (said := said_by(server)) or said[-1] != "writes are stored again":
            await asyncio.sleep(0.005)
    server.stop(signal.SIGKILL)
    # A small write may find room after a larger one did not, so both may be said more than once, in turn.
    assert said == ["writes are refused until the disk takes them", "writes are stored again"] * (len(said) // 2)
    await following
    await api.close()
    server = start(disk / "data")
    api = Api(server.url, server.token)
    assert acknowledged.items() <= (await revisions(api)).items()
    await api.close()
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0


async def test_a_disk_that_turned_read_only_refuses_writes_and_loses_nothing(
    mount: Any, start: Any, tmp_path: Path
) -> None:
    """As a file system does after an error of its device: reads go on; once mounted anew, everything is there."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, 64 * KIB * KIB)
    if subprocess.run(["mkfs.ext4", "-q", str(image)], capture_output=True, check=False).returncode:
        pytest.skip("no mkfs.ext4")
    disk = mount("-o", "loop", str(image))
    server = start(disk / "data")
    api = Api(server.url, server.token)
    acknowledged: dict[str, int] = {}
    filling = asyncio.create_task(fill(api, acknowledged))
    async with asyncio.timeout(60):
        while len(acknowledged) < 20:
            await asyncio.sleep(0.005)
    remount(disk, "abort")
    await filling
    assert await revisions(api) == acknowledged
    assert (await api.send("DELETE", api.path("configmaps", next(iter(acknowledged)))))[0] == 500
    assert server.is_running
    await api.close()
    await asyncio.to_thread(server.stop, signal.SIGTERM)
    assert not any("Traceback" in str(line) for line in server.lines)
    assert "cannot" in refusal(disk / "data")
    subprocess.run(["umount", str(disk)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(disk)], check=True)
    server = start(disk / "data")
    api = Api(server.url, server.token)
    assert acknowledged.items() <= (await revisions(api)).items()
    status, made = await api.send("POST", api.path("configmaps"), {"metadata": {"name": "after"}})
    assert status == 201
    assert int(made["metadata"]["resourceVersion"]) > max(acknowledged.values())
    await api.close()
    await asyncio.to_thread(server.stop, signal.SIGTERM)


@pytest.fixture
async def crashed(start: Any, tmp_path: Path) -> Path:
    """A data folder whose server was killed; its objects are in the file, the newest only in the log."""
    data_dir = tmp_path / "data"
    for killed in (signal.SIGTERM, signal.SIGKILL):
        server = start(data_dir)
        api = Api(server.url, server.token)
        for number in range(60):
            body = {"metadata": {"name": f"c{killed}-{number}"}, "data": {"x": f"{number:04}" * 500}}
            assert (await api.send("POST", api.path("configmaps"), body))[0] == 201
        await api.close()
        await asyncio.to_thread(server.stop, killed)
    return data_dir


def _truncate(content: bytearray) -> None:
    del content[len(content) // 2 :]


def _garble_pages(content: bytearray) -> None:
    for page in range(1, len(content) // 4096, 3):
        content[page * 4096 : (page + 1) * 4096] = os.urandom(4096)


def _flip_first_frames(content: bytearray) -> None:
    content[32 + 24 + 100] ^= 1


def _garble_log_header(content: bytearray) -> None:
    content[8:24] = os.urandom(16)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("kontinue.db", _truncate),
        ("kontinue.db", _garble_pages),
        ("kontinue.db-wal", _flip_first_frames),
        ("kontinue.db-wal", _garble_log_header),
    ],
)
async def test_a_damaged_file_is_refused_and_left_as_it_is(crashed: Path, file: str, damage: Any) -> None:
    """Not a byte of data or log changes, and the message names the file and the remedy."""
    content = bytearray((crashed / file).read_bytes())
    damage(content)
    (crashed / file).write_bytes(content)
    before = {name: (crashed / name).read_bytes() for name in ("kontinue.db", "kontinue.db-wal")}
    message = refusal(crashed)
    assert str(crashed / "kontinue.db") in message
    assert "nothing was changed" in message
    assert {name: (crashed / name).read_bytes() for name in before} == before
    # Nor does trying again change the verdict.
    assert "nothing was changed" in refusal(crashed)


async def test_objects_that_are_no_json_are_refused(crashed: Path) -> None:
    """A byte that changed inside of an object, where SQLite does not look."""
    server = await asyncio.to_thread(ServerProcess, crashed)  # moves the log into the file
    await asyncio.to_thread(server.stop, signal.SIGTERM)
    content = (crashed / "kontinue.db").read_bytes()
    assert b'"kind":"ConfigMap"' in content
    (crashed / "kontinue.db").write_bytes(content.replace(b'"kind":"ConfigMap"', b'"kind" "ConfigMap"'))
    assert "nothing was changed" in refusal(crashed)


async def test_a_log_that_a_crash_cut_short_is_no_damage(crashed: Path, start: Any) -> None:
    """The last transaction may be missing: nobody was told that it is durable."""
    wal = crashed / "kontinue.db-wal"
    content = wal.read_bytes()
    with sqlite3.connect(":memory:") as connection:
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
    size = 24 + page_size
    commits = [at for at in range(32, len(content) - size, size) if int.from_bytes(content[at + 4 : at + 8])]
    torn = bytearray(content)
    torn[commits[-1] + 500] ^= 0xFF
    wal.write_bytes(torn)
    server = start(crashed)
    api = Api(server.url, server.token)
    found = await revisions(api)
    assert len(found) == 119
    await api.close()
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0


@pytest.mark.slow
async def test_no_damage_at_random_makes_a_server_lie(crashed: Path) -> None:
    """Whatever bytes change: it refuses in plain words and leaves the file alone, or shows objects that are whole."""
    good = {name: (crashed / name).read_bytes() for name in ("kontinue.db", "kontinue.db-wal")}
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    refused = 0
    for _ in range(12):
        name = draw.choice(list(good))
        content = bytearray(good[name])
        used = len(content) if name == "kontinue.db" else 300_000
        for _ in range(draw.choice([1, 1, 20])):
            at = draw.randrange(used)
            content[at : at + 64] = draw.randbytes(64)
        for file, before in good.items():
            (crashed / file).write_bytes(before)
        (crashed / name).write_bytes(content)
        command = command_of(crashed)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout
        assert process.stderr
        line = await process.stdout.readline()
        if not line:
            refused += 1
            message = (await process.stderr.read()).decode()
            assert "nothing was changed" in message, (seed, message)
            assert await process.wait() == 1
            continue
        ready = json.loads(line)
        token = ServerProcess.token_of(crashed)
        api = Api(ready["url"], token)
        found = await revisions(api)
        assert all(rev > 0 for rev in found.values()), seed
        await api.close()
        process.terminate()
        await process.communicate()
    assert refused, seed
