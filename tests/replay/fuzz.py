"""Property test of replay: random programs, run live in random order, then replayed from every prefix elsewhere.

    python tests/replay/fuzz.py --programs 300 --seed 1 [--kind async|sync] [--mutant NAME]

Each program runs through the real host, against a fake supervisor (``world``) that lets things happen in random order.
Then a fresh process (another PYTHONHASHSEED) activates it with every prefix of its memo and continues in the order
of the first run. Result, trace of the program, step ids, digests, values, their order, and the effects started
must be what they were. ``--kind crashes`` lets runners crash and continues in other orders; ``--kind attempts`` also
begins a new attempt when one has failed. Prints one JSON line; exit status 1 when anything differed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import async_programs
import msgspec
import mutants
import sync_programs
from world import CREATED_AT_MS, World, install_log

from kontinue_engine.lifecycle import memo as memos
from kontinue_engine.lifecycle.memo import MemoBytes, parse_memo
from kontinue_engine.runner import breakdown
from kontinue_engine.runner.async_host import AsyncHost
from kontinue_engine.runner.sync_host import SyncHost
from kontinue_engine.wire import frames

BAD_ENDS = ("stuck", "Mismatched")
MAX_ATTEMPTS = 12
PATIENCE_S = 10.0
"""How long a program may make no progress at all before it counts as stuck, and"""
LOOKS = 2000
"""how often it must have been looked at meanwhile: where this process does not run, its program does not, either."""


HOSTS: list[Any] = []
memos.OPEN_RECORDS = 3


class Patience:
    """With a program that makes no progress."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """It has made some."""
        self._until, self._looks = time.monotonic() + PATIENCE_S, 0

    def is_over(self) -> bool:
        """Tell, after one more look in vain, whether it is stuck."""
        self._looks += 1
        return self._looks > LOOKS and time.monotonic() > self._until


def activate(world: World, seed: int, records: list[str]) -> frames.Activate:
    memo = f'{{"build":"b1","records":[{",".join(records)}]}}'.encode() if records else b""
    memo = bytes(world.memo.encode()) if world.memo is not None else memo
    arguments = json.dumps({"seed": seed}).encode()
    name, uid = f"ex-{seed}", f"uid-{seed}"
    return frames.Activate(
        world.number, "ns", name, uid, "program", arguments, memo, world.attempt, 0, 0, CREATED_AT_MS, 1
    )


class Follower:
    """Lets the supervisor's answers come in the order of a recorded run."""

    def __init__(self, world: World, records: list[str]) -> None:
        self.world = world
        self.left = [json.loads(record) for record in records]
        self.is_arriving = False

    def go_on(self) -> bool:
        """Do one thing if it can be done now."""
        world = self.world
        if world.acknowledge():
            return True
        if not self.left:
            return False
        step, at_ms = self.left[0]["id"], self.left[0]["atMs"]
        if step in world.arrived or any(step == abandoned for abandoned, _ in world.abandoned):
            self.left.pop(0)
            self.is_arriving = False
            return True
        if step in world.choices and (not self.is_arriving or step in world.asked_again):
            world.clock_ms, world.told = at_ms, self.left[0]
            self.is_arriving = True
            world.pick(step)
            return True
        return False


async def run_async(
    world: World, seed: int, records: list[str], follower: Follower | None, picks: float = math.inf
) -> None:
    host = AsyncHost(async_programs.FUNCTIONS, send=world.on_frame, now_ms=lambda: world.clock_ms)
    world.receive = host.receive
    host.receive(activate(world, seed, records))
    patience = Patience()
    while world.end is None:
        if follower is None:
            for _ in range(world.rng.choice([0, 0, 1, 2, 5])):
                await asyncio.sleep(0)
            did_something = world.pick_at_random()
            picks -= did_something
            if picks <= 0:
                world.has_crashed = True
                HOSTS.append(host)  # to drop it would close its coroutines, which no crash does
                return
        else:
            did_something = follower.go_on()
        if did_something:
            patience.renew()
        else:
            await asyncio.sleep(0 if world.rng.random() < 0.9 else 0.0002)
            if patience.is_over():
                world.end = ["stuck", sorted(world.choices)]
    await asyncio.sleep(0)


