"""``python -m kontinue_engine.apiserver`` as a process: start, stop, faults at start, kill -9 under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server_process import START_TIMEOUT_S, ServerProcess, command_of


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    running: list[ServerProcess] = []

    def begin(port: int = 0, *, fault: str = "") -> ServerProcess:
        running.append(ServerProcess(tmp_path / "data", port, fault=fault))
        return running[-1]

    yield begin
    for server in running:
        with contextlib.suppress(ProcessLookupError, ValueError):  # ended, its output read
            server.stop(signal.SIGKILL)


def fail_to_start(data_dir: Path, *options: str, fault: str = "") -> str:
    """Start a server that must refuse, and return its message."""
    command = command_of(data_dir, *options, fault=fault)
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_server_gracefully_and_a_restart_continues(
    start: Any, connect: Any, number: signal.Signals
) -> None:
    """Watches end cleanly, the exit code is 0; token, objects, revisions and history survive."""
    server = start()
    assert server.ready["event"] == "api server ready"
    assert (server.data_dir / "kubeconfig").stat().st_mode & 0o777 == 0o600
    token = server.token
    api = connect(server.url, token)
    _, first = await api.send("POST", api.executions, api.execution("a"))
    rev = first["metadata"]["resourceVersion"]

    async def follow() -> list[str]:
        return [event["type"] async for event in api.watch(f"{api.executions}?watch=1&resourceVersion={rev}")]

    watching = asyncio.create_task(follow())
    while b"kontinue_apiserver_watches 1" not in (await api.send("GET", "/metrics"))[1]:
        pass
    await api.send("POST", api.executions, api.execution("b"))
    assert await asyncio.to_thread(server.stop, number) == 0
    assert await watching == ["ADDED"]
    await api.close()

    server = start()
    assert server.token == token
    api = connect(server.url, token)
    assert await api.send("GET", f"{api.executions}/a") == (200, first)
    path = f"{api.executions}?watch=1&resourceVersion={rev}&timeoutSeconds=1"
    resumed = [event["object"]["metadata"]["name"] async for event in api.watch(path)]
    assert resumed == ["b"]
    await api.close()


def test_a_port_in_use_is_an_error_that_names_port_and_option(tmp_path: Path) -> None:
    """Exit code 1, no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = fail_to_start(tmp_path / "data", "--port", str(port))
    assert str(port) in message
    assert "--port" in message


def test_a_second_server_on_one_data_dir_is_refused_and_the_holder_named(start: Any) -> None:
    """The first goes on serving."""
    server = start()
    message = fail_to_start(server.data_dir)
    assert str(server.ready["pid"]) in message
    assert "--data-dir" in message
    assert server.stop(signal.SIGTERM) == 0


def test_a_corrupt_data_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The message names the file and the remedy."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    path = data_dir / "kontinue.db"
    path.write_bytes(os.urandom(8192))
    before = path.read_bytes()
    message = fail_to_start(data_dir)
    assert str(path) in message
    assert "nothing was changed" in message
    assert path.read_bytes() == before


def test_a_data_dir_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path) -> None:
    """A file in its place, a folder in the place of one of its files: no errno, no traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "data" / "kontinue.db.lock").mkdir(parents=True)
    (tmp_path / "other" / "kubeconfig").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "data", tmp_path / "data", tmp_path / "other"):
        message = fail_to_start(folder)
        assert str(folder) in message
        assert "--data-dir" in message
        assert "Errno" not in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_dir_that_is_not_writable_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Permission denied, where, and the option."""
    tmp_path.chmod(0o500)
    try:
        for folder in (tmp_path, tmp_path / "data"):
            message = fail_to_start(folder)
            assert "Permission denied" in message
            assert str(folder) in message
            assert "--data-dir" in message
    finally:
        tmp_path.chmod(0o700)


def test_a_disk_that_cannot_be_written_is_not_called_a_corrupt_file(tmp_path: Path) -> None:
    """Nobody should restore a copy, or throw the data away, because the disk is full."""
    fault = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    message = fail_to_start(tmp_path / "data", fault=fault)
    assert str(tmp_path / "data" / "kontinue.db") in message
    assert "room" in message
    assert "move it away" not in message


@pytest.mark.parametrize("port", ["-1", "65536", "70000", "http"])
def test_a_port_that_does_not_exist_is_refused(tmp_path: Path, port: str) -> None:
    """The socket library would take it modulo 65,536."""
    command = command_of(tmp_path, "--port", port)
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_kubeconfig_deleted_meanwhile_stops_nothing_and_comes_back_with_a_restart(
    start: Any, connect: Any
) -> None:
    """Whoever knows the token goes on; the next start writes a new one."""
    server = start()
    token = server.token
    (server.data_dir / "kubeconfig").unlink()
    api = connect(server.url, token)
    assert (await api.send("POST", api.executions, api.execution("a")))[0] == 201
    await api.close()
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
    assert server.errors == b""
    server = start()
    api = connect(server.url, server.token)
    assert (await api.send("GET", f"{api.executions}/a"))[0] == 200
    await api.close()


