"""The server is killed at random moments while clients write and watch; nothing that it said may turn out untrue.

``KONTINUE_CRASH_ROUNDS`` says how often (20), ``KONTINUE_CRASH_SEED`` repeats a run. What is checked after each restart
stands in ``tests/support/crash_world.py``; the planted mutants below prove that it can fail.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from api import Api
from crash_world import World
from server_process import ServerProcess

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("KONTINUE_CRASH_ROUNDS", "20"))
MUTANT_ROUNDS = 25
RESTLESS = """
from kontinue_engine.apiserver import server
from kontinue_engine.apiserver.objects import object_store
from kontinue_engine.apiserver.storage import sqlite_file
object_store.MAX_HISTORY_EVENTS = 150
server.MAINTENANCE_PERIOD_S = server.COMPACTION_PAUSE_S = 0.01
sqlite_file.WAL_PAGES = 80
"""
"""Compacts and checkpoints all the time, so that crashes meet them."""

EARLY_ANSWERS = """
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
durable, waiting = SqliteStorage._make_durable, []

def keep_waiting(self, rows):
    waiting.extend(rows)
    if len(waiting) >= 8:
        durable(self, waiting)
        waiting.clear()

SqliteStorage._make_durable = keep_waiting
"""
EARLY_EVENTS = """
import time
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
durable, publish = SqliteStorage._make_durable, SqliteStorage._publish

def show_before(self, rows):
    from kontinue_engine.apiserver.storage.protocol import Change
    changes = [Change(rev, key, None if value is None else bytes(value), prev) for rev, prev, key, value in rows]
    self._loop.call_soon_threadsafe(lambda: self._sink(changes))
    time.sleep(0.01)
    durable(self, rows)

def answer_only(self, batch):
    sink, self._sink = self._sink, lambda changes: None
    publish(self, batch)
    self._sink = sink

SqliteStorage._make_durable, SqliteStorage._publish = show_before, answer_only
"""
REUSED_REVISIONS = """
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
load = SqliteStorage._load_revisions

def forget(self):
    load(self)
    self._last_rev = max(0, self._last_rev - 3)

def overwrite(self, rows):
    for row in rows:
        self._connection.execute("INSERT OR REPLACE INTO log (rev, prev, key, val) VALUES (?, ?, ?, ?)", row)

SqliteStorage._load_revisions, SqliteStorage._make_durable = forget, overwrite
"""
LOST_COMMITS = """
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
load = SqliteStorage._load_revisions

def lose(self):
    self._connection.execute("DELETE FROM log WHERE rev > (SELECT max(rev) - 2 FROM log)")
    load(self)

SqliteStorage._load_revisions = lose
"""
HISTORY_WITH_A_GAP = """
from kontinue_engine.apiserver.storage.sqlite_storage import SqliteStorage
tail = SqliteStorage.tail

def skip(self, after_rev, sink):
    def thin(changes):
        sink(changes)
        for table in sink.__self__._tables.values():
            table.history = type(table.history)(event for event in table.history if event.rev % 2)
    tail(self, after_rev, thin)
    self._sink = sink

SqliteStorage.tail = skip
"""


async def crash(data_dir: Path, world: World, rounds: int, *, fault: str = "") -> None:
    """Start, check, write, kill, so often."""
    for number in range(rounds):
        prelude = fault + (RESTLESS if number % 2 else "")
        server = await asyncio.to_thread(ServerProcess, data_dir, fault=prelude)
        api = Api(server.url, server.token)
        try:
            await world.check(api)
            watching = [asyncio.create_task(watcher.follow(api, world.ledger)) for watcher in world.watchers]
            await _first_of(watching, world.check_watchers(api))
            before = world.writes
            writing = asyncio.create_task(world.run(api))
            await asyncio.sleep(world.random.uniform(0.005, 0.3))
            while world.writes <= before + 10 and not writing.done():
                await asyncio.sleep(0.005)
            server.stop(signal.SIGKILL)
            await asyncio.gather(writing, *watching)
        finally:
            if server.is_running:
                server.stop(signal.SIGKILL)
            await api.close()


async def _first_of(watching: list[asyncio.Task[None]], check: object) -> None:
    """Await ``check``, unless a watch finds a fault first."""
    checking = asyncio.ensure_future(check)  # type: ignore[call-overload]
    await asyncio.wait([checking, *watching], return_when=asyncio.FIRST_COMPLETED)
    for task in watching:
        if task.done():
            checking.cancel()
            task.result()
    await checking


@pytest.mark.timeout(240 + 12 * ROUNDS)
async def test_what_was_said_before_a_crash_is_true_after_it(tmp_path: Path) -> None:
    """Acknowledged writes are there, no revision is handed out twice, watches go on without a gap or get 410."""
    seed = int(os.environ.get("KONTINUE_CRASH_SEED") or random.randrange(2**32))
    print(f"KONTINUE_CRASH_SEED={seed}")
    world = World(seed)
    await crash(tmp_path / "data", world, ROUNDS)
    resumed, expired = (sum(getattr(w, name) for w in world.watchers) for name in ("resumed", "expired"))
    events = sum(watcher.events for watcher in world.watchers)
    print(f"{ROUNDS} rounds, {world.writes} writes, {events} events, {resumed} watches resumed, {expired} expired")
    assert world.writes > 10 * ROUNDS
    assert resumed > ROUNDS


@pytest.mark.parametrize(
    ("mutant", "complaint"),
    [
        (EARLY_ANSWERS, "lost|handed out twice|revision"),
        (EARLY_EVENTS, "handed out twice|differs from a list|revision"),
        (REUSED_REVISIONS, "handed out twice|revision|after"),
        (LOST_COMMITS, "lost|revision"),
        (HISTORY_WITH_A_GAP, "gap|differs from a list"),
    ],
    ids=["early answers", "early events", "reused revisions", "lost commits", "history with a gap"],
)
async def test_a_server_that_breaks_its_word_is_found_out(tmp_path: Path, mutant: str, complaint: str) -> None:
    """The checker sees what it claims to see."""
    with pytest.raises(AssertionError, match=complaint):
        await crash(tmp_path / "data", World(seed=1), MUTANT_ROUNDS, fault=mutant)
