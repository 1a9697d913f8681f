"""What `kontinue replay` does, on random programs: each prefix of a history replays, and starts nothing; edits differ.

    python tests/replay/rehearse.py --programs 40 --seed 1 [--kind async|sync]

Each program runs live as in ``fuzz``, in a process of its own. Then every prefix of its records is rehearsed, as it is
and with one record that is of other arguments. Prints one JSON line; exit status 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import subprocess
import sys
import traceback
from typing import Any, NoReturn

import async_programs
import fuzz
import sync_programs
from world import World, install_log

from kontinue_engine.replaying.rehearsal import Rehearsal
from kontinue_engine.replaying.verdicts import Finding
from kontinue_engine.runner import breakdown


def rehearse(rehearsal: Rehearsal, live: dict[str, Any], length: int) -> list[str]:
    """Rehearse a prefix; return what is wrong."""
    world = World(random.Random(0))
    records = live["records"][:length]
    verdict = rehearsal.check(fuzz.activate(world, live["seed"], records))
    wrong = []
    if (verdict.finding, verdict.records) != (Finding.REPLAYS, length):
        wrong.append(f"{length} records: {verdict}")
    if world.started or world.choices or world.records:
        wrong.append(f"{length} records: started {world.started}, asked for {sorted(world.choices)}")
    if world.delivered != live["delivered"][: len(world.delivered)]:
        wrong.append(f"{length} records: {fuzz.first_difference(live['delivered'], world.delivered)}")
    return wrong


def rehearse_edited(rehearsal: Rehearsal, live: dict[str, Any], edited: int) -> list[str]:
    """Rehearse a history of which one record is of other arguments; return what is wrong."""
    world = World(random.Random(0))
    records = list(live["records"])
    record = json.loads(records[edited])
    records[edited] = json.dumps({**record, "digest": "other"})
    verdict = rehearsal.check(fuzz.activate(world, live["seed"], records))
    if (verdict.finding, verdict.step) == (Finding.DIFFERS, record["id"]) and not world.started:
        return []
    return [f"record {edited} ({record['id']}) edited: {verdict}, started {world.started}"]


def live_runs(kind: str, seed: int, programs: int) -> list[dict[str, Any]]:
    """Run the programs in another process: what they leave behind must not disturb what is rehearsed."""
    arguments = ["--live", "--kind", kind, "--seed", str(seed), "--programs", str(programs)]
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> NoReturn:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=["async", "sync"], default="async")
    parser.add_argument("--live", action="store_true", help="internal: run the programs, print what they did")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    install_log()
    if options.live:
        breakdown.end_process = traceback.print_exc  # as in fuzz: threads of given up steps find their loop closed
        for seed in range(options.seed, options.seed + options.programs):
            print(json.dumps(fuzz.run_live(options.kind, seed)))
        sys.stdout.flush()
        os._exit(0)  # threads of steps that were given up never end
    functions = async_programs.FUNCTIONS if options.kind == "async" else sync_programs.FUNCTIONS
    rehearsal = Rehearsal(functions, asyncio.new_event_loop())
    wrong: list[str] = []
    replays = edits = 0
    for live in live_runs(options.kind, options.seed, options.programs):
        count = len(live["records"])
        found = [problem for length in range(count + 1) for problem in rehearse(rehearsal, live, length)]
        found += [problem for edited in range(count) for problem in rehearse_edited(rehearsal, live, edited)]
        wrong += [f"{options.kind} {live['seed']}: {problem}" for problem in found]
        replays, edits = replays + count + 1, edits + count
    print("\n".join(wrong[:5]), file=sys.stderr, flush=True)
    print(json.dumps({"programs": options.programs, "replays": replays, "edits": edits, "wrong": len(wrong)}))
    sys.stdout.flush()
    os._exit(1 if wrong else 0)  # threads of what was left where it waits never end


if __name__ == "__main__":
    main()