async def test_a_sigterm_under_load_ends_in_order_and_keeps_what_was_acknowledged(start: Any, connect: Any) -> None:
    """Writers and watchers lose their connection, the server exits with 0 and has nothing to complain of."""
    server = start()
    api = connect(server.url, server.token)
    acknowledged: dict[str, str] = {}
    watched: set[str] = set()

    async def write(writer: int) -> None:
        for number in range(100_000):
            status, created = await api.send("POST", api.executions, api.execution(f"w{writer}-{number}"))
            assert status == 201, created
            acknowledged[created["metadata"]["name"]] = created["metadata"]["resourceVersion"]

    async def follow() -> None:
        async for event in api.watch(f"{api.executions}?watch=1"):
            watched.add(event["object"]["metadata"]["name"])

    following = asyncio.create_task(follow())
    writers = [asyncio.create_task(write(writer)) for writer in range(16)]
    async with asyncio.timeout(60):
        while len(acknowledged) < 300:
            await asyncio.sleep(0.005)
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
    assert (server.errors, [line["event"] for line in server.lines]) == (b"", ["api server stopped"])
    await following
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes), outcomes
    await api.close()
    server = start()
    api = connect(server.url, server.token)
    _, listed = await api.send("GET", api.executions)
    found = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed["items"]}
    assert acknowledged.items() <= found.items()
    assert watched
    await api.close()


def test_an_address_that_is_not_loopback_is_refused(tmp_path: Path) -> None:
    """The server has no TLS and one token: it never listens to a network."""
    assert "loopback" in fail_to_start(tmp_path / "data", "--host", "0.0.0.0")


async def test_every_line_is_a_json_log_record_a_bug_in_a_request_too(start: Any, connect: Any) -> None:
    """`kontinue dev` reads them; the request is answered with 500 and the server goes on."""
    fault = """
from kontinue_engine.apiserver.objects.write_handlers import WriteHandlers

def fail(*_):
    raise LookupError("a bug")

WriteHandlers.create = fail
"""
    server = start(fault=fault)
    api = connect(server.url, server.token)
    status, answer = await api.send("POST", api.executions, api.execution("a"))
    assert (status, "log" in answer["message"]) == (500, True)
    assert (await api.send("GET", api.executions))[0] == 200
    await api.close()
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
    assert server.ready.keys() >= {"time", "level", "logger", "event", "url", "port", "kubeconfig", "pid"}
    assert [line["event"] for line in server.lines] == ["request failed", "api server stopped"]
    assert "LookupError: a bug" in server.lines[0]["exception"]
    assert server.lines[0]["path"] == api.executions
    assert server.errors == b""


@pytest.mark.parametrize(
    ("where", "task"),
    [
        ("controllers.garbage_collector.GarbageCollector.run", "garbage collector"),
        ("controllers.namespaces.NamespaceController.run", "namespaces"),
        ("server.LocalServer._compact", "compaction"),
        ("server.LocalServer._expire", "expiry"),
        ("server.LocalServer._bookmark", "bookmarks"),
    ],
)
async def test_a_bug_in_background_work_stops_the_server_and_is_logged(start: Any, where: str, task: str) -> None:
    """Exit code 1, for whoever restarts it; a server that no longer collects or compacts must not go on in silence."""
    module = where.rsplit(".", 2)[0]
    fault = f"""
import kontinue_engine.apiserver.{module}

async def fail(_):
    raise LookupError("a bug")

kontinue_engine.apiserver.{where} = fail
"""
    server = start(fault=fault)
    assert await asyncio.to_thread(server.wait) == 1
    (line,) = (line for line in [server.ready, *server.lines] if line["event"] != "api server ready")
    assert (line["event"], line["level"], line["task"]) == ("api server failed", "error", task)
    assert "LookupError: a bug" in line["exception"]
    assert server.errors == b""


async def test_kill_9_under_concurrent_writers_keeps_every_acknowledged_write(start: Any, connect: Any) -> None:
    """In ten rounds: what was answered is there with its revision, and revisions rise strictly over all rounds."""
    acknowledged: dict[str, int] = {}
    highest = 0
    for round_number in range(10):
        server = start()
        api = connect(server.url, server.token)
        _, listed = await api.send("GET", api.executions)
        found = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
        assert {name: found.get(name) for name in acknowledged} == acknowledged
        assert int(listed["metadata"]["resourceVersion"]) >= highest

        async def write(writer: int, api: Any = api, round_number: int = round_number, highest: int = highest) -> None:
            for number in range(100_000):
                name = f"r{round_number}-{writer}-{number}"
                _, created = await api.send("POST", api.executions, api.execution(name))
                rev = int(created["metadata"]["resourceVersion"])
                assert rev > highest
                acknowledged[name] = rev

        writers = [asyncio.create_task(write(writer)) for writer in range(8)]
        deadline_s = time.monotonic() + 0.05 + 0.02 * round_number
        while time.monotonic() < deadline_s or len(acknowledged) < 5 * (round_number + 1):
            await asyncio.sleep(0.005)
        server.stop(signal.SIGKILL)
        outcomes = await asyncio.gather(*writers, return_exceptions=True)
        assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes), outcomes
        assert len(set(acknowledged.values())) == len(acknowledged)
        highest = max(acknowledged.values())
        await api.close()


async def test_a_server_whose_data_folder_was_removed_stops_and_says_so(start: Any) -> None:
    """It would acknowledge what nobody finds again, and a second server could start beside it."""
    server = start()
    shutil.rmtree(server.data_dir)
    assert await asyncio.to_thread(server.wait) == 1
    (line,) = (line for line in server.lines if line["event"] == "api server failed")
    assert "removed, moved or replaced" in line["exception"]