def run_sync(world: World, seed: int, records: list[str], follower: Follower | None) -> None:
    host = SyncHost(sync_programs.FUNCTIONS, send=world.on_frame, now_ms=lambda: world.clock_ms)
    world.receive = host.receive
    host.receive(activate(world, seed, records))
    patience = Patience()
    while world.end is None:
        if follower is None:
            time.sleep(world.rng.choice([0, 0.0001, 0.0003]))
            did_something = world.pick_at_random()
        else:
            did_something = follower.go_on()
        if did_something:
            patience.renew()
        else:
            time.sleep(0.00005)
            if patience.is_over():
                world.end = ["stuck", sorted(world.choices)]


def run(kind: str, world: World, seed: int, records: list[str], follower: Follower | None) -> None:
    world.replayed = records
    if kind == "async":
        asyncio.run(run_async(world, seed, records, follower))
    else:
        run_sync(world, seed, records, follower)


def run_live(kind: str, seed: int) -> dict[str, Any]:
    """Run one program in random order; return what there is to compare."""
    world = World(random.Random(f"live {kind} {seed}"))
    run(kind, world, seed, [], None)
    return {"kind": kind, "seed": seed, **observed(world), "records": world.records, "problems": world.problems}


def run_with_crashes(seed: int) -> dict[str, Any]:
    """Run an async program; let its runner crash now and then; the next one continues in an order of its own.

    Children and timers keep their outcomes. Nothing that was started may have to be something else later.
    """
    rng = random.Random(f"crashes {seed}")
    records: list[str] = []
    facts: dict[str, Any] = {}
    effects: dict[tuple[str, int], list[Any]] = {}
    problems: list[str] = []
    for life in range(6):
        world = World(random.Random(f"life {life} {seed}"))
        world.facts, world.effects, world.replayed, world.durable = facts, effects, records, len(records)
        world.clock_ms += 10_000 * life
        asyncio.run(run_async(world, seed, records, None, picks=rng.randrange(1, 25) if life < 5 else math.inf))
        problems += world.problems
        if world.end is not None:
            break
        # The last write may have been done without its acknowledgement having come.
        durable = rng.choice([world.durable, len(records) + len(world.records)])
        records = [*records, *world.records][:durable]
    return {"seed": seed, "end": world.end, "problems": problems, "records": records}


class History:
    """The memo of an Execution as an API server has it: a status, and pages, which are closed early here."""

    def __init__(self) -> None:
        self.memo = MemoBytes()
        self.pages: list[MemoBytes] = []

    def write(self, memo: MemoBytes) -> None:
        """Create the pages, then the status."""
        self.pages += [parse_memo(msgspec.Raw(page.memo)) for page in memo.closing]
        self.memo = parse_memo(memo.encode(), memo.pages)

    def whole(self) -> MemoBytes:
        """Return what a replay begins with."""
        return self.memo.with_pages(self.pages)


