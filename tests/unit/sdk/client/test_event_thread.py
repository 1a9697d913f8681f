"""An event loop in a thread: what callers of other threads, and forked processes, see of it."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kontinue import errors
from kontinue.client.event_thread import EventThread


@pytest.fixture
def thread():
    """An event thread that is closed in the end."""
    subject = EventThread()
    yield subject
    subject.close()


async def _return(value):
    return value


async def _raise(error):
    raise error


def test_it_returns_and_raises_what_the_coroutine_does(thread):
    """On a loop of another thread, that starts with the first call."""
    assert not thread.is_running
    assert thread.run(_return(5)) == 5
    assert thread.is_running
    with pytest.raises(ZeroDivisionError):
        thread.run(_raise(ZeroDivisionError()))


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_what_a_callback_raises_to_end_the_program_ends_no_call_of_others(thread, error):
    """It is raised by the call that it belongs to; asyncio lets go of its loop at that."""
    begun = threading.Event()
    may_end = []

    async def wait():
        begun.set()
        while not may_end:
            await asyncio.sleep(0.001)
        return "waited"

    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(thread.run, wait())
        assert begun.wait(60)
        with pytest.raises(type(error)) as raised:
            thread.run(_raise(error))
        assert raised.value is error
        may_end.append(True)
        assert waiting.result(60) == "waited"
    assert thread.run(_return(5)) == 5


def test_an_interrupt_cancels_the_call_and_goes_on_when_it_has_ended(thread):
    """Ctrl-C during a wait: cleanup of the call comes first, and the client stays usable."""
    ended = []

    async def wait():
        try:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("call")

    with pytest.raises(KeyboardInterrupt):
        thread.run(wait())
    assert ended == ["call"]
    assert thread.run(_return(5)) == 5


@pytest.mark.parametrize("is_scheduled", [True, False])
def test_an_interrupt_before_the_wait_cancels_the_call_too(thread, monkeypatch, is_scheduled):
    """It may run already, on the other thread, or not be known there yet."""
    ended = []

    async def wait():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("call")

    schedule = thread._schedule

    def interrupted(callback):
        monkeypatch.undo()
        if is_scheduled:
            schedule(callback)
            thread.run(_return(5))  # its thread has begun with the call by then
        raise KeyboardInterrupt

    monkeypatch.setattr(thread, "_schedule", interrupted)
    with pytest.raises(KeyboardInterrupt):
        thread.run(wait())
    assert ended == ["call"] * is_scheduled
    assert thread.run(_return(5)) == 5


def test_a_call_during_which_it_is_closed_says_so(thread):
    """Whatever the call waits for; later calls say it as well."""
    started = threading.Event()

    async def wait():
        started.set()
        await asyncio.Event().wait()

    closing = threading.Thread(target=lambda: (started.wait(), thread.close()))
    closing.start()
    with pytest.raises(errors.InvalidState, match="closed during this call"):
        thread.run(wait())
    closing.join()
    with pytest.raises(errors.InvalidState, match="this client is closed"):
        thread.run(_return(5))


def test_a_call_on_its_own_loop_is_refused(thread):
    """It would wait for itself for ever."""

    async def call():
        thread.run(_return(5))

    with pytest.raises(errors.InvalidState, match="on its own event loop"):
        thread.run(call())


def test_an_iteration_closes_its_generator_however_it_ends(thread):
    """At the end, and when it is left early."""
    closed = []

    async def numbers():
        try:
            for number in range(3):
                yield number
        finally:
            closed.append(True)

    assert list(thread.iterate(numbers())) == [0, 1, 2]
    with contextlib.closing(thread.iterate(numbers())) as stream:
        assert next(stream) == 0
    assert closed == [True, True]


FORK = """
import os, sys, warnings
from kontinue.client.event_thread import EventThread
from kontinue.errors import InvalidState
warnings.simplefilter("ignore", DeprecationWarning)
async def one():
    return 1
unused, used = EventThread(), EventThread()
used.run(one())
if child := os.fork():
    _, status = os.waitpid(child, 0)
    print(used.run(one()), os.waitstatus_to_exitcode(status))
else:
    try:
        used.run(one())
    except InvalidState as error:
        print(unused.run(one()), error, flush=True)
    used.close()
    os._exit(7)
"""


def test_a_forked_process_is_told_to_make_its_own():
    """One that was not used before the fork works; closing what the parent uses does nothing."""
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    child, parent = run.stdout.splitlines()
    assert child.startswith("1 this client was used by process")
    assert child.endswith("make a client in each process")
    assert parent == "1 7"


LEFT_OPEN = """
from kontinue.client.event_thread import EventThread
from kontinue.errors import InvalidState
thread = EventThread()
async def numbers():
    yield 1
async def one():
    return 1
def held():
    try:
        yield thread.run(one())
    finally:
        try:
            thread.run(one())
        except InvalidState as error:
            print(error, flush=True)
        thread.close()
left, held = thread.iterate(numbers()), held()
print(next(left), next(held), flush=True)
"""


def test_what_is_left_open_does_not_keep_a_program_from_ending():
    """Generators are closed when the interpreter ends, and its threads have ended by then: nobody would answer."""
    run = subprocess.run([sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, check=True, timeout=60)
    begun, ended = run.stdout.splitlines()
    assert begun == "1 1"
    assert ended.startswith("the program is ending")
    assert run.stderr == ""
