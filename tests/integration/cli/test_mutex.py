"""``koncli mutex``, which is ``kontinue mutex`` too, against an API server; no coordinator runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from api_server import ApiServer
from kontinue.client import Client
from kontinue.sync import Mutex, RWMutex
from kontinue_engine.cli import koncli
from notices import without_notices
from polling import eventually
from process_state import is_running

NAME = "mutexes.konductor.io/deploy"

Call = Callable[..., Awaitable["Said"]]


class Said(msgspec.Struct, frozen=True):
    """What a command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(api_server: ApiServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``koncli mutex`` as holder ``me``; returns exit code, stdout and stderr."""
    monkeypatch.setenv("KONDUCTOR_HOLDER_ID", "me")

    async def run(*words: str) -> Said:
        verb, *others = words
        arguments = ["mutex", verb, "--kubeconfig", str(api_server.kubeconfig), *others]
        code = await asyncio.to_thread(koncli.main, arguments)
        captured = capsys.readouterr()
        return Said(code, captured.out, without_notices(captured.err))

    return run


@pytest.fixture
async def client(api_server: ApiServer) -> AsyncIterator[Client]:
    """Somebody else's."""
    transport = api_server.transport()
    yield Client.from_kube(transport, api_server.namespace)
    await transport.close()


@pytest.fixture
def mutex(client: Client) -> Mutex:
    """``deploy``, as somebody else sees it; it does not exist yet."""
    return Mutex("deploy", client)


async def test_a_mutex_is_created_locked_unlocked_and_deleted(call: Call, mutex: Mutex):
    """Each verb says what it has done in one line; repeating create and delete is no error."""
    for what in ("created", "exists, unchanged"):
        assert await call("create", "deploy", "--ttl", "1h") == Said(0, f"{NAME} {what}\n", "")
    other = "Mutex deploy is left as it is: ttl: 1h, not 5m\n"
    assert await call("create", "deploy", "--ttl", "5m") == Said(0, f"{NAME} exists, unchanged\n", other)
    assert await call("lock", "deploy") == Said(0, f"{NAME} locked by me, token 1\n", "")
    header, row = (line.split() for line in (await call("list")).out.splitlines())
    assert header == ["NAME", "HOLDER", "PHASE", "LOCKED", "WAITERS", "TOKEN", "AGE"]
    assert row[:3] == ["deploy", "me", "Locked"]
    assert "Holder:     me" in (await call("status", "deploy")).out
    found = json.loads((await call("status", "deploy", "-o", "json")).out)
    assert (found["mutex"], found["holder"], found["token"], found["ttl"]) == ("deploy", "me", 1, "1h")
    assert await call("unlock", "deploy") == Said(0, f"{NAME} unlocked\n", "")
    locked = await call("lock", "deploy", "--holder", "you", "-o", "json")
    assert json.loads(locked.out) == {"mutex": "deploy", "holder": "you", "token": 2}
    for what in ("deleted", "was not there"):
        assert await call("delete", "deploy") == Said(0, f"{NAME} {what}\n", "")
    assert json.loads((await call("delete", "deploy", "-o", "json")).out) == {"mutex": "deploy", "deleted": False}
    assert await call("delete", "deploy", "-o", "name") == Said(0, "", "")
    assert await call("list") == Said(0, "", "No mutexes found.\n")


async def test_a_ttl_of_0_is_none_of_its_own(call: Call, mutex: Mutex):
    """So the object's own holds, as for whoever says nothing."""
    await mutex.create(ttl=timedelta(hours=1))
    for words in (("--ttl", "0"), ("--ttl", "0s"), ()):
        assert (await call("lock", "deploy", *words)).code == 0
        assert (await mutex.status()).ttl == "1h"
        assert (await call("unlock", "deploy")).code == 0


async def test_what_goes_wrong_has_a_code_of_its_own(call: Call, mutex: Mutex):
    """5 for what somebody else holds, 3 for a timeout, 2 for what is not there, 1 for other errors."""
    for verb in ("lock", "unlock", "status"):
        assert (await call(verb, "deploy")).code == 2
    await mutex.create()
    assert (await call("unlock", "deploy")).code == 1
    held = await mutex.lock(holder="you")
    assert (await call("lock", "deploy", "--timeout", "0")).code == 5
    said = await call("unlock", "deploy")
    assert (said.code, "is held by you, not by me" in said.err) == (5, True)
    said = await call("lock", "deploy", "--timeout", "10s")  # long enough to hear who has it
    assert (said.code, "was not to be had within 10s: it is held by you" in said.err) == (3, True)
    assert "Mutex deploy: held by you, 1 waiting\n" in said.err
    assert (await call("unlock", "deploy", "--holder", "you", "--token", "7")).code == 5
    assert (await call("lock", "deploy", "--holder", "pod/nobody")).code == 2
    assert (await call("lock", "deploy", "--holder", "pod/")).code == 1
    assert (await call("lock", "deploy", "--timeout", "soon")).code == 1
    await mutex.unlock(held)


async def test_the_name_of_a_holder_does_nothing_to_a_terminal(call: Call, mutex: Mutex):
    """Whoever may lock chooses it: neither colours nor forged lines reach those who look."""
    await mutex.create()
    locked = await call("lock", "deploy", "--holder", "x\x1b[31m\nPhase: Unlocked")
    assert locked.out == f"{NAME} locked by x [31m Phase: Unlocked, token 1\n"
    shown = (await call("status", "deploy")).out
    assert "Holder:     x [31m Phase: Unlocked\n" in shown
    assert "\x1b" not in shown


async def test_a_command_runs_while_it_is_locked(call: Call, mutex: Mutex, tmp_path: Path):
    """Its exit code is passed on, it knows the token, and the Mutex is free afterwards, however it ended."""
    await mutex.create()
    script = 'echo "$KONDUCTOR_TOKEN $KONDUCTOR_HOLDER_ID" > "$0"; exit 7'
    said = await call("with", "deploy", "--ttl", "1m", "--", "sh", "-c", script, str(tmp_path / "said"))
    assert said.code == 7
    assert (tmp_path / "said").read_text() == "1 me\n"
    assert not await mutex.is_locked()
    assert (await call("with", "deploy", "--", "true")).code == 0
    assert (await call("with", "deploy", "--", "sh", "-c", "kill -9 $$")).code == 128 + 9
    said = await call("with", "deploy", "--", str(tmp_path / "missing"))
    assert (said.code, said.err) == (127, f"error: {tmp_path}/missing: No such file or directory\n")
    assert not await mutex.is_locked()
    held = await mutex.lock(holder="you")
    assert (await call("with", "deploy", "--timeout", "0", "--", "true")).code == 5
    await mutex.unlock(held)


def command_line(api_server: ApiServer) -> list[str]:
    """Return the command line that runs the rest while ``deploy`` is locked."""
    return [*program(), "mutex", "with", "--kubeconfig", str(api_server.kubeconfig), "deploy", "--"]


def program() -> list[str]:
    """Return ``koncli`` as a command."""
    return [sys.executable, "-c", "import sys; from kontinue_engine.cli.koncli import main; sys.exit(main())"]


async def start(api_server: ApiServer, *command: str) -> asyncio.subprocess.Process:
    """Start ``koncli mutex with deploy`` as a process."""
    return await asyncio.create_subprocess_exec(
        *command_line(api_server), *command, stderr=asyncio.subprocess.PIPE, env={**os.environ}
    )


@pytest.mark.slow
async def test_a_command_whose_lock_is_lost_is_ended(mutex: Mutex, api_server: ApiServer, tmp_path: Path):
    """With all that it has started: somebody else may hold the Mutex by now."""
    await mutex.create()
    process = await start(
        api_server, "sh", "-c", 'sleep 600 & echo $! > "$0.new"; mv "$0.new" "$0"; wait', f"{tmp_path}/pid"
    )
    await eventually((tmp_path / "pid").exists)
    await mutex.delete()
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"was deleted" in said
    await eventually(lambda: not is_running(int((tmp_path / "pid").read_text())))


@pytest.mark.slow
async def test_signals_are_passed_on_to_the_command(mutex: Mutex, api_server: ApiServer, tmp_path: Path):
    """It ends in its own way, and the Mutex is free then."""
    await mutex.create()
    script = 'trap "exit 3" TERM; touch "$0"; while :; do sleep 0.05; done'
    process = await start(api_server, "sh", "-c", script, f"{tmp_path}/ready")
    await eventually((tmp_path / "ready").exists)
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 3
    lock = await mutex.lock(holder="next", timeout=timedelta())
    assert lock.token == 2


@pytest.mark.slow
async def test_a_command_does_not_outlive_whoever_holds_the_lock_for_it(
    mutex: Mutex, api_server: ApiServer, tmp_path: Path
):
    """Nor does what it has started: nobody renews the lock any more, and the next one begins when it has expired."""
    await mutex.create()
    script = 'sleep 600 & echo $! $$ > "$0.new"; mv "$0.new" "$0"; wait'
    # Its streams are nobody's: asyncio would wait until the last process has closed them.
    process = await asyncio.create_subprocess_exec(
        *command_line(api_server), "sh", "-c", script, f"{tmp_path}/pids", stdin=asyncio.subprocess.DEVNULL
    )
    await eventually((tmp_path / "pids").exists)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    process.kill()  # as the kernel does when there is no memory left
    await process.wait()
    await eventually(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.slow
async def test_a_command_that_is_quicker_than_its_start_does_not_outlive_whoever_holds_the_lock(
    mutex: Mutex, api_server: ApiServer, tmp_path: Path
):
    """It is under guard before its first instruction."""
    await mutex.create()
    script = 'echo $$ > "$0"; kill -KILL $PPID; exec sleep 600'
    process = await asyncio.create_subprocess_exec(
        *command_line(api_server), "sh", "-c", script, f"{tmp_path}/pid", stdin=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    await eventually(lambda: not is_running(pid))


IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.slow
async def test_a_command_may_ask_at_the_terminal(mutex: Mutex, api_server: ApiServer):
    """As `terraform apply` does: in a process group that is not the terminal's it would be stopped for ever."""
    await mutex.create()
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_TERMINAL, *command_line(api_server), "sh", "-c", "read answer; exit $answer"),
        stdin=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.write(ours, b"7\n")
    assert await process.wait() == 7
    os.close(ours)


@pytest.mark.slow
async def test_a_command_has_the_terminal_from_the_beginning_of_a_line(mutex: Mutex, api_server: ApiServer):
    """What was said while it was waited for is left, not written on."""
    await mutex.create()
    held = await mutex.lock(holder="first")
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*command_line(api_server), "echo", "begun"), stdout=theirs, stderr=theirs
    )
    os.set_blocking(ours, False)
    shown = b""

    def shows(text: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(ours, 4096)
        return text in shown

    await eventually(lambda: shows(b"held by first, 1 waiting"))
    await mutex.unlock(held)
    await eventually(lambda: shows(b"begun"))
    assert await process.wait() == 0
    assert b"1 waiting\r\nbegun" in shown
    os.close(theirs)
    os.close(ours)


@pytest.mark.slow
async def test_a_signal_ends_the_wait_for_the_lock(mutex: Mutex, api_server: ApiServer):
    """And whoever waits behind does not have to find out that nobody is there any more."""
    await mutex.create()
    held = await mutex.lock(holder="first")
    process = await start(api_server, "true")
    await eventually(lambda: number_waiting(mutex, 1))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 128 + 15
    assert await number_waiting(mutex, 0)
    await mutex.unlock(held)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("mutex", "lock"), ("rwmutex", "lock"), ("rwmutex", "rlock")])
async def test_a_signal_ends_the_wait_of_who_locks(client: Client, api_server: ApiServer, words: tuple[str, ...]):
    """As a Pod that is deleted: whoever waits behind does not have to find out that nobody is there any more."""
    subject = (Mutex if words[0] == "mutex" else RWMutex)("deploy", client)
    await subject.create()
    await subject.lock(holder="first")
    command = [*program(), *words, "--kubeconfig", str(api_server.kubeconfig), "deploy"]
    process = await asyncio.create_subprocess_exec(*command)
    await eventually(lambda: number_waiting(subject, 1))
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 128 + 15
    assert await number_waiting(subject, 0)


async def number_waiting(mutex: Mutex | RWMutex, number: int) -> bool:
    """Tell whether so many wait."""
    return len((await mutex.get()).status.waiters) == number