def run_attempts(seed: int) -> dict[str, Any]:
    """Run an async program until an attempt succeeds; each may crash, and begins with what the last one has left.

    What an earlier attempt was told is not asked for again, and what has been started under an id and a generation is
    never something else, though the attempts take different paths.
    """
    rng = random.Random(f"attempts {seed}")
    history, attempt, lives = History(), 1, 0
    facts: dict[str, Any] = {}
    effects: dict[tuple[str, int], list[Any]] = {}
    problems: list[str] = []
    records = 0
    while True:
        world = World(random.Random(f"life {lives} {seed}"))
        lives += 1
        memo = history.whole()
        world.passes_on = {0, 1}
        world.attempt, world.memo, world.facts, world.effects = attempt, memo, facts, effects
        world.replayed = [record.decode() for record in memo.records]
        world.durable = len(memo.records)
        world.clock_ms += 10_000 * lives
        picks = rng.randrange(1, 25) if rng.random() < 0.3 else math.inf
        asyncio.run(run_async(world, seed, [], None, picks=picks))
        known = {step: json.loads(record) for step, record in memo.cache.items()}
        for step, kind, name, digest, _ in world.requests:
            cached = known.get(step)
            if cached and [cached["kind"], cached["name"], cached.get("digest", "")] == [kind, name, digest]:
                problems += [f"{step} was started again in attempt {attempt}"] * (step in world.started)
        problems += world.problems
        fresh = [frames.EncodedRecord(json.loads(record)["id"], record.encode()) for record in world.records]
        records += len(fresh)
        if world.end is None:
            durable = rng.choice([world.durable, len(memo.records) + len(fresh)]) - len(memo.records)
            history.write(history.memo.extended(build="b1", records=fresh[:durable]))
            continue
        history.write(history.memo.extended(build="b1", records=fresh))
        memo = history.whole()
        if world.end[0] in BAD_ENDS or world.end[0] == "Completed" or attempt == MAX_ATTEMPTS:
            return {"seed": seed, "end": world.end, "problems": problems, "records": range(records)}
        kept = memo.records[: min(world.blamed) - 1] if world.blamed else memo.records
        history.write(history.memo.blaming(world.blamed))
        history.write(history.memo.cut(history.memo.blamed))
        memo = history.whole()
        if memo.records != kept or memo.size_bytes != parse_memo(memo.encode()).size_bytes:
            problems.append(f"cut at {world.blamed}: {len(memo.records)} records, {memo.size_bytes} bytes")
        # A child that has failed is retried; the others keep their outcomes.
        facts = {key: fact for key, fact in facts.items() if getattr(fact, "error", None) is None}
        attempt += 1


def observed(world: World) -> dict[str, Any]:
    return {
        "end": world.end,
        "trace": json.loads(json.dumps(world.shared.trace)) if world.shared else None,
        "requests": world.requests,
        "abandoned": world.abandoned,
        "delivered": world.delivered,
        "started": world.started,
    }


def replay(live: dict[str, Any], length: int) -> list[str]:
    """Replay a prefix and continue; return what differs from the live run."""
    kind, seed, records = live["kind"], live["seed"], live["records"]
    world = World(random.Random(f"replay {seed} {length}"))
    run(kind, world, seed, records[:length], Follower(world, records[length:]))
    again = observed(world)
    differences = [*world.problems]
    if len(set(again["started"])) != len(again["started"]):
        differences.append("started twice")
    expected = {**live, "end": end_without_late(live["end"], [*records[:length], *world.records])}
    for key in ("end", "trace", "requests", "abandoned", "delivered"):
        if again[key] != expected[key]:
            differences.append(f"{key}: {first_difference(expected[key], again[key])}")
    kept = {json.loads(record)["id"] for record in records[:length]}
    count = sum(delivered[0] in kept for delivered in live["delivered"])
    given_up = {step for step, position in live["abandoned"] if position <= count}
    needed = {delivered[0] for delivered in live["delivered"][count:]}
    allowed = {request[0] for request in live["requests"]} - kept - given_up
    started = set(again["started"])
    if not needed <= started:
        differences.append(f"not started: {sorted(needed - started)}")
    if not started <= allowed:
        differences.append(f"started again: {sorted(started - allowed)}")
    return differences


def end_without_late(end: list[Any], records: list[str]) -> list[Any]:
    """Return the end of the live run as a replay that has these records must have it.

    A function that fails blames what has arrived unheard, too. A thread may fail sooner this time than the last of
    these comes: what was never recorded cannot be blamed.
    """
    if end[0] != "Failed":
        return end
    known = {json.loads(record)["id"] for record in records}
    return [*end[:4], [step for step in end[4] if step in known]]


def first_difference(expected: Any, got: Any) -> str:
    if not isinstance(expected, list) or not isinstance(got, list):
        return f"expected {expected}, got {got}"
    for index, (left, right) in enumerate(zip(expected, got, strict=False)):
        if left != right:
            return f"at {index} expected {left}, got {right}"
    return f"expected {len(expected)} entries, got {len(got)}"


def replay_file(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        live = json.loads(line)
        for length in range(len(live["records"]) + 1):
            differences = replay(live, length)
            if differences:
                yield {"kind": live["kind"], "seed": live["seed"], "prefix": length, "differences": differences}


def main() -> NoReturn:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=["async", "sync", "crashes", "attempts"], default="async")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS))
    parser.add_argument("--replay", type=Path, help="internal: replay the runs in this file")
    parser.add_argument("--show", type=int, default=3, help="how many differences to print")
    options = parser.parse_args()
    if options.mutant:
        global PATIENCE_S
        PATIENCE_S = 0.5  # many get stuck, and one difference is enough
    logging.disable(logging.CRITICAL)
    install_log()
    if options.mutant:
        mutants.MUTANTS[options.mutant]()
    if options.replay:
        failures = replay_file(options.replay)
        for failure in itertools.islice(failures, 3) if options.mutant else failures:
            print(json.dumps(failure), flush=True)
        sys.stdout.flush()
        os._exit(0)  # threads of blocked activations never end
    started = time.monotonic()
    if options.kind == "crashes":
        runs = [run_with_crashes(seed) for seed in range(options.seed, options.seed + options.programs)]
        report(options, runs, [], 0, started)
    if options.kind == "attempts":
        runs = [run_attempts(seed) for seed in range(options.seed, options.seed + options.programs)]
        report(options, runs, [], 0, started)
    lives: list[dict[str, Any]] = []
    bad_lives: list[dict[str, Any]] = []
    for seed in range(options.seed, options.seed + options.programs):
        lives.append(live := run_live(options.kind, seed))
        if live["problems"] or live["end"][0] in BAD_ENDS:
            bad_lives.append(live)
            if options.mutant and len(bad_lives) == 3:
                break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lives"
        path.write_text("".join(json.dumps(live) + "\n" for live in lives if live not in bad_lives))
        command = [sys.executable, __file__, "--replay", str(path)]
        command += ["--mutant", options.mutant] if options.mutant else []
        environment = {**os.environ, "PYTHONHASHSEED": str(options.seed % 1000 + 7)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    failures = [json.loads(line) for line in done.stdout.splitlines()]
    report(options, lives, failures, done.returncode, started)


def report(
    options: argparse.Namespace,
    runs: list[dict[str, Any]],
    failures: list[dict[str, Any]],
    replay_exit: int,
    started: float,
) -> NoReturn:
    """Print what was wrong and one line of JSON, and exit: threads of stuck programs never end."""
    bad = [run for run in runs if run["problems"] or run["end"][0] in BAD_ENDS]
    for run in bad[: options.show]:
        print("live", run["seed"], run["end"], run["problems"][:3])
    for failure in failures[: options.show]:
        print("replay", json.dumps(failure)[:1500])
    summary = {
        "python": sys.version.split()[0],
        "kind": options.kind,
        "programs": len(runs),
        "replays": sum(len(run["records"]) + 1 for run in runs),
        "bad_live": len(bad),
        "bad_replays": len(failures),
        "replay_exit": replay_exit,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary))
    sys.stdout.flush()
    os._exit(1 if bad or failures or replay_exit else 0)


if __name__ == "__main__":
    # A crash and a planted bug make the engine's own code raise here; the run then shows what became of the program.
    breakdown.end_process = traceback.print_exc
    main()
